"""The token table: a row of numbers for each token, which the text tower reads in place of ids.

A query reads ten of 30,000 to 256,000 rows. They are read, not mapped: the kernel maps the
neighbours of a page that is touched, and a day's queries would count the whole file as memory.

The file: V scales, float32 little-endian, then V rows of W integers of 16 or 4 bits; a row is scale
* integers. Of 4 bits a byte has two, each plus 8, the first in its low bits. They cost the English
tower recall; a tower of many languages has them for four times the tokens.
"""

from __future__ import annotations

import os
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.errors import EXPORT_AGAIN, BundleError

_MOST_SCALE = 1e6


class TokenTable:
    """`tokens` rows of `width` numbers of 4 or 16 `bits` in a file. BundleError if it has another
    size, or lacks a row."""

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
                f"The token table {path} cannot be read: {error}.", EXPORT_AGAIN
            ) from error
        if size != needed:
            raise BundleError(
                f"The token table {path} has {size} bytes, not the {needed} of {tokens} rows of "
                f"{width}.",
                EXPORT_AGAIN,
            )

    def __del__(self) -> None:
        # Absent when os.open raised.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Token ids [..., L] -> their rows [..., L, W] float32."""
        tokens = ids.ravel().tolist()
        places = {token: place for place, token in enumerate(dict.fromkeys(tokens))}  # one padding
        try:
            scales = self._scales[list(places)]
        except IndexError as error:
            raise BundleError(
                f"The token table has {len(self._scales)} rows, and the tokenizer asks for others: "
                f"{error}.",
                EXPORT_AGAIN,
            ) from error
        first, length = 4 * len(self._scales), self._length
        offsets = [first + length * token for token in places]
        data = b"".join(map(os.pread, repeat(self._descriptor), repeat(length), offsets))
        if len(data) != length * len(places) or not (np.abs(scales) < _MOST_SCALE).all():
            raise BundleError(
                f"The token table {self._path} is damaged: a row has no scale, or it ends before a "
                "row that it had.",
                EXPORT_AGAIN,
            )
        kind = stored_kind(self._bits)
        stored = np.frombuffer(data, kind).reshape(len(places), length // kind.itemsize)
        rows: NDArray[np.float32] = unpacked(stored, self._bits) * scales[:, None]
        return rows[[places[token] for token in tokens]].reshape(*ids.shape, self._width)


def stored_kind(bits: int) -> np.dtype[Any]:
    """What an array of rows of so many bits has: a byte of two integers where `bits` is 4."""
    return np.dtype("u1" if bits == 4 else f"<i{bits // 8}")


def rounded_rows(table: NDArray[np.float32], bits: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """A table [V, W] float32 -> scales [V] float32 and rows as files have them, [V, W] of 16 or 8
    `bits`, or [V, W / 2] of 4: each row by its own largest number."""
    most = 2 ** (bits - 1) - 1
    largest = np.abs(table).max(1).astype("<f4")
    scales = (np.maximum(largest, 1e-12) / np.float32(most)).astype("<f4")
    rows = np.rint(table / scales[:, None]).clip(-most, most)
    if bits == 4:
        pairs = (rows + 8).astype("u1")
        return scales, pairs[:, ::2] | pairs[:, 1::2] << 4
    return scales, rows.astype(stored_kind(bits))


def unpacked(rows: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Rows as files have them -> their integers [V, W] float32."""
    if bits == 4:
        pairs = np.stack([rows & 15, rows >> 4], -1)
        rows = pairs.reshape(len(rows), 2 * rows.shape[1]) - np.float32(8)
    return rows.astype(np.float32)


def write_token_table(path: Path, table: NDArray[np.float32], bits: int) -> None:
    """A table [V, W] float32 -> the file, rows of 4 or 16 `bits`."""
    with path.open("wb") as file:
        for part in rounded_rows(table, bits):
            file.write(part.tobytes())
