"""Cells: photos that lie near each other, side by side, so that a search looks into some of them.

This is the inverted file of Sivic and Zisserman (ICCV 2003), as faiss and others have it: k-means
(Lloyd) on a sample gives C centroids, each photo is in the cell of the nearest, and a query looks
into the cells whose centroids it points at most, until they hold as many photos as were measured
to be enough (reach.py). Places of photos are in the order of their cells, and in each by path.

Photos and centroids are counted in whole steps of 2^-11, so that no sum of float32 rounds: vectors
of length 1 have products below 2^23. So a photo is in the same cell on every processor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index.codes import F32

I16 = npt.NDArray[np.int16]
Rows = npt.NDArray[np.intp]

_MOST, _FEWEST, _PHOTOS_A_CELL = 256, 16, 50
_STEPS = np.float32(2048)
_ROUNDS = 8
_BLOCK = 1 << 14


def fit_centroids(rests: F32) -> I16:
    """Return centroids [C, D] int16 of what M rotated photos have beside the axis [M, D]. None
    (C = 0) where they are too few to tell."""
    count = min(len(rests) // _PHOTOS_A_CELL, _MOST)
    if count < _FEWEST:
        return np.empty((0, rests.shape[1]), np.int16)
    whole = _whole(rests)
    centroids = whole[:: len(rests) // count][:count].copy()
    for _ in range(_ROUNDS):
        cells = _nearest(whole, centroids)
        by_cell = np.argsort(cells, kind="stable")
        filled, firsts, sizes = np.unique(cells[by_cell], return_index=True, return_counts=True)
        sums = np.add.reduceat(whole[by_cell], firsts, axis=0, dtype=np.float64)
        centroids[filled] = np.rint(sums / sizes[:, None])
    return centroids.astype(np.int16)


def cells_of(rests: F32, centroids: I16) -> Rows:
    """Return the cells [M] of rests [M, D]; of equally near ones the first."""
    return _nearest(_whole(rests), centroids.astype(np.float32))


def nearest_first(queries: F32, centroids: F32) -> Rows:
    """Return the cells [Q, C] in the order in which queries [Q, D], rotated, look into them."""
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
