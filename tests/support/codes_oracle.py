"""A reference for native/codes.c, in numpy: the numbers that an index stores per photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.index_oracle import split

Array = npt.NDArray[Any]
F32 = np.float32


def encode(rows: Array, axis: Array, feedback: Array | None = None) -> Array:
    """Return whole records [B, R] uint8."""
    projections, residuals = split(rows, axis)
    peaks = np.abs(residuals).max(axis=1) * F32(1 if feedback is None else 1.03)
    scales = np.clip(np.ceil(peaks / (512 * F32(2.0**-24))), 1, 65535).astype("<u2")
    levels = round_to_odd(residuals / (scales * F32(2.0**-24))[:, None], feedback)
    steps = np.rint(np.clip(projections, -1, 1) / F32(1 / 32767)).astype("<i2")
    parts = [
        ((np.abs(levels) - 1) / 2).astype(np.uint8),
        np.packbits(levels > 0, axis=1, bitorder="little"),
        steps.view(np.uint8).reshape(-1, 2),
        scales.view(np.uint8).reshape(-1, 2),
    ]
    return np.concatenate(parts, axis=1)


def round_to_odd(values: Array, feedback: Array | None) -> Array:
    if feedback is None:
        return nearest_odd(values)
    rest, rounded = values.T.copy(), np.empty_like(values.T)
    for start in range(0, len(rest), 32):
        stop = min(start + 32, len(rest))
        errors = np.empty((stop - start, rest.shape[1]), F32)
        for i in range(start, stop):
            rounded[i] = nearest_odd(rest[i])
            errors[i - start] = rest[i] - rounded[i]
            rest[i + 1 : stop] -= feedback[i, i + 1 : stop, None] * errors[i - start]
        whole = np.clip(np.rint(errors * F32(128)) / F32(128), -8, 8)
        rest[stop:] -= feedback[start:stop, stop:].T @ whole
    return rounded.T


def nearest_odd(values: Array) -> Array:
    return np.clip(2 * np.ceil(values / 2) - 1, -511, 511)


def error_feedback(rows: Array, axis: Array) -> Array:
    """Return U [D, D] where photos do not lie evenly."""
    residuals = split(rows, axis)[1].astype(np.float64)
    covariance = residuals.T @ residuals
    covariance += 0.1 * np.trace(covariance) / len(axis) * np.eye(len(axis))
    upper = np.linalg.cholesky(np.linalg.inv(covariance)).T
    return np.clip(np.rint(upper / np.diag(upper)[:, None] * 256) / 256, -2, 2)
