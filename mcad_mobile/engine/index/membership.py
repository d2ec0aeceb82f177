"""Who is there: photos are looked up as they are found, and those left over are gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mcad_mobile.engine.index.filters import LiveSegment
from mcad_mobile.engine.index.merge import segment_items
from mcad_mobile.engine.index.paths import path_from_bytes, path_to_bytes
from mcad_mobile.engine.index.segments import NO_TIME

Stamp = tuple[int, int]


@dataclass(frozen=True)
class Known:
    """What the index knows of a photo: its stamps, and whether also when it was taken."""

    stamp: Stamp
    timed: bool


class Census:
    """Takes a byte a photo of the index, however many photos are found."""

    def __init__(self, segments: Sequence[LiveSegment]) -> None:
        self._segments = segments
        self._found = [np.zeros(live.segment.photos, np.bool_) for live in segments]
        self._dead = [set(live.deleted.tolist()) for live in segments]

    def find(self, paths: Sequence[str]) -> list[Known | None]:
        """Return what is known of photos, None for those that the index lacks, and tick them
        off."""
        raw = [path_to_bytes(path) for path in paths]
        stamps: list[Known | None] = [None] * len(raw)
        for live, found, dead in zip(self._segments, self._found, self._dead, strict=True):
            for position, row in live.segment.paths.find(raw):
                if row not in dead:
                    found[row] = True
                    first, second = live.segment.stamps(np.array([row]))[0].tolist()
                    timed = bool(live.segment.taken[row] != NO_TIME)
                    stamps[position] = Known((first, second), timed)
        return stamps

    def missing(self, folder: str) -> Iterator[tuple[str, Stamp]]:
        """Yield the photos below `folder`, which ends with a slash, that were not found; all of
        the index for an empty one."""
        for number, (live, found) in enumerate(zip(self._segments, self._found, strict=True)):
            rows = range(live.segment.photos)
            if folder:
                rows = live.segment.paths.below(path_to_bytes(folder))
            for path, _, row in segment_items(live, number, rows):
                if not found[row]:
                    first, second = live.segment.stamps(np.array([row]))[0].tolist()
                    yield path_from_bytes(path), (first, second)
