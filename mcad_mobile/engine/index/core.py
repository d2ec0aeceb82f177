"""The index in C, as Python calls it: open commits, filters and writers. mcad_index.h, beside the
code, describes every function; here their arguments and results become arrays and bytes."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.base.files import UnusualFileError, open_regular
from mcad_mobile.engine.arrays import F32, I32, U8, U32, Stamps, Times
from mcad_mobile.engine.index.faults import LENGTH, damaged, fault
from mcad_mobile.engine.index.filters import RowFilter
from mcad_mobile.engine.index.moments import is_of_video
from mcad_mobile.engine.native import TuningLimits, address, fields, load_kernel

NONE = 2**32 - 1
KEPT, NEW_WORDS, MERGED = range(3)

_LISTED = 4096  # photos at once
_KEPT_FILTERS = 8
_ANY_TIME = (-(2**63), 2**63 - 1)
_START_LETTERS, _NEAR_LETTERS = 3, 5
_BEGINS, _NEAR = 1, 2
_Asked = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _Error(ctypes.Structure):
    _fields_ = [*fields("i:code i:file"), ("values", ctypes.c_int64 * 3), *fields("d:number")]


class _Strings(ctypes.Structure):
    _fields_ = fields("p:data p:ends s:count")


class Count(ctypes.Structure):
    """Of n photos, factor * n ^ exponent * k ^ growth are candidates for k results."""

    _fields_ = fields("d:factor d:exponent d:growth")


class Entry(ctypes.Structure):
    """A segment of a commit: `McadEntry`."""

    _fields_ = [
        *fields("i:file i:words u:header_crc32 i:has_cells U:photos U:deleted_count"),
        *fields("U:prescan_bits p:deleted"),
        ("candidates", Count),
        ("prescan", Count),
        ("cells", Count),
    ]


class _Size(ctypes.Structure):
    _fields_ = fields("U:photos U:bytes i:has_words")


class _Photos(ctypes.Structure):
    _fields_ = fields("p:stamps p:times p:is_read p:embeddings p:query p:cosines")


class _Choice(ctypes.Structure):
    _fields_ = [
        ("folders", _Strings),
        *fields("l:first l:end"),
        ("place", _Strings),
        *fields("p:rows"),
    ]


class _Terms(ctypes.Structure):
    _fields_ = [("words", _Strings), *fields("p:modes")]


class _Stop(ctypes.Structure):
    _fields_ = [("asked", _Asked), *fields("p:host")]


class _Plan(ctypes.Structure):
    _fields_ = fields("i:is_changed i:has_words U:photos p:fates p:deleted p:deleted_counts")


def _given(texts: Sequence[bytes]) -> _Strings:
    """Return texts for C; they live as long as the structure."""
    data, ends = b"".join(texts), np.cumsum([len(text) for text in texts], dtype=np.uint64)
    given = _Strings(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), address(ends), len(texts))
    given.kept = data, ends
    return given


def _taken(strings: _Strings) -> list[bytes]:
    """Return texts that C made, and free them."""
    bounds = [0, *(ctypes.c_uint64 * strings.count).from_address(strings.ends)]
    data = ctypes.string_at(strings.data, bounds[-1])
    load_kernel().library.mcad_strings_free(ctypes.byref(strings))
    return [data[start:end] for start, end in pairwise(bounds)]


def _terms(terms: Sequence[str]) -> _Terms:
    """Return a query's folded terms for C, each with how it may match beside as a whole."""
    modes = np.zeros(len(terms), np.uint8)
    for i, term in enumerate(terms):
        modes[i] += _BEGINS * (len(term) >= _START_LETTERS)
        modes[i] += _NEAR * (len(term) >= _NEAR_LETTERS and term.isalpha())
    words = _given([term.encode("utf-8", "replace") for term in terms])
    given = _Terms(words, address(modes))
    given.kept = words, modes
    return given


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Yield what C asks whether to stop: after Ctrl-C, which raises KeyboardInterrupt at the end.
    Python runs handlers of signals only between its own instructions, and an exception in a
    function that C calls would be lost."""
    pressed = threading.Event()
    asked = _Asked(lambda _: pressed.is_set())
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield None
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield ctypes.byref(_Stop(asked))
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():
        raise KeyboardInterrupt


class _Handle:
    """An index that C opened, which is closed when nothing refers to it any more. The garbage
    collector may end it before its filters and writers, so it closes these first."""

    def __init__(self, library: Any, directory: Path, files: Sequence[Path | None]) -> None:
        self.library, self.directory, self.files = library, directory, files
        self.index = ctypes.c_void_p()
        self._users: dict[int | None, Any] = {}

    def __del__(self) -> None:
        for user in [*self._users]:
            self.close(user)
        self.library.mcad_index_close(self.index)

    def open(self, kind: str, *arguments: Any) -> int | None:
        """Open a "filter" or a "writer" of the index, which `close` closes; return its pointer."""
        user = ctypes.c_void_p()
        first, *rest = arguments
        self.call(f"mcad_{kind}_open", self.index, *first, ctypes.byref(user), *rest)
        self._users[user.value] = getattr(self.library, f"mcad_{kind}_close")
        return user.value

    def close(self, user: int | None) -> None:
        if close := self._users.pop(user, None):
            close(user)

    def check(self, code: int, error: _Error) -> None:
        if code:
            raise fault(self.directory, self.files, code, error.file, error.values, error.number)

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of C whose last argument is an error, and raise that if there is one."""
        error = _Error()
        self.check(getattr(self.library, function)(*arguments, ctypes.byref(error)), error)


class OpenIndex:
    """The segments of a commit and their words, open. Any number of threads may use it; it is
    closed when nothing refers to it any more.

    Args:
        directory: the index.
        entries: the segments as the manifest has them, without files.
        files: the names of each entry's segment and, or None, of its words.
        dim: width of the embeddings.
        is_tuned: refuse a tuning that does not fit the photos.

    Raises:
        FileNotFoundError: a file is gone.
        PhotoIndexError: a file is damaged, or not the one that the manifest names.
    """

    def __init__(
        self,
        directory: Path,
        entries: Sequence[Entry],
        files: Sequence[tuple[str, str | None]],
        dim: int,
        *,
        is_tuned: bool = True,
    ) -> None:
        self.dim = dim
        self.rows = [entry.photos for entry in entries]
        paths = [directory / name if name else None for names in files for name in names]
        self._core = core = _Handle(load_kernel().library, directory, paths)
        together = (Entry * len(entries))(*entries)
        _open_files(together, paths)
        core.call(
            *("mcad_index_open", together, len(entries), dim, is_tuned, ctypes.byref(core.index))
        )
        size = _Size()
        core.library.mcad_index_size(core.index, ctypes.byref(size))
        self.photos, self.bytes = int(size.photos), int(size.bytes)
        self.has_words = bool(size.has_words)
        self._filters: dict[RowFilter, list[OpenFilter]] = {}
        self._videos: list[npt.NDArray[np.uint64]] | None = None

    def verify(self) -> None:
        """Read all files and compare them with their checksums. PhotoIndexError names a damaged
        one."""
        with _interruptible() as stop:
            self._core.call("mcad_index_verify", self._core.index, stop)

    def find(self, paths: Sequence[bytes]) -> U32:
        """Return the rows [N, 2] of paths; `NONE` for those that the index lacks."""
        rows = np.empty((len(paths), 2), np.uint32)
        given = ctypes.byref(_given(paths))
        self._core.call("mcad_index_find", self._core.index, given, address(rows))
        return rows

    def paths(self, rows: U32) -> list[bytes]:
        """Return the paths of rows [N, 2]."""
        rows, strings = np.ascontiguousarray(rows, np.uint32), _Strings()
        self._core.call(
            "mcad_index_paths", self._core.index, address(rows), len(rows), ctypes.byref(strings)
        )
        return _taken(strings)

    def photos_below(self, prefix: bytes = b"") -> Iterator[tuple[U32, list[bytes]]]:
        """Yield the rows [N, 2] and paths of photos whose paths begin with a prefix, by ascending
        path, some thousand at once."""
        after = b""
        while True:
            rows, strings = np.empty((_LISTED, 2), np.uint32), _Strings()
            given = _given([prefix, after])
            self._core.call(
                *("mcad_index_list", self._core.index, ctypes.byref(given), _LISTED, address(rows)),
                ctypes.byref(strings),
            )
            paths = _taken(strings)
            if not paths:
                return
            yield rows[: len(paths)], paths
            after = paths[-1]

    def stamps(self, rows: U32) -> Stamps:
        """Return the stamps [N, 2] of rows [N, 2]."""
        stamps = np.zeros((len(rows), 2), np.uint32)
        self._read(rows, stamps=stamps)
        return stamps

    def times(self, rows: U32) -> Times:
        """Return the times [N] of rows [N, 2]."""
        times = np.zeros(len(rows), np.int32)
        self._read(rows, times=times)
        return times

    def are_read(self, rows: U32) -> U8:
        """Return for each of rows [N, 2] whether the photo's text was read."""
        is_read = np.zeros(len(rows), np.uint8)
        self._read(rows, is_read=is_read)
        return is_read

    def embeddings(self, rows: U32) -> F32:
        """Return the embeddings [N, D], of length 1, of rows [N, 2]; zeros for `NONE`."""
        embeddings = np.zeros((len(rows), self.dim), np.float32)
        self._read(rows, embeddings=embeddings)
        return embeddings

    def cosines(self, rows: U32, query: F32) -> F32:
        """Return the cosines [N] of rows [N, 2] with a query [D]; NaN for `NONE`."""
        cosines = np.full(len(rows), np.nan, np.float32)
        self._read(rows, query=np.ascontiguousarray(query, np.float32), cosines=cosines)
        return cosines

    def _read(self, rows: U32, **arrays: npt.NDArray[Any]) -> None:
        rows = np.ascontiguousarray(rows, np.uint32)
        photos = _Photos(**{name: address(array) for name, array in arrays.items()})
        self._core.call(
            "mcad_index_photos", self._core.index, address(rows), len(rows), ctypes.byref(photos)
        )

    def words(self, rows: U32) -> list[bytes]:
        """Return the records of words of rows [N, 2], empty where a segment has no words."""
        rows, strings = np.ascontiguousarray(rows, np.uint32), _Strings()
        self._core.call(
            "mcad_words_read", self._core.index, address(rows), len(rows), ctypes.byref(strings)
        )
        return _taken(strings)

    @contextmanager
    def filtered(self, rows: RowFilter) -> Iterator[OpenFilter]:
        """Yield a filter that no other thread uses meanwhile; the last few are kept."""
        free = self._filters.setdefault(rows, [])
        try:
            chosen = free.pop()
        except IndexError:
            chosen = OpenFilter(self, rows)
        yield chosen
        free.append(chosen)
        for oldest in [*self._filters][:-_KEPT_FILTERS]:  # copied: other threads change it
            self._filters.pop(oldest, None)

    def rows_of_kind(self, kind: str) -> list[npt.NDArray[np.uint64]]:
        """Return a bit for each row of each segment that is of a "video", or of a "photo"."""
        if self._videos is None:
            bits = [np.zeros(-(-rows // 64) * 64, np.bool_) for rows in self.rows]
            for rows, paths in self.photos_below():
                for segment, row in compress(rows.tolist(), map(is_of_video, paths)):
                    bits[segment][row] = True
            self._videos = [np.packbits(of, bitorder="little").view(np.uint64) for of in bits]
        return self._videos if kind == "video" else [~of for of in self._videos]


def _open_files(entries: ctypes.Array[Entry], paths: Sequence[Path | None]) -> None:
    """Set the descriptors of entries: of a segment, and of its words or -1."""
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(-1 if path is None else open_regular(path))
    except BaseException as error:
        for descriptor in opened:
            if descriptor >= 0:
                os.close(descriptor)
        if isinstance(error, UnusualFileError) and path is not None:
            raise damaged(path, str(error)) from None
        raise
    for entry, files in zip(entries, zip(opened[::2], opened[1::2], strict=True), strict=True):
        entry.file, entry.words = files


class OpenFilter:
    """The photos of an index that pass a filter, `count` of them, for one thread at a time."""

    def __init__(self, index: OpenIndex, rows: RowFilter) -> None:
        self._core: _Handle = index._core
        self._handle: int | None = None
        first = _ANY_TIME[0] if rows.after is None else rows.after
        end = _ANY_TIME[1] if rows.before is None else rows.before
        folders = _given(rows.folder_prefixes())
        place = _given([term.encode("utf-8", "replace") for term in rows.place])
        bits = index.rows_of_kind(rows.kind) if rows.kind else []
        of_segments = (ctypes.c_void_p * len(bits))(*map(address, bits))
        choice = _Choice(folders, first, end, place, ctypes.addressof(of_segments) * bool(bits))
        count = ctypes.c_size_t()
        self._handle = self._core.open("filter", [ctypes.byref(choice)], ctypes.byref(count))
        self.count = count.value

    def __del__(self) -> None:
        self._core.close(self._handle)

    def rows(self) -> U32:
        """Return the rows [N, 2] that pass, by segment and row."""
        rows = np.empty((self.count, 2), np.uint32)
        self._core.call("mcad_filter_rows", self._handle, address(rows))
        return rows

    def search(
        self, query: F32, k: int, *, is_exact: bool, limits: TuningLimits | None
    ) -> tuple[U32, F32, float]:
        """Return the rows [K, 2] of the `k` photos with the largest cosines with a query [D] of
        length 1, best first, their cosines [K], and the milliseconds of the scan."""
        query, scan_ms = np.ascontiguousarray(query, np.float32), ctypes.c_double()
        found = self._best(
            *("mcad_search", k, address(query), is_exact, limits and ctypes.byref(limits)),
            after=ctypes.byref(scan_ms),
        )
        return *found, scan_ms.value

    def search_words(self, terms: Sequence[str], k: int, near: F32 | None) -> tuple[U32, F32]:
        """Return the rows [K, 2] of the `k` photos whose words match the largest share of a query's
        terms, and their shares; of equal ones, those with the largest cosine with `near` [D]."""
        given = _terms(terms)
        near = None if near is None else np.ascontiguousarray(near, np.float32)
        return self._best(
            "mcad_words_search", k, ctypes.byref(given), None if near is None else address(near)
        )

    def _best(self, function: str, k: int, *asked: object, after: object = None) -> tuple[U32, F32]:
        count = ctypes.c_size_t(min(k, self.count))
        rows, scores = np.empty((count.value, 2), np.uint32), np.empty(count.value, np.float32)
        room = (address(rows), address(scores), ctypes.byref(count))
        self._core.call(function, self._handle, *asked, *room, after)
        return rows[: count.value], scores[: count.value]

    def duplicates(self, least: float) -> U32:
        """Return for each of `rows` the position of the first photo of its group."""
        groups = np.empty(self.count, np.uint32)
        with _interruptible() as stop:
            self._core.call("mcad_duplicates", self._handle, least, stop, address(groups))
        return groups


def matching_words(terms: Sequence[str], words: Iterable[str]) -> set[str]:
    """Return those of some folded words that match one of a query's terms."""
    distinct, given = [*set(words)], _terms(terms)
    strings = _given([word.encode("utf-8", "replace") for word in distinct])
    alike = np.zeros(len(distinct), np.uint8)
    load_kernel().library.mcad_words_alike(
        ctypes.byref(given), ctypes.byref(strings), address(alike)
    )
    return {*compress(distinct, alike.tolist())}


@dataclass(frozen=True)
class Plan:
    """What a commit will do.

    Attributes:
        is_changed: whether there is anything to commit.
        has_words: whether the new segment has words.
        photos: photos of the new segment; 0 for none.
        fates: of each segment, `KEPT`, `NEW_WORDS` or `MERGED`.
        deleted: the deleted rows of each, ascending.
    """

    is_changed: bool
    has_words: bool
    photos: int
    fates: list[int]
    deleted: list[list[int]]


class OpenWriter:
    """Changes to an open index that are not committed; `spool` is the descriptor of an empty file
    for new embeddings. For one thread at a time."""

    def __init__(self, index: OpenIndex, spool: int, limits: TuningLimits | None) -> None:
        self._core, self._count = index._core, len(index.rows)
        self._handle = self._core.open("writer", [spool, limits and ctypes.byref(limits)])

    def close(self) -> None:
        self._core.close(self._handle)
        self._handle = None

    def add(self, paths: Sequence[bytes], embeddings: F32, stamps: Stamps, times: Times) -> None:
        """Add photos. `LengthError` names the first embedding that is not of length 1."""
        given, error = _given(paths), _Error()
        arrays = (
            np.ascontiguousarray(embeddings, np.float32),
            np.ascontiguousarray(stamps, np.uint32),
            np.ascontiguousarray(times, np.int32),
        )
        code = self._core.library.mcad_writer_add(
            self._handle, ctypes.byref(given), *map(address, arrays), ctypes.byref(error)
        )
        if code == LENGTH:
            raise LengthError(error.values[0], error.values[1], error.number)
        self._core.check(code, error)

    def move(self, old: Sequence[bytes], new: Sequence[bytes], stamps: Stamps) -> int:
        """Move files, and return how many rows moved."""
        return self._change("mcad_writer_move", _given(old), _given(new), stamps.astype(np.uint32))

    def delete(self, files: Sequence[bytes]) -> int:
        """Delete files, and return how many there were."""
        return self._change("mcad_writer_delete", _given(files))

    def set_times(self, files: Sequence[bytes], times: Times) -> int:
        """Set the times of files that were added or moved; return how many rows they have."""
        return self._change("mcad_writer_set_times", _given(files), times.astype(np.int32))

    def set_words(self, paths: Sequence[bytes], records: Sequence[bytes]) -> int:
        """Set the words of photos, and return of how many; unknown ones are skipped."""
        return self._change("mcad_writer_set_words", _given(paths), _given(records))

    def _change(self, function: str, *given: _Strings | npt.NDArray[Any]) -> int:
        found = ctypes.c_size_t()
        pointers = [address(g) if isinstance(g, np.ndarray) else ctypes.byref(g) for g in given]
        self._core.call(function, self._handle, *pointers, ctypes.byref(found))
        return found.value

    def plan(self, *, merge_all: bool, retune: bool) -> Plan:
        """Plan the commit; nothing may change after it."""
        plan, count = _Plan(), self._count
        self._core.call("mcad_writer_plan", self._handle, merge_all, retune, ctypes.byref(plan))
        counts = (ctypes.c_uint64 * count).from_address(plan.deleted_counts)
        pointers = (ctypes.c_void_p * count).from_address(plan.deleted)
        deleted: list[I32] = [
            np.frombuffer(ctypes.string_at(pointer, 4 * many), np.uint32)
            for pointer, many in zip(pointers, counts, strict=True)
        ]
        return Plan(
            bool(plan.is_changed),
            bool(plan.has_words),
            plan.photos,
            [*ctypes.string_at(plan.fates, count)],
            [rows.tolist() for rows in deleted],
        )

    def write_segment(self, file: int) -> Entry:
        """Write the new segment to an empty file, and return its entry."""
        entry = Entry()
        with _interruptible() as stop:
            self._core.call("mcad_writer_segment", self._handle, file, stop, ctypes.byref(entry))
        return entry

    def names(self, entry: int) -> list[bytes]:
        """List the files whose names make words of a segment; the number of entries stands for the
        new one."""
        strings = _Strings()
        self._core.call("mcad_writer_names", self._handle, entry, ctypes.byref(strings))
        return _taken(strings)

    def write_words(self, entry: int, names: Sequence[bytes], file: int) -> None:
        """Write the words of a segment to an empty file; `names` are the terms of `names`."""
        given = _given(names)
        self._core.call("mcad_writer_words", self._handle, entry, ctypes.byref(given), file)


class LengthError(Exception):
    """An embedding is not of length 1: its position, how many are not, and its length."""

    def __init__(self, position: int, count: int, length: float) -> None:
        super().__init__(position, count, length)
        self.position, self.count, self.length = position, count, length
