"""Names for the array types that the engine passes around."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I16 = npt.NDArray[np.int16]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

# Positions of photos: rows (in the order of paths), places (in the order of cells) or cells.
Rows = npt.NDArray[np.intp]
# Bits of codes, 64 dimensions a word.
Words = npt.NDArray[np.uint64]
# Weighted bit distances to a query.
Distances = U16
# Two checksums of each photo's file [N, 2], and the minute since 1970 at which it was taken [N].
Stamps = U32
Times = npt.NDArray[np.int32]
