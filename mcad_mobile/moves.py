"""Photos that only changed their place: found by their stamps, and not embedded a second time."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.folder import content_stamp, is_gone, stat_or_none
from mcad_mobile.index.census import Census

Stamp = tuple[int, int]


class Worklist:
    """Photos to embed, with the stamps that the index knows of them, in a file."""

    _HEAD = struct.Struct("<?IIIH")

    def __init__(self, file: IO[bytes]) -> None:
        self.count = 0
        self._file = file

    def put(self, path: str, stat: int, known: Stamp | None) -> None:
        raw = os.fsencode(path)
        head = self._HEAD.pack(known is not None, stat, *(known or (0, 0)), len(raw))
        self._file.write(head + raw)
        self.count += 1

    def items(self) -> Iterator[tuple[str, Stamp | None]]:
        for path, _, known in self._all():
            yield path, known

    def new_stamps(self) -> NDArray[np.uint32]:
        """Sorted stat stamps of the photos that the index lacks."""
        new = (stat for _, stat, known in self._all() if known is None)
        return np.sort(np.fromiter(new, np.uint32))

    def _all(self) -> Iterator[tuple[str, int, Stamp | None]]:
        self._file.seek(0)
        for _ in range(self.count):
            held, stat, first, second, length = self._HEAD.unpack(self._file.read(self._HEAD.size))
            path = os.fsdecode(self._file.read(length))
            yield path, stat, (first, second) if held else None


def renamed_elsewhere(census: Census, work: Worklist, inside: str) -> dict[str, Stamp]:
    """Return photos of other folders whose files are gone and whose stat stamps new photos have:
    their folder may have been renamed."""
    new = work.new_stamps()
    if not len(new):
        return {}
    return {
        path: stamp
        for path, stamp in census.missing("")
        if new[min(int(np.searchsorted(new, stamp[0])), len(new) - 1)] == stamp[0]
        and not path.startswith(inside)
        and is_gone(path)
    }


def moved(work: Worklist, gone: dict[str, Stamp]) -> dict[str, tuple[str, Stamp]]:
    """Return new path -> (gone path, stamp) of photos that only changed their place."""
    by_stamp: dict[Stamp, str] = {stamp: path for path, stamp in gone.items() if stamp != (0, 0)}
    first_stamps = {stamp[0] for stamp in by_stamp}
    moves = {}
    for path, known in work.items():
        if known is not None or not by_stamp:
            continue
        stat = stat_or_none(Path(path))
        if stat is None or stat not in first_stamps:
            continue
        try:
            stamp = (stat, content_stamp(path))
        except OSError:
            continue
        old = by_stamp.pop(stamp, None)
        if old is not None:
            moves[path] = (old, stamp)
    return moves
