"""The token table: a row of numbers per token, which the text tower takes in place of ids.

A query needs about ten of 30,000 to 256,000 rows. They are read, not mapped: a page fault maps
neighbouring pages too, so a day's queries would count the whole file as memory.

The file: V scales, float32 little-endian, then V rows of W integers of 16 or 4 bits; a row is scale
* integers. At 4 bits a byte holds two, each plus 8, the first in the low bits. 4 bits cost the
English tower recall; the multilingual tower uses them, as it has four times the tokens.
"""

from __future__ import annotations

import os
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.errors import BundleError, Remedy

_MOST_SCALE = 1e6


class TokenTable:
    """A file of `tokens` rows of `width` numbers of 4 or 16 `bits`. BundleError if its size is
    wrong or a row is missing."""

    def __init__(self, path: Path, tokens: int, width: int, bits: int) -> None:
        self._path, self._bits = path, bits
        self._width, self._length = width, width * bits // 8
        needed = tokens * (4 + self._length)
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            size = os.fstat(self._descriptor).st_size
            if size == needed:
                self._scales = np.asarray(np.memmap(path, "<f4", mode="r", shape=(tokens,)))
        except (OSError, ValueError) as error:
            raise BundleError(
                f"The token table {path} cannot be read: {error}.", Remedy.EXPORT_AGAIN
            ) from error
        if size != needed:
            raise BundleError(
                f"The token table {path} has {size} bytes, not the {needed} of {tokens} rows of "
                f"{width}.",
                Remedy.EXPORT_AGAIN,
            )

    def __del__(self) -> None:
        # Absent when os.open raised.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Token ids [..., L] -> their rows [..., L, W] float32."""
        tokens = ids.ravel().tolist()
        places = {token: place for place, token in enumerate(dict.fromkeys(tokens))}  # padding once
        try:
            scales = self._scales[list(places)]
        except IndexError as error:
            raise BundleError(
                f"The token table has {len(self._scales)} rows, and the tokenizer asks for others: "
                f"{error}.",
                Remedy.EXPORT_AGAIN,
            ) from error
        first, length = 4 * len(self._scales), self._length
        offsets = [first + length * token for token in places]
        data = b"".join(map(os.pread, repeat(self._descriptor), repeat(length), offsets))
        if len(data) != length * len(places) or not (np.abs(scales) < _MOST_SCALE).all():
            raise BundleError(
                f"The token table {self._path} is damaged: a row has no scale, or it ends before a "
                "row that it had.",
                Remedy.EXPORT_AGAIN,
            )
        kind = stored_kind(self._bits)
        stored = np.frombuffer(data, kind).reshape(len(places), length // kind.itemsize)
        rows: NDArray[np.float32] = unpacked(stored, self._bits) * scales[:, None]
        return rows[[places[token] for token in tokens]].reshape(*ids.shape, self._width)


def stored_kind(bits: int) -> np.dtype[Any]:
    """The dtype of stored rows of `bits`; at 4 bits a byte holds two integers."""
    return np.dtype("u1" if bits == 4 else f"<i{bits // 8}")


def rounded_rows(table: NDArray[np.float32], bits: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """A table [V, W] float32 -> scales [V] float32 and stored rows, [V, W] of 16 or 8 `bits`, or
    [V, W / 2] of 4; each row is scaled by its largest number."""
    most = 2 ** (bits - 1) - 1
    largest = np.abs(table).max(1).astype("<f4")
    scales = (np.maximum(largest, 1e-12) / np.float32(most)).astype("<f4")
    rows = np.rint(table / scales[:, None]).clip(-most, most)
    if bits == 4:
        pairs = (rows + 8).astype("u1")
        return scales, pairs[:, ::2] | pairs[:, 1::2] << 4
    return scales, rows.astype(stored_kind(bits))


def unpacked(rows: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Stored rows -> their integers [V, W] float32."""
    if bits == 4:
        pairs = np.stack([rows & 15, rows >> 4], -1)
        rows = pairs.reshape(len(rows), 2 * rows.shape[1]) - np.float32(8)
    return rows.astype(np.float32)


def write_token_table(path: Path, table: NDArray[np.float32], bits: int) -> None:
    """Write a table [V, W] float32 as rows of 4 or 16 `bits`."""
    with path.open("wb") as file:
        for part in rounded_rows(table, bits):
            file.write(part.tobytes())
