"""PhotoIndex: a directory of immutable segments and a manifest that names the current ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import get_ident
from time import perf_counter

import numpy as np

from mcad_mobile.base.documents import folder_kind
from mcad_mobile.base.files import is_address, real_path
from mcad_mobile.engine.arrays import F32, U32
from mcad_mobile.engine.index.core import NONE, OpenIndex, matching_words
from mcad_mobile.engine.index.filters import ALL_ROWS, Kind, RowFilter, path_to_bytes
from mcad_mobile.engine.index.manifest import (
    MANIFEST,
    MAX_DIM,
    SCHEMA,
    Commit,
    Manifest,
    load_commit,
    locked,
    read_manifest,
    reading,
    remove_strays,
    repair_commit,
    spool_file,
    sync_directory,
    write_manifest,
    writing,
)
from mcad_mobile.engine.index.moments import file_and_moment, first_row, is_first, is_moment
from mcad_mobile.engine.index.writer import NO_TIME, IndexWriter
from mcad_mobile.engine.native import TuningLimits
from mcad_mobile.engine.words.folding import fold
from mcad_mobile.engine.words.photo_words import PhotoWords, from_record
from mcad_mobile.engine.words.ranking import WordHit, find_matches, terms_to_find
from mcad_mobile.errors import PhotoIndexError, QueryError, Remedy

# How far the length of a query may be from 1: a quantized tower rounds.
_NORM_TOLERANCE = 1e-2

Stamp = tuple[int, int]


@dataclass(frozen=True)
class KnownPhoto:
    """A photo of the index: its stamp, and whether the index knows when it was taken."""

    stamp: Stamp
    timed: bool


@dataclass(frozen=True)
class Hits:
    """What a search by embedding found.

    Attributes:
        paths: K paths in the index, best first.
        scores: their cosines with the query, [K] float32.
        scan_ms: milliseconds of the scan, which chooses candidates by bits.
        rescore_ms: milliseconds of scoring the candidates.
    """

    paths: list[str]
    scores: F32
    scan_ms: float
    rescore_ms: float


class Membership:
    """Looks photos up and marks those found, in a byte per photo: the others are gone."""

    def __init__(self, index: OpenIndex) -> None:
        self._index = index
        self._found = [np.zeros(rows, np.bool_) for rows in index.rows]

    def find(self, paths: Sequence[str]) -> list[KnownPhoto | None]:
        """Look files up and mark them as found; None for those that the index lacks."""
        rows = self._index.find([path_to_bytes(first_row(path)) for path in paths])
        stamps, times = self._index.stamps(rows).tolist(), self._index.times(rows).tolist()
        photos: list[KnownPhoto | None] = []
        for (segment, row), (first, second), time in zip(rows.tolist(), stamps, times, strict=True):
            if segment == NONE:
                photos.append(None)
                continue
            self._found[segment][row] = True
            photos.append(KnownPhoto((first, second), time != NO_TIME))
        return photos

    def missing(self, folder: str) -> Iterator[tuple[str, Stamp]]:
        """Yield the paths and stamps of files that were not found, below `folder`, which ends with
        a slash (if "", anywhere)."""
        for rows, paths in self._index.photos_below(path_to_bytes(folder)):
            chosen = [
                i
                for i, (segment, row) in enumerate(rows.tolist())
                if not self._found[segment][row] and is_first(paths[i])
            ]
            for i, stamp in zip(chosen, _stamps(self._index, rows[chosen]), strict=True):
                yield file_and_moment(os.fsdecode(paths[i]))[0], stamp


def _stamps(index: OpenIndex, rows: U32) -> list[Stamp]:
    return [(first, second) for first, second in index.stamps(rows).tolist()]


class PhotoIndex:
    """Embeddings of photos as of one commit, read through memory maps.

    It does not see commits of other processes: `open` it again for that. A writer of this object
    moves it to the commit that the writer made. Several threads may search at once. `close`, or the
    end of a `with` block, releases the files.

        with PhotoIndex.open("index") as index:
            hits = index.search(query, k=10)
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        index: OpenIndex,
        limits: TuningLimits | None = None,
    ) -> None:
        """Hold a commit that was read; use `open` or `create` instead."""
        self._directory = directory
        self._opened: Commit | None = (manifest, index)
        self._limits = limits
        # The thread for whose next writer `exclusive` holds the lock.
        self._lends_to: int | None = None

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        dim: int,
        student_sha256: str,
        student: str,
        limits: TuningLimits | None = None,
    ) -> PhotoIndex:
        """Make an empty index and commit it.

        Args:
            directory: its place; created with its parents if it does not exist.
            dim: width D of the embeddings, a multiple of 8 up to 4096.
            student_sha256: identity of the image tower that makes the embeddings.
            student: name of its student.
            limits: when the index is tuned, and what a search may leave out.

        Returns:
            The index, without photos.

        Raises:
            PhotoIndexError: `dim` is invalid; the directory is a bundle, has an index already or
                cannot be written; or another writer is at work.
        """
        if dim % 8 or not 8 <= dim <= MAX_DIM:
            raise PhotoIndexError(
                f"An index of {dim} dimensions can't be made: not a multiple of 8 up to {MAX_DIM}.",
                "Use a student of another embedding width, such as 256, 384, 512 or 768.",
            )
        if folder_kind(directory) == "a bundle":
            raise PhotoIndexError(
                f"{directory} is a bundle; an index needs a folder of its own.",
                Remedy.MOVE_INDEX,
            )
        with writing(directory):
            made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
            directory.mkdir(0o700, parents=True, exist_ok=True)
            # A power cut must not lose the directory of a commit.
            for folder in made:
                sync_directory(folder.parent)
        with locked(directory):
            if cls.exists(directory):
                raise PhotoIndexError(
                    f"There is an index at {directory} already.",
                    "Open it to add photos, or delete that directory first.",
                )
            with writing(directory):
                manifest = Manifest("0" * 8, SCHEMA, 1, dim, student, student_sha256, (), ())
                write_manifest(directory, manifest)
        return cls.open(directory, limits)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Look for an index.

        Args:
            directory: where it would be.

        Returns:
            Whether the directory has one, that is, a commit.
        """
        try:
            return (directory / MANIFEST).exists()
        except OSError:  # whoever opens it reports the error
            return False

    @classmethod
    def open(cls, directory: Path | str, limits: TuningLimits | None = None) -> PhotoIndex:
        """Open the last commit of an index.

        Args:
            directory: the index.
            limits: when writers tune the index, and what a search may leave out.

        Returns:
            The index, whose files are memory-mapped.

        Raises:
            PhotoIndexError: the index is missing, unreadable, damaged, or of an unknown schema.
        """
        return cls(Path(directory), *load_commit(Path(directory)), limits)

    def __enter__(self) -> PhotoIndex:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the files. Searches that are under way in other threads finish; any later use
        raises PhotoIndexError."""
        self._opened = None  # the last reader closes files and maps

    @property
    def _commit(self) -> Commit:
        if self._opened is None:
            raise PhotoIndexError(
                f"The index {self._directory} was closed.", "Open it again: PhotoIndex.open(DIR)."
            )
        return self._opened

    @property
    def _core(self) -> OpenIndex:
        return self._commit[1]

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
        """Identity of its image tower."""
        return self._commit[0].student_sha256

    @property
    def generation(self) -> int:
        """Number of the commit; each commit adds 1."""
        return self._commit[0].generation

    @property
    def filled_by(self) -> tuple[str, ...]:
        """Towers that embedded the photos, with precision and kernels ("onnx int8 by CPU"); empty
        if the embeddings came from elsewhere."""
        return self._commit[0].filled_by

    @property
    def photos(self) -> int:
        """Number of rows, deleted ones not counted: a video has one for each of its moments."""
        return self._core.photos

    def count_files(self) -> dict[str, int]:
        """Count photos and videos, each once.

        Returns:
            Their numbers, as "photos" and "videos", which is left out if there are none.

        Raises:
            PhotoIndexError: a table of paths is damaged, or the index was closed.
        """
        files = photos = 0
        for _, paths in self._core.photos_below():
            files += sum(map(is_first, paths))
            photos += sum(not is_moment(path) for path in paths)
        return {"photos": photos, **({"videos": files - photos} if files > photos else {})}

    @property
    def bytes_per_photo(self) -> float:
        """Bytes of all stored parts, paths included, for each live photo; the padding of parts to
        4096 bytes is not counted."""
        return self._core.bytes / self.photos if self.photos else 0.0

    def paths(self) -> list[str]:
        """List the photos.

        Returns:
            The paths of all photos and videos, sorted by their bytes.

        Raises:
            PhotoIndexError: a table of paths is damaged, or the index was closed.
        """
        return list(self.dates())

    def dates(self) -> dict[str, int]:
        """List when each photo was taken.

        Returns:
            Minutes since 1970 (UTC), or NO_TIME, by path in the order of `paths`.

        Raises:
            PhotoIndexError: a table of paths is damaged, or the index was closed.
        """
        dates: dict[str, int] = {}
        has_videos = False
        for rows, paths in self._core.photos_below():
            for path, time in zip(paths, self._core.times(rows).tolist(), strict=True):
                file, moment = file_and_moment(os.fsdecode(path))
                dates[file] = time
                has_videos = has_videos or moment is not None
        if has_videos:  # their rows have longer paths, and so may have another order
            return dict(sorted(dates.items(), key=lambda item: os.fsencode(item[0])))
        return dates

    def membership(self) -> Membership:
        """Start to look photos up, to learn in the end which were not found.

        Returns:
            An object whose `find` looks paths up, and whose `missing` yields those not looked up.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        return Membership(self._core)

    def embedding(self, path: str) -> F32 | None:
        """Look up the embedding of a photo.

        Args:
            path: the photo's path, as `paths` lists it, or a video's file, for its first frame.

        Returns:
            [D] float32, as stored and scaled to length 1; None when the index lacks the photo.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        embedding = self.embeddings([path])[0]
        return embedding if embedding.any() else None

    def cosines(self, query: F32, paths: Sequence[str]) -> F32:
        """Score photos, wherever they rank.

        Args:
            query: [D] float32, L2-normalized.
            paths: photos, as `paths` lists them.

        Returns:
            Their cosines with the query, [N] float32; NaN for photos that the index lacks.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        rows = self._core.find([path_to_bytes(path) for path in paths])
        return self._core.cosines(rows, query)

    def search_words(
        self, query: str, k: int, *, rows: RowFilter = ALL_ROWS, near: F32 | None = None
    ) -> list[WordHit] | None:
        """Find the photos that have words of a query.

        Args:
            query: the words, as a person writes them.
            k: how many photos to return.
            rows: only photos that pass this filter.
            near: [D] float32, L2-normalized: of equal shares, photos like this come first.

        Returns:
            At most `k` photos, the largest share of the query first; None for an index without
            words.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        core = self._core
        if not core.has_words:
            return None
        terms = terms_to_find(fold(query))
        with core.filtered(rows) as passing:
            found, shares = passing.search_words(terms, k, near)
        paths = map(os.fsdecode, core.paths(found))
        alike = partial(matching_words, terms)
        return [
            WordHit(path, share, tuple(find_matches(path, from_record(record), alike)))
            for path, share, record in zip(paths, shares.tolist(), core.words(found), strict=True)
        ]

    def words(self, path: str) -> PhotoWords | None:
        """Look up the words of a photo.

        Args:
            path: the photo's path, as `paths` lists it.

        Returns:
            Its lines and places; None when the index lacks the photo, or has no words of it.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        (record,) = self._core.words(self._core.find([path_to_bytes(path)]))
        return from_record(record) if record else None

    def unread(self) -> Iterator[tuple[str, Stamp]]:
        """List the photos whose text was not read.

        Returns:
            Their paths and stamps, by path.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        for rows, paths in self._core.photos_below():
            is_read = self._core.are_read(rows)
            chosen = [i for i, path in enumerate(paths) if not is_read[i] and not is_moment(path)]
            for i, stamp in zip(chosen, _stamps(self._core, rows[chosen]), strict=True):
                yield os.fsdecode(paths[i]), stamp

    def embeddings(self, paths: Sequence[str]) -> F32:
        """Look up the embeddings of N photos.

        Args:
            paths: photos, as `paths` lists them.

        Returns:
            [N, D] float32, as stored and scaled to length 1; zeros where the index lacks the
            photo. A video has that of its first moment.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
        """
        raw = [path_to_bytes(first_row(path)) for path in paths]
        return self._core.embeddings(self._core.find(raw))

    def near_duplicates(
        self, least: float = 0.97, *, rows: RowFilter = ALL_ROWS
    ) -> list[list[str]]:
        """Group photos that are nearly the same.

        Args:
            least: each photo has at least this cosine to another of its group.
            rows: which photos are compared; all of them by default.

        Returns:
            Groups of two or more paths, each sorted, the largest group first.

        Raises:
            PhotoIndexError: `least` is at most 0.5 or above 1, or the index is damaged or closed.
            KernelError: the search kernels are missing.
        """
        if not 0.5 < least <= 1:
            raise PhotoIndexError(
                f"Photos with a cosine of {least} are not near duplicates.",
                "Ask for more than 0.5, up to 1.",
            )
        core = self._core
        with core.filtered(rows) as passing:
            found, groups = passing.rows(), passing.duplicates(least)
        sizes = np.bincount(groups, minlength=len(groups))
        alike = np.flatnonzero(sizes[groups] > 1)
        files_of: dict[int, set[str]] = {}
        for group, path in zip(groups[alike].tolist(), core.paths(found[alike]), strict=True):
            files_of.setdefault(group, set()).add(file_and_moment(os.fsdecode(path))[0])
        of_file: dict[str, set[str]] = {}
        for files in files_of.values():
            # Videos may share several moments.
            files.update(*(of_file[file] for file in files if file in of_file))
            of_file.update(dict.fromkeys(files, files))
        joined = {id(files): sorted(files) for files in of_file.values() if len(files) > 1}
        return sorted(joined.values(), key=len, reverse=True)

    @staticmethod
    def check_apart(directory: Path, folder: Path) -> None:
        """Check that an index and a folder of photos are not the same folder.

        Args:
            directory: the index, or its future place.
            folder: the photos.

        Raises:
            PhotoIndexError: they are the same, links resolved.
        """
        if real_path(directory) == real_path(folder):
            raise PhotoIndexError(
                f"{folder} is the folder of the index and of the photos.", Remedy.MOVE_INDEX
            )

    def check_student(self, sha256: str, dim: int) -> None:
        """Check that embeddings of a student can be compared with those of the index.

        Args:
            sha256: identity of the student's image tower: `student.image_sha256` of a bundle.
            dim: width of its embeddings.

        Raises:
            PhotoIndexError: the index is of another student or width; both are named.
        """
        self._check_same(self._commit[0], sha256, dim)

    def _check_same(self, manifest: Manifest, sha256: str, dim: int) -> None:
        if (sha256, dim) != (manifest.student_sha256, manifest.dim):
            raise PhotoIndexError(
                f"The index {self._directory} was built by student {manifest.student} (sha256 "
                f"{manifest.student_sha256}, {manifest.dim} dimensions); this bundle's image tower "
                f"has sha256 {sha256} and {dim} dimensions, so their embeddings can't be compared.",
                Remedy.EMBED_AGAIN(index=self._directory),
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the writer's lock across several writers of this object, in this thread, which start
        from the last commit on disk; readers go on.

        Returns:
            A context manager.

        Raises:
            PhotoIndexError: another writer is at work, the index was closed, or another student's
                has taken its place.
        """
        with self._locked():
            self._opened = load_commit(self._directory)
            self._lends_to = get_ident()
            try:
                yield
            finally:
                self._lends_to = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        _ = self._commit  # raises for a closed index
        if self._lends_to != get_ident():
            with locked(self._directory):
                # The folder may hold another student's index by now: see reembed_index.
                with reading(self._directory):
                    manifest = read_manifest(self._directory)
                self._check_same(manifest, self.student_sha256, self.dim)
                yield
            return
        # Lent to one writer at a time: a second one of this object is refused like any other.
        self._lends_to = None
        try:
            yield
        finally:
            self._lends_to = get_ident()

    @contextmanager
    def writer(self) -> Iterator[IndexWriter]:
        """Open the index for changes: one commit when the block ends, none when it raises.

        The writer starts from the last commit on disk, whoever made it.

        Returns:
            A context manager that gives the writer.

        Raises:
            PhotoIndexError: another writer holds the lock, the index is damaged or closed, another
                student's has taken its place, or the disk refuses to write.
        """
        with self._locked():
            with _open_writer(self._directory, self._limits) as writer:
                yield writer
            self._opened = load_commit(self._directory)
            remove_strays(self._directory, self._opened[0])

    @classmethod
    def rebuild(cls, directory: Path) -> PhotoIndex:
        """Rewrite an index in one commit and one segment, with axis and tuning from its photos.

        Args:
            directory: the index.

        Returns:
            The rewritten index.

        Raises:
            PhotoIndexError: the index is missing, damaged or of another format, or another writer
                is at work.
        """
        with reading(directory):
            read_manifest(directory)  # raises before a lock is made
        with locked(directory):
            with _open_writer(directory, None, tuned=False) as writer:
                writer.rebuild()
            commit = load_commit(directory)
            remove_strays(directory, commit[0])
        return cls(directory, *commit)

    @staticmethod
    def repair(directory: Path) -> int:
        """Commit an index without its damaged segments and files of words.

        Args:
            directory: the index.

        Returns:
            How many photos were in these segments. They are embedded again when their folder is
            indexed; the text in photos whose words were damaged is read again.

        Raises:
            PhotoIndexError: the manifest is missing or damaged, a file that may be intact cannot be
                read, or another writer is at work.
        """
        return repair_commit(directory)

    def compact(self) -> None:
        """Merge all segments into one and drop the tombstones; scores do not change.

        Raises:
            PhotoIndexError: another writer holds the lock, the index is damaged or closed, or the
                disk refuses to write.
        """
        with self.writer() as writer:
            writer.merge_all()

    def verify(self) -> None:
        """Read the whole last commit on disk, and compare it with its checksums.

        Raises:
            PhotoIndexError: a file is damaged, missing or unreadable; the first one is named.
        """
        with reading(self._directory):
            load_commit(self._directory)[1].verify()

    @staticmethod
    def filter(
        *folders: Path | str,
        after: str | None = None,
        before: str | None = None,
        place: str | None = None,
        kind: Kind | None = None,
    ) -> RowFilter:
        """Choose the photos that a search may find, by folder, date, place and kind.

        Args:
            folders: photos in one of these folders or below; in all folders if there is none. They
                may be addresses, such as s3://bucket/2025.
            after: the first day, like "2024-05-01" (from its local midnight), or an ISO 8601 time.
            before: the day after the last one, likewise.
            place: the name of a city, region or country where they were taken.
            kind: "photo" or "video"; None for both.

        Returns:
            What `search` and `count` take as `rows`.

        Raises:
            QueryError: a date is none, no time lies between the two, or a place has no letters.
        """
        from mcad_mobile.engine.photos.dates import moment  # imports what decodes photos

        first, end = (None if date is None else moment(date) for date in (after, before))
        if first is not None and end is not None and first >= end:
            raise QueryError(
                f"No photo was taken after {after} and before {before}.",
                "Give a later day as the end; for one day, the day after it.",
            )
        # Path's expanduser() and resolve() fail for an unknown user and a loop of links.
        paths = tuple(
            path if is_address(path) else str(real_path(os.path.expanduser(path)))  # noqa: PTH111
            for path in map(str, folders)
        )
        words = tuple(fold(place or ""))
        if place is not None and not words:
            raise QueryError(f"{place!r} is not the name of a place.", "Give one, as in Lisbon.")
        return RowFilter(paths, first, end, words, kind)

    def count(self, rows: RowFilter) -> int:
        """Count the photos that pass a filter.

        Args:
            rows: the filter.

        Returns:
            How many photos a search with this filter considers.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
            KernelError: the search kernels are missing.
        """
        with self._core.filtered(rows) as passing:
            return passing.count

    def passing_paths(self, rows: RowFilter) -> list[str]:
        """List the photos that pass a filter.

        Args:
            rows: the filter.

        Returns:
            Their paths, in no order.

        Raises:
            PhotoIndexError: the index is damaged, or was closed.
            KernelError: the search kernels are missing.
        """
        with self._core.filtered(rows) as passing:
            paths = self._core.paths(passing.rows())
        return [*dict.fromkeys(file_and_moment(os.fsdecode(path))[0] for path in paths)]

    @property
    def has_words(self) -> bool:
        """Whether it holds words of photos: texts that were read, names, places."""
        return self._core.has_words

    def search(
        self, query: F32, k: int = 10, *, rows: RowFilter = ALL_ROWS, exact: bool = False
    ) -> Hits:
        """Find the photos nearest to a query.

        Args:
            query: [D] float32, L2-normalized.
            k: how many photos to return.
            rows: only photos that pass this filter.
            exact: score all photos, not only the best candidates of a scan.

        Returns:
            The `k` best photos, fewer if fewer pass: paths and cosines [k] float32, best first, and
            the times of both passes in ms.

        Raises:
            PhotoIndexError: the query has another shape or length, `k` is below 1, or the index is
                damaged or closed.
            KernelError: the search kernels are missing.
        """
        if query.shape != (self.dim,):
            raise PhotoIndexError(
                f"The query has shape {list(query.shape)}; this index takes [{self.dim}].",
                "Embed the text with the bundle that the index was made with.",
            )
        norm = float(np.linalg.norm(query))
        if not abs(norm - 1) <= _NORM_TOLERANCE:
            raise PhotoIndexError(
                f"The query has length {norm}, not 1.",
                "Give an L2-normalized float32 embedding without NaN or infinity.",
            )
        if k < 1:
            raise PhotoIndexError(f"{k} results were asked for.", "Ask for 1 or more.")
        core = self._core
        with core.filtered(rows) as passing:
            started = perf_counter()
            found, scores, scan_ms = passing.search(query, k, is_exact=exact, limits=self._limits)
            paths = [os.fsdecode(path) for path in core.paths(found)]
            spent = (perf_counter() - started) * 1e3
        return Hits(paths, scores, scan_ms, spent - scan_ms)


@contextmanager
def _open_writer(
    directory: Path, limits: TuningLimits | None, *, tuned: bool = True
) -> Iterator[IndexWriter]:
    """Start from the last commit, under the writer's lock; commit at the end of the block, unless
    it raises."""
    # Flush a rename that a crashed writer could not, before deleting files that only the commit
    # before it names.
    with writing(directory):
        sync_directory(directory)
    manifest, index = load_commit(directory, tuned=tuned)
    # Files of a writer that was killed would be in the way.
    remove_strays(directory, manifest)
    with spool_file(directory) as spool:
        writer = IndexWriter(directory, manifest, index, spool.fileno(), limits)
        try:
            yield writer
            writer.commit()
        finally:
            writer.close()
