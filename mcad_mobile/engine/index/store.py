"""PhotoIndex: a directory of immutable segments and one manifest that names those that count."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcad_mobile.base.documents import what_is
from mcad_mobile.engine.index import codes
from mcad_mobile.engine.index.codes import MAX_DIM, NORM_TOLERANCE, decode, unrotate
from mcad_mobile.engine.index.duplicates import duplicate_groups
from mcad_mobile.engine.index.filters import LiveSegment, RowFilter
from mcad_mobile.engine.index.manifest import (
    NAME,
    Commit,
    Manifest,
    load_commit,
    locked,
    read_manifest,
    remove_strays,
    spool_file,
    sync_directory,
    to_rebuild,
    write_manifest,
    writing,
)
from mcad_mobile.engine.index.membership import Census
from mcad_mobile.engine.index.merge import segment_items
from mcad_mobile.engine.index.paths import path_from_bytes, path_to_bytes
from mcad_mobile.engine.index.search import Hits, search_segments
from mcad_mobile.engine.index.writer import IndexWriter
from mcad_mobile.engine.native import load_kernel
from mcad_mobile.errors import PhotoIndexError

ALL_ROWS = RowFilter()


class PhotoIndex:
    """An index as of one commit, read through memory maps.

    What others commit later is not seen; `open` again to see it. A writer of this object's own
    moves it to the commit that the writer made. Searching from several threads is safe. `close`, or
    the end of a `with` block, lets go of its files.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        segments: tuple[LiveSegment, ...],
    ) -> None:
        self._directory = directory
        self._opened: Commit | None = (manifest, segments)
        # Whether `exclusive` holds the lock for the next writer.
        self._lends_lock = False

    @classmethod
    def create(cls, directory: Path, *, dim: int, student_sha256: str, student: str) -> PhotoIndex:
        """Make an empty index of `dim` dimensions, a multiple of 8 up to 4096, and commit it.

        PhotoIndexError when `dim` is another number, the directory has an index already or cannot
        be written.
        """
        if dim % 8 or not 8 <= dim <= MAX_DIM:
            raise PhotoIndexError(
                f"An index of {dim} dimensions can't be made: not a multiple of 8 up to {MAX_DIM}.",
                "Use a student whose embedding width is one (256, 384, 512, 768 ...).",
            )
        if what_is(directory) == "a bundle":
            raise PhotoIndexError(
                f"{directory} is a bundle, and no place for an index.",
                "Give --index another folder, or leave it out: an index lies beside its bundle.",
            )
        with writing(directory):
            made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
            directory.mkdir(parents=True, exist_ok=True)
            # Nor may a power cut take the directory that a commit lies in.
            for folder in made:
                sync_directory(folder.parent)
        with locked(directory):
            if cls.exists(directory):
                raise PhotoIndexError(
                    f"There is an index at {directory} already.",
                    "Open it to add photos, or delete that directory first.",
                )
            with writing(directory):
                write_manifest(directory, Manifest(1, dim, student, student_sha256))
        return cls.open(directory)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Say whether there is an index: a directory whose first commit never came is none."""
        try:
            return (directory / NAME).exists()
        except OSError:  # what can't be looked at is told by whoever tries to use it
            return False

    @classmethod
    def open(cls, directory: Path | str) -> PhotoIndex:
        """Open the last commit. PhotoIndexError: missing, unreadable, damaged, or of an unknown
        schema."""
        return cls(Path(directory), *load_commit(Path(directory)))

    def __enter__(self) -> PhotoIndex:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Searches that are under way in other threads end as they would;
        whatever is asked for afterwards is a PhotoIndexError."""
        self._opened = None  # files and maps are closed with the last who reads them

    @property
    def _commit(self) -> Commit:
        if self._opened is None:
            raise PhotoIndexError(
                f"The index {self._directory} was closed.", "Open it again: PhotoIndex.open(DIR)."
            )
        return self._opened

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return self._commit[0].dim

    @property
    def student(self) -> str:
        """Name of the student whose embeddings these are."""
        return self._commit[0].student

    @property
    def student_sha256(self) -> str:
        return self._commit[0].student_sha256

    @property
    def generation(self) -> int:
        """Number of the commit: it grows by one with each."""
        return self._commit[0].generation

    @property
    def filled_by(self) -> tuple[str, ...]:
        """What has embedded its photos, a rung and whose arithmetic ran it; none where the
        embeddings came from elsewhere."""
        return self._commit[0].filled_by

    @property
    def photos(self) -> int:
        """Number of photos, deleted ones not counted."""
        return sum(live.live for live in self._commit[1])

    @property
    def bytes_per_photo(self) -> float:
        """Bytes of all that is stored, paths too, for each live photo; what fills up pages of
        4096 bytes is not counted."""
        used = sum(part.length for live in self._commit[1] for part in live.segment.parts.values())
        return used / self.photos if self.photos else 0.0

    def paths(self) -> list[str]:
        """Return the paths of all photos, sorted by their bytes."""
        streams = [segment_items(live, number) for number, live in enumerate(self._commit[1])]
        return [path_from_bytes(path) for path, _, _ in heapq.merge(*streams)]

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return the stamps of all photos by path: what their files were, see folder.py."""
        found = {}
        for number, live in enumerate(self._commit[1]):
            stamps = live.segment.stamps(np.arange(live.segment.photos)).tolist()
            for path, _, row in segment_items(live, number):
                first, second = stamps[row]
                found[path_from_bytes(path)] = (first, second)
        return found

    def census(self) -> Census:
        """Begin to look up photos one after another, to see in the end which were not asked for."""
        return Census(self._commit[1])

    def embedding(self, path: str) -> npt.NDArray[np.float32] | None:
        """Return the embedding [D] float32 of a photo, of length 1 but for what its bytes lost;
        None when it is not here."""
        for live in self._commit[1]:
            for _, row in live.segment.paths.find([path_to_bytes(path)]):
                if row not in live.deleted:
                    encoded = live.segment.encoded_rows(np.array([row]))
                    found = unrotate(decode(encoded, live.segment.axis)[0])
                    return np.asarray(found / codes.lengths(found), np.float32)
        return None

    def near_duplicates(self, least: float = 0.97) -> list[list[str]]:
        """Return groups of photos of which each has a cosine of `least` or more to another of its
        group, largest group first. PhotoIndexError when `least` is not above 0.5 and up to 1."""
        segments = self._commit[1]
        return [
            sorted(path_from_bytes(segments[s].segment.paths.at(row)) for s, row in group)
            for group in duplicate_groups(segments, least)
        ]

    def check_student(self, sha256: str, dim: int) -> None:
        """Raise PhotoIndexError, naming both sides, unless the index is of that student."""
        if (sha256, dim) != (self.student_sha256, self.dim):
            raise PhotoIndexError(
                f"The index {self._directory} was built by student {self.student} (sha256 "
                f"{self.student_sha256}, {self.dim} dimensions); this bundle's student has sha256 "
                f"{sha256} and {dim} dimensions, so their embeddings can't be compared.",
                f"Use the bundle it was built with, or delete {self._directory} and run "
                "`mcad-mobile index PHOTOS --bundle BUNDLE` with this one.",
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other writers out over several of this object's, which begin with the last
        commit on disk; readers are not held up. PhotoIndexError when another writer is at work."""
        with self._locked():
            self._opened = load_commit(self._directory)
            self._lends_lock = True
            try:
                yield
            finally:
                self._lends_lock = False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        _ = self._commit  # a closed index is not opened by its writer
        if not self._lends_lock:
            with locked(self._directory):
                yield
            return
        # Lent to one at a time: a second writer of this object's is refused like any other.
        self._lends_lock = False
        try:
            yield
        finally:
            self._lends_lock = True

    @contextmanager
    def writer(self) -> Iterator[IndexWriter]:
        """Open the index for changes: one commit when the block ends, none when it raises.

        Starts from the last commit on disk, whoever made it. PhotoIndexError when another writer
        holds the lock or the disk refuses.
        """
        with self._locked():
            # A rename that a crashed writer could not flush must be safe before files that only
            # the commit before it names are deleted.
            with writing(self._directory):
                sync_directory(self._directory)
            manifest, segments = load_commit(self._directory)
            remove_strays(self._directory, manifest)
            with spool_file(self._directory) as spool:
                writer = IndexWriter(self._directory, manifest, segments, spool)
                yield writer
                writer._commit()
            self._opened = load_commit(self._directory)
            remove_strays(self._directory, self._opened[0])

    @classmethod
    def rebuild(cls, directory: Path) -> PhotoIndex:
        """Write an index anew, in one commit and one segment, coded around the photos as they are
        now and with settings measured on them. PhotoIndexError: missing, damaged, of another
        format, or another writer is at work."""
        read_manifest(directory)  # where that is refused, no lock is made
        with locked(directory):
            with writing(directory):
                sync_directory(directory)
            manifest, segments = to_rebuild(directory)
            with spool_file(directory) as spool:
                writer = IndexWriter(directory, manifest, segments, spool)
                writer.rebuild()
                writer._commit()
            remove_strays(directory, read_manifest(directory))
        return cls.open(directory)

    def compact(self) -> None:
        """Merge all segments into one and drop the tombstones; the scores stay the same."""
        with self.writer() as writer:
            writer.merge_all()

    def verify(self) -> None:
        """Read the last commit on disk whole; PhotoIndexError names the file that is damaged."""
        for live in load_commit(self._directory)[1]:
            live.segment.verify()

    def count(self, rows: RowFilter) -> int:
        """Return how many photos pass. KernelError when the search kernels are missing."""
        kernel = load_kernel()
        return sum(live.passing(rows, kernel).count for live in self._commit[1])

    def search(
        self,
        query: npt.NDArray[np.float32],
        k: int = 10,
        *,
        rows: RowFilter = ALL_ROWS,
        exact: bool = False,
    ) -> Hits:
        """Return the `k` photos nearest to `query` [D] float32, L2-normalized, best first, of those
        that `rows` lets pass.

        Fewer when there are fewer photos. `exact` scores all photos in place of the best
        candidates of the scan. PhotoIndexError when the query does not fit or `k` is below 1;
        KernelError when the search kernels are missing.
        """
        if query.shape != (self.dim,):
            raise PhotoIndexError(
                f"The query has shape {list(query.shape)}; this index takes [{self.dim}].",
                "Embed the text with the bundle that the index was made with.",
            )
        norm = float(np.linalg.norm(query))
        if not abs(norm - 1) <= NORM_TOLERANCE:
            raise PhotoIndexError(
                f"The query has length {norm}, not 1.",
                "Give an L2-normalized float32 embedding without NaN or infinity.",
            )
        if k < 1:
            raise PhotoIndexError(f"{k} results were asked for.", "Ask for 1 or more.")
        return search_segments(
            self._commit[1],
            query.astype(np.float32),
            k,
            wanted=rows,
            exact=codes,
            kernel=load_kernel(),
        )
