"""Changes to an index: collected first, then written in one commit that a crash can't tear."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from msgspec import structs

from mcad_mobile.engine.arrays import F32, Stamps, Times
from mcad_mobile.engine.index.core import KEPT, MERGED, LengthError, OpenIndex, OpenWriter
from mcad_mobile.engine.index.filters import path_to_bytes
from mcad_mobile.engine.index.manifest import (
    Manifest,
    SegmentEntry,
    create,
    segment_name,
    words_name,
    write_manifest,
    writing,
)
from mcad_mobile.engine.native import TuningLimits
from mcad_mobile.engine.words.photo_words import PhotoWords, name_terms, to_record
from mcad_mobile.errors import PhotoIndexError

T = TypeVar("T")
# The time of a photo whose time is not known.
NO_TIME = -(2**31)
# Old path, new path, stamp.
Move = tuple[str, str, tuple[int, int]]


class IndexWriter:
    """Adds, moves and deletes photos; readers see none of it before the commit, at the end of the
    `PhotoIndex.writer` block. `spool` is the descriptor of an empty file for new embeddings."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        index: OpenIndex,
        spool: int,
        limits: TuningLimits | None = None,
    ) -> None:
        self._directory, self._manifest, self._index = directory, manifest, index
        self._core = OpenWriter(index, spool, limits)
        self._filled_by = set(manifest.filled_by)
        self._merge_all = self._retune = False

    def close(self) -> None:
        """Drop what was not committed."""
        self._core.close()

    def add(
        self,
        paths: Sequence[str],
        embeddings: F32,
        stamps: Stamps | None = None,
        times: Times | None = None,
    ) -> None:
        """Add photos, or replace those at the same paths; if a path comes twice, the last one
        counts.

        `embeddings` are [N, D] float32, L2-normalized; `stamps` [N, 2] uint32 the state of their
        files (zeros unless given); `times` [N] int32 the minutes since 1970 at which they were
        taken (NO_TIME unless given). PhotoIndexError: shapes don't match, a path is empty or longer
        than 65535 bytes, or an embedding is not of length 1 (within 0.01).
        """
        count, dim = len(paths), self._manifest.dim
        if embeddings.shape != (count, dim):
            raise PhotoIndexError(
                f"{count} paths came with embeddings of shape {list(embeddings.shape)}; this "
                f"index takes [{count}, {dim}].",
                "Embed the photos with the bundle that the index was made with.",
            )
        if stamps is None:
            stamps = np.zeros((count, 2), np.uint32)
        if times is None:
            times = np.full(count, NO_TIME, np.int32)
        try:
            with writing(self._directory):
                self._core.add(
                    [*map(path_to_bytes, paths)],
                    embeddings,
                    stamps.reshape(count, 2),
                    times.reshape(count),
                )
        except LengthError as wrong:
            raise PhotoIndexError(
                f"The embedding of {paths[wrong.position]} has length {wrong.length}, not 1 "
                f"({wrong.count} of {count} are like that).",
                "Give L2-normalized float32 embeddings without NaN or infinity.",
            ) from None

    def move(self, moves: Sequence[Move]) -> int:
        """Change paths and stamps of photos, all at once, and keep their embeddings; return how
        many were found. Moves are (old path, new path, stamp); both paths may be the same. A file's
        moments move with it.

        So two photos can swap names in one call. A photo at a new path is replaced unless it moves
        away itself; if two move to one path, the last stays. Unknown old paths are skipped.
        PhotoIndexError if a new path is empty or longer than 65535 bytes.
        """
        before = [path_to_bytes(old) for old, _, _ in moves]
        after = [path_to_bytes(new) for _, new, _ in moves]
        stamps = np.array([stamp for _, _, stamp in moves], np.uint32).reshape(-1, 2)
        return self._core.move(before, after, stamps)

    def set_times(self, times: Mapping[str, int]) -> None:
        """Set the times of photos that this writer added or moved, in minutes since 1970."""
        files = [path_to_bytes(path) for path in times]
        self._core.set_times(files, np.array([*times.values()], np.int32))

    def set_words(self, words: Mapping[str, PhotoWords]) -> None:
        """Set the words of photos, in place of those that they had; unknown photos are skipped. The
        words of their names come from their paths."""
        self._core.set_words(
            [path_to_bytes(path) for path in words], [to_record(of) for of in words.values()]
        )

    def delete(self, paths: Sequence[str]) -> int:
        """Delete photos, and whole videos, and return how many there were; unknown paths are
        skipped."""
        return self._core.delete([path_to_bytes(path) for path in paths])

    def record_filler(self, rung: str) -> None:
        """Record which tower embedded the added photos, and whose kernels ran it."""
        self._filled_by.add(rung)

    def merge_all(self) -> None:
        """Merge all into one segment without tombstones, at commit."""
        self._merge_all = True

    def rebuild(self) -> None:
        """Like merge_all, and compute the axis and the tuning anew from the current photos."""
        self._merge_all = self._retune = True

    def commit(self) -> None:
        """Write one segment and the manifest that names it; without changes, do nothing."""
        plan = self._core.plan(merge_all=self._merge_all, retune=self._retune)
        if not plan.is_changed:
            return
        generation = self._manifest.generation + 1
        with writing(self._directory):
            entries = []
            for i, entry in enumerate(self._manifest.segments):
                if plan.fates[i] == MERGED:
                    continue
                kept = structs.replace(entry, deleted=plan.deleted[i])
                is_same = plan.fates[i] == KEPT
                entries.append(kept if is_same else self._with_words(kept, i, generation))
            if plan.photos:
                name = segment_name(generation)
                written = self._create(name, self._core.write_segment)
                entry = SegmentEntry.of_core(name, written)
                if plan.has_words:
                    entry = self._with_words(entry, len(plan.fates), generation)
                entries.append(entry)
            manifest = structs.replace(
                self._manifest,
                generation=generation,
                segments=tuple(entries),
                filled_by=tuple(sorted(self._filled_by)),
            )
            write_manifest(self._directory, manifest)

    def _with_words(self, entry: SegmentEntry, number: int, generation: int) -> SegmentEntry:
        """Write the words of a segment's photos, and return its entry with their file."""
        names = [name_terms(os.fsdecode(path)) for path in self._core.names(number)]
        file = words_name(entry.file, generation)
        self._create(file, lambda opened: self._core.write_words(number, names, opened))
        return structs.replace(entry, words=file)

    def _create(self, name: str, write: Callable[[int], T]) -> T:
        path = self._directory / name
        file = create(path)
        try:
            return write(file)
        except BaseException:
            path.unlink(missing_ok=True)  # a full disk needs the room
            raise
        finally:
            os.close(file)
