"""Cells: photos near each other are stored together, and a search scans only some cells.

This is the inverted file of Sivic and Zisserman (ICCV 2003), as in faiss: k-means (Lloyd) on a
sample gives C centroids. A query scans the cells whose centroids have the largest inner product
with it, until they hold as many photos as tuning.py measured to be enough.

Residuals and centroids are rounded to multiples of 2^-11, so that no sum of float32 rounds, and a
photo is in the same cell on every processor.
"""

from __future__ import annotations

import numpy as np

from mcad_mobile.engine.arrays import F32, I16, Rows

_MAX_CELLS, _MIN_CELLS = 256, 16
_STEPS = np.float32(2048)
_ROUNDS = 8
_BLOCK = 1 << 14


def fit_centroids(residuals: F32, photos_per_cell: int) -> I16:
    """Return centroids [C, D] int16 of the residuals [M, D]; C = 0 if M is too few for 16
    cells."""
    count = min(len(residuals) // photos_per_cell, _MAX_CELLS)
    if count < _MIN_CELLS:
        return np.empty((0, residuals.shape[1]), np.int16)
    whole = _whole(residuals)
    centroids = whole[:: len(residuals) // count][:count].copy()
    for _ in range(_ROUNDS):
        cells = _nearest(whole, centroids)
        by_cell = np.argsort(cells, kind="stable")
        filled, firsts, sizes = np.unique(cells[by_cell], return_index=True, return_counts=True)
        sums = np.add.reduceat(whole[by_cell], firsts, axis=0, dtype=np.float64)
        centroids[filled] = np.rint(sums / sizes[:, None])
    return centroids.astype(np.int16)


def assign_cells(residuals: F32, centroids: I16) -> Rows:
    """Return the cells [M] of residuals [M, D]; ties go to the first."""
    return _nearest(_whole(residuals), centroids.astype(np.float32))


def order_cells(queries: F32, centroids: F32) -> Rows:
    """Return the cells [Q, C] in the order in which rotated queries [Q, D] scan them."""
    return np.argsort(-(_whole(queries) @ centroids.T), axis=1, kind="stable")


def _whole(rows: F32) -> F32:
    return np.asarray(np.rint(rows * _STEPS), np.float32)


def _nearest(whole: F32, centroids: F32) -> Rows:
    halves = np.floor(np.square(centroids).sum(axis=1) / 2)
    cells = np.empty(len(whole), np.intp)
    for start in range(0, len(whole), _BLOCK):
        part = whole[start : start + _BLOCK]
        cells[start : start + len(part)] = np.argmax(part @ centroids.T - halves, axis=1)
    return cells
