"""Which photos of an index a run has found: those left over are gone."""

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
class KnownPhoto:
    """A photo of the index: its stamp, and whether the index knows when it was taken."""

    stamp: Stamp
    timed: bool


class Membership:
    """Looks photos up and remembers which were found, in a byte for each photo of the index."""

    def __init__(self, segments: Sequence[LiveSegment]) -> None:
        self._segments = segments
        self._found = [np.zeros(live.segment.photos, np.bool_) for live in segments]
        self._deleted = [set(live.deleted.tolist()) for live in segments]

    def find(self, paths: Sequence[str]) -> list[KnownPhoto | None]:
        """Look photos up and mark them as found; None for those that the index lacks."""
        raw = [path_to_bytes(path) for path in paths]
        photos: list[KnownPhoto | None] = [None] * len(raw)
        for live, found, deleted in zip(self._segments, self._found, self._deleted, strict=True):
            for position, row in live.segment.paths.find(raw):
                if row not in deleted:
                    found[row] = True
                    timed = bool(live.segment.times[row] != NO_TIME)
                    photos[position] = KnownPhoto(_stamp(live, row), timed)
        return photos

    def missing(self, folder: str) -> Iterator[tuple[str, Stamp]]:
        """Yield the paths and stamps of photos below `folder`, which ends with a slash, that were
        not found; of all the index for an empty one."""
        for number, (live, found) in enumerate(zip(self._segments, self._found, strict=True)):
            rows = range(live.segment.photos)
            if folder:
                rows = live.segment.paths.below(path_to_bytes(folder))
            for path, _, row in segment_items(live, number, rows):
                if not found[row]:
                    yield path_from_bytes(path), _stamp(live, row)


def _stamp(live: LiveSegment, row: int) -> Stamp:
    first, second = live.segment.stamps(np.array([row]))[0].tolist()
    return first, second
