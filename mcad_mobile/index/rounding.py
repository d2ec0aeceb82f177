"""Rounding to odd levels so that the errors cancel out where embeddings lie.

A score is a product of the rounding errors with the query, too. Rounded one by one, errors point
everywhere; but photos, and the words that are close to them, lie mostly in some tens of
directions. So each coordinate's error is made up for by those that are rounded after it, as far
as the covariance of the photos says that they can: the update of GPTQ (Frantar et al., ICLR 2023,
arXiv 2210.17323), which rounds weights for the inputs that they meet. The error of a score halves
(docs/index-format.md); what is stored, and how it is read, does not change.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact

F32 = npt.NDArray[np.float32]

# Share of the mean variance that is added in every direction: queries are not photos.
_DAMPING = 0.1
# Students leave 0.31 to 0.38 of it, what is even on the sphere 0.92 and more.
_MOST_LEFT = 0.7
_BLOCK = 32
# Units in which no sum rounds, whatever its order (exact.py): a covariance of 8192 photos in
# float64, and what a block of errors changes in float32. An inverse is never so exact, but its last
# bits are gone in a unit of this size.
_REST_UNIT = 2.0**-20
_ERROR_UNIT, _MOST_ERROR = 2.0**-7, 8
_SHARE_UNIT, _MOST_SHARE = 2.0**-8, 2


def error_feedback(rests: F32) -> F32 | None:
    """Return U [D, D] float32, upper triangular with ones: an error e of coordinate i is made up
    for by subtracting e * U[i, j] from every j > i. `rests` [M <= 8192, D] are photos, less what
    lies along the axis. None where they lie everywhere alike: what a sample says then is noise."""
    dim = rests.shape[1]
    covariance = np.zeros((dim, dim))  # in units of no matter: shares are ratios
    for some in exact.blocks(len(rests)):
        whole = exact.units(rests[some], _REST_UNIT)
        covariance += whole.T @ whole
    damping = _DAMPING * np.trace(covariance) / dim
    if damping <= 0:
        return None
    inverse = np.linalg.inv(covariance + damping * np.eye(dim))
    upper = np.linalg.cholesky(inverse).T
    # What is left of each coordinate's variance once those rounded after it are known.
    left = np.mean(np.diag(upper) ** -2) / (damping / _DAMPING + damping)
    if left > _MOST_LEFT:
        return None
    shares = exact.units(upper / np.diag(upper)[:, None], _SHARE_UNIT) * _SHARE_UNIT
    return np.clip(shares, -_MOST_SHARE, _MOST_SHARE).astype(np.float32)


def round_to_odd(values: F32, feedback: F32 | None, largest: int) -> F32:
    """Round values [B, D] to odd numbers from -largest to largest, with `feedback` of
    `error_feedback` or, where it is None, one by one."""
    if feedback is None:
        return _nearest_odd(values, largest)
    # Coordinates first, so that each step works on rows that lie together.
    left = values.T.copy()
    rounded = np.empty_like(left)
    dim = len(left)
    for start in range(0, dim, _BLOCK):
        stop = min(start + _BLOCK, dim)
        errors = np.empty((stop - start, left.shape[1]), np.float32)
        for i in range(start, stop):
            rounded[i] = _nearest_odd(left[i], largest)
            errors[i - start] = left[i] - rounded[i]
            left[i + 1 : stop] -= feedback[i, i + 1 : stop, None] * errors[i - start]
        whole = np.rint(errors / np.float32(_ERROR_UNIT)) * np.float32(_ERROR_UNIT)
        whole = np.clip(whole, -_MOST_ERROR, _MOST_ERROR)
        left[stop:] -= feedback[start:stop, stop:].T @ whole
    return rounded.T


def _nearest_odd(values: F32, largest: int) -> F32:
    """Zero goes to -1, as its bit in a code is 0."""
    odd: F32 = np.clip(2 * np.ceil(values / 2) - 1, -largest, largest)
    return odd
