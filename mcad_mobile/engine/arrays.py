"""Names for the array types that the engine passes around, and arrays in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import BundleError, Remedy

U8 = npt.NDArray[np.uint8]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

# Sums of squares of these are finite.
_LARGEST = 1e15

# Positions of photos: rows (ordered by path), places (ordered by cell), or cell numbers.
Rows = npt.NDArray[np.intp]
# Bits of codes, 64 dimensions a word.
Words = npt.NDArray[np.uint64]
# Weighted bit distances to a query.
Distances = U16
# Two checksums of each photo's file [N, 2], and the minute since 1970 at which it was taken [N].
Stamps = U32
Times = npt.NDArray[np.int32]


def read_array(path: Path, width: int | None = None) -> npt.NDArray[Any]:
    """Read a .npy file of finite numbers [N, ...], or [N, width]. BundleError if it is not one."""
    try:
        # Mapped first: numpy would allocate whatever shape the header claims.
        array = np.array(np.load(path, mmap_mode="r"))
        right = array.size > 0 and array.dtype.kind in "fiu"
        right = right and bool((np.abs(array) < _LARGEST).all())  # false for NaN
        right = right and array.ndim > 0 and (width is None or array.shape[1:] == (width,))
        found = f"holds {array.dtype} {list(array.shape)}"
    except Exception as error:  # numpy raises anything on broken headers
        right, found = False, f"cannot be read: {error}"
    if not right:
        raise BundleError(
            f"{path} {found}; finite numbers [N, {width or '...'}] belong there.",
            Remedy.EXPORT_AGAIN,
        )
    return array
