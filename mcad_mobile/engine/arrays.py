"""Names for the array types that the engine passes around, and arrays in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import EXPORT_AGAIN, BundleError

U8 = npt.NDArray[np.uint8]
I16 = npt.NDArray[np.int16]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

# Squares of these add up to a number.
_LARGEST = 1e15

# Positions of photos: rows (in the order of paths), places (in the order of cells) or cells.
Rows = npt.NDArray[np.intp]
# Bits of codes, 64 dimensions a word.
Words = npt.NDArray[np.uint64]
# Weighted bit distances to a query.
Distances = U16
# Two checksums of each photo's file [N, 2], and the minute since 1970 at which it was taken [N].
Stamps = U32
Times = npt.NDArray[np.int32]


def read_array(path: Path, width: int | None = None) -> npt.NDArray[Any]:
    """Read a .npy file of finite numbers [N, ...], or [N, width]. BundleError for what is none."""
    try:
        # Mapped first: numpy would make room for whatever shape the head of the file says.
        array = np.array(np.load(path, mmap_mode="r"))
        right = array.size > 0 and array.dtype.kind in "fiu"
        right = right and bool((np.abs(array) < _LARGEST).all())  # nor what is not finite
        right = right and array.ndim > 0 and (width is None or array.shape[1:] == (width,))
        found = f"holds {array.dtype} {list(array.shape)}"
    except Exception as error:  # numpy raises all kinds on broken heads
        right, found = False, f"cannot be read: {error}"
    if not right:
        raise BundleError(
            f"{path} {found}; finite numbers [N, {width or '...'}] belong there.", EXPORT_AGAIN
        )
    return array
