"""Words for the errors of the core, which come as codes and values: mcad_index.h lists them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.errors import PhotoIndexError, Remedy, update_hint

_NEW_FILE = 0x7FFFFFFF
NO_MEMORY, STOPPED, NOT_READ, NOT_WRITTEN, LENGTH, ORDER, NEWER, UNTUNED = range(1, 9)
_PARTS = (
    *("axis", "bit_weights", "centroids", "starts", "rows"),
    *("columns", "records", "times", "stamps", "path_blocks", "paths"),
)
# What is damaged, from MCAD_MAGIC on: formatted with the values a, b and c, the part that a is, and
# the number.
_DAMAGE = (
    "it starts with {magic!r}, not with b'MCADSEG1'",
    "it ends at byte {a}, inside its header",
    "its header has CRC-32 {a:08x}, not the one in its last bytes",
    "its header says {a} dimensions, {b} parts, {c} photos",
    "its header says {a} of {b} bits to scan",
    "its header says {a} cells",
    "its {part} are {b} bytes, not {c}",
    "its {part} are at byte {b} of {c}",
    "it has {a} bytes, not {b}",
    "it ends at byte {a}: it was cut off while it was open",
    "it is not the segment that the manifest names",
    "it does not have the {a} bits that its prescan needs",
    "it and the manifest differ over whether it has cells",
    "its {a} cells do not hold its {b} photos",
    "its axis has length {number}, not 1",
    "it has a bit weight of {number}",
    "block {a} of its paths is at bytes {b} to {c}",
    "block {a} of its paths has a path that can't be",
    "the path of row {a} is not in order",
    "one of its places belongs to no row",
    "its place {a} is not in the order of paths",
    "some of its photos have no place",
    "its row {a} has a cosine of {number:.3f}",
    "there are bytes other than zero before its {part}",
    "the CRC-32 of its {part} is {b:08x}, not {c:08x}",
    "it is not of its segment",
    "it has {a} bytes, not {b}",
    "its checksum is another one",
    "its dictionary cannot be read",
    "the texts of a photo cannot be read",
)


def damaged(file: Path, detail: str) -> PhotoIndexError:
    return PhotoIndexError(
        f"The index file {file} is damaged: {detail}.", Remedy.REPAIR_INDEX(index=file.parent)
    )


def fault(
    directory: Path,
    files: Sequence[Path | None],
    code: int,
    number: int,
    values: Sequence[int],
    size: float,
) -> BaseException:
    """Return the error for a code of the core: `number` is that of a file in `files`, `size` the
    error's number."""
    a, b, c = values
    file = files[number] if number < len(files) else None
    if code == NO_MEMORY:
        return MemoryError("There is no memory for the index.")
    if code == STOPPED:
        return KeyboardInterrupt()
    if code == NOT_WRITTEN or (code == NOT_READ and file is None):
        return OSError(a, os.strerror(a), str(directory))
    if code == NOT_READ:
        return PhotoIndexError(
            f"The index file {file} could not be read.",
            "Check the disk that it is on, then search again.",
        )
    if code == ORDER and number == 0:
        path = f"a path of {b} bytes" if b else "an empty path"
        return PhotoIndexError(
            f"A photo has {path}.", "Give each photo a path of 1 to 65535 bytes."
        )
    magic = (a & (1 << 64) - 1).to_bytes(8, "little")[: b or 8]
    if code == NEWER:
        return PhotoIndexError(
            f"The index file {file} starts with {magic!r}, of a newer mcad-mobile; this version "
            f"reads b'MCADSEG1'.",
            update_hint(),
        )
    if code == UNTUNED:
        return PhotoIndexError(
            f"The index {directory} holds {a} photos, and was tuned for {b}.",
            Remedy.TUNE_INDEX(index=directory),
        )
    if code < UNTUNED or file is None:
        return ValueError(f"The core refused what it was given: {code}, {values}.")
    part = _PARTS[a] if 0 <= a < len(_PARTS) else ""
    wording = _DAMAGE[code - UNTUNED - 1]
    return damaged(file, wording.format(a=a, b=b, c=c, part=part, magic=magic, number=size))
