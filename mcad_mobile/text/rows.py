"""The token table: a row of numbers for each token, which the text tower reads in place of ids.

A query of ten words reads ten of 30,000 to 256,000 rows. In the tower's graph the whole table
would be loaded, and NPU compilers refuse the look-up or pay for it; here the file is mapped, and
a process holds the few pages that its queries touch.

The file: V scales, float32 little-endian, then V rows of W int16; a row is scale * int16. Rows of
8 bits cost the default student's 8-bit CPU tower half a point of mR (56.1 where float rows give
56.6, Flickr8k's test split); what is not read takes no memory, so they have 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.errors import BundleError

_LARGEST = 32767


class TokenTable:
    """`tokens` rows of `width` numbers, mapped from a file. BundleError if it has another size, or
    is asked for a row that it lacks."""

    def __init__(self, path: Path, tokens: int, width: int) -> None:
        needed = tokens * (4 + 2 * width)
        try:
            self._file = np.memmap(path, np.uint8, mode="r", shape=(path.stat().st_size,))
        except (OSError, ValueError) as error:
            raise BundleError(
                f"The token table {path} cannot be read: {error}.", "Export the bundle again."
            ) from error
        if len(self._file) != needed:
            raise BundleError(
                f"The token table {path} has {len(self._file)} bytes, not the {needed} of {tokens} "
                f"rows of {width}.",
                "Export the bundle again.",
            )
        self._scales = self._file[: 4 * tokens].view("<f4")
        self._rows = self._file[4 * tokens :].view("<i2").reshape(tokens, width)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Token ids [..., L] -> their rows [..., L, W] float32."""
        try:
            rows: NDArray[np.float32] = self._rows[ids].astype(np.float32)
        except IndexError as error:
            raise BundleError(
                f"The token table has {len(self._rows)} rows, and the tokenizer asks for others: "
                f"{error}.",
                "Export the bundle again.",
            ) from error
        rows *= self._scales[ids][..., None]
        return rows


def write_token_table(path: Path, table: NDArray[np.float32]) -> None:
    """A table [V, W] float32 -> the file: each row to 16 bits by its own largest number."""
    largest = np.abs(table).max(1).astype("<f4")
    scales = (np.maximum(largest, 1e-12) / np.float32(_LARGEST)).astype("<f4")
    rows = np.rint(table / scales[:, None]).clip(-_LARGEST, _LARGEST).astype("<i2")
    with path.open("wb") as file:
        file.write(scales.tobytes())
        file.write(rows.tobytes())
