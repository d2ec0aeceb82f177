"""The search kernels: the loops of mcad_mobile/engine/native in C, called through ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import KernelError

# Names another library in the environment: where the package is a zip file, from which none loads.
LIBRARY_VARIABLE = "MCAD_SEARCH_LIBRARY"
LIBRARY = Path(os.environ.get(LIBRARY_VARIABLE) or Path(__file__).with_name("libmcad_search.so"))
LEVELS = ("plain", "AVX2", "AVX-512 VPOPCNTDQ")

_LAYOUT = 4
_INSTALL = (
    "Install mcad-mobile again; in a checkout by `pip install --no-deps -e .`, which needs a C "
    "compiler."
)
_BLOCK = 2048
_Nothing = ctypes.c_char * 0

U8 = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]
Words = npt.NDArray[np.uint64]
Distances = npt.NDArray[np.uint16]


def address(array: npt.NDArray[Any]) -> int:
    """Return where a writable array lies: a third of what `array.ctypes.data` takes."""
    return ctypes.addressof(_Nothing.from_buffer(array.data))


class _Scan(ctypes.Structure):
    _fields_ = [
        ("columns", ctypes.c_void_p),
        ("stride", ctypes.c_size_t),
        ("spans", ctypes.c_void_p),
        ("span_count", ctypes.c_size_t),
        ("query", ctypes.c_void_p),
        ("allowed", ctypes.c_void_p),
        ("words", ctypes.c_size_t),
        ("wanted", ctypes.c_size_t),
        ("rows", ctypes.c_void_p),
        ("distances", ctypes.c_void_p),
        ("histogram", ctypes.c_void_p),
    ]


class Task(ctypes.Structure):
    """A segment for the second pass, see rescore.c. Its arrays have to live as long as it does."""

    _fields_ = [
        ("file", ctypes.c_int),
        ("offset", ctypes.c_int64),
        ("size", ctypes.c_size_t),
        ("dim", ctypes.c_size_t),
        ("words", ctypes.c_size_t),
        ("stride", ctypes.c_size_t),
        ("columns", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("along", ctypes.c_double),
        ("rows", ctypes.c_void_p),
        ("distances", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("sure", ctypes.c_size_t),
        ("fall", ctypes.c_double),
        ("missed", ctypes.c_double),
        ("cosines", ctypes.c_void_p),
    ]


class PassingTask(ctypes.Structure):
    """What passes a filter, by cell, see passing.c. Its arrays have to live as long as it does."""

    _fields_ = [
        ("rows", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("of_rows", ctypes.c_void_p),
        ("of_places", ctypes.c_void_p),
        ("known_from", ctypes.c_void_p),
        ("known_until", ctypes.c_void_p),
        ("held", ctypes.c_void_p),
        ("photos", ctypes.c_size_t),
        ("first", ctypes.c_size_t),
        ("end", ctypes.c_size_t),
    ]


@dataclass(frozen=True)
class Kernel:
    """`level` is the position in LEVELS of the instructions that it uses."""

    library: Any
    level: int

    @property
    def name(self) -> str:
        return f"C, {LEVELS[self.level]}"

    def nearest(
        self,
        columns: Words,
        query: Words,
        spans: Sequence[range],
        wanted: int,
        allowed: U8 | None = None,
    ) -> tuple[Rows, Distances]:
        """Find the photos at the least weighted distance from a query, pass 1 of a search.

        Args:
            columns: [W, N] uint64, the bits of N photos; bit i of word w is dimension 64 w + i.
            query: [3, W] uint64, its bits, then the bits that count 1 and 2 where they differ: a
                bit counts 3 at most.
            spans: the photos to look at; they ascend and are not empty.
            wanted: how many photos to find.
            allowed: [ceil(N / 8)] uint8, a bit a photo, least significant first: only photos whose
                bit is set are looked at. None: all.

        Returns:
            The `wanted` nearest photos, ascending, and their distances, both [wanted] or fewer
            where there are fewer. Of photos at the same distance the first are taken.
        """
        wanted = min(wanted, sum(map(len, spans)))
        if wanted <= 0:
            return np.empty(0, np.intp), np.empty(0, np.uint16)
        words, photos = columns.shape
        query = np.ascontiguousarray(query)
        ends = np.array([(span.start, span.stop) for span in spans], np.uint64)
        found = np.empty(wanted + 2 * _BLOCK, np.uint32)
        distances = np.empty(len(found), np.uint16)
        histogram = np.zeros(3 * 64 * words + 1, np.uint32)
        task = _Scan(
            columns=columns.ctypes.data,
            stride=photos,
            spans=address(ends),
            span_count=len(ends),
            query=address(query),
            allowed=None if allowed is None else allowed.ctypes.data,
            words=words,
            wanted=wanted,
            rows=address(found),
            distances=address(distances),
            histogram=address(histogram),
        )
        count = self.library.mcad_scan(ctypes.byref(task), self.level)
        return found[:count].astype(np.intp), distances[:count]

    def hold(self, task: PassingTask, order: Rows, enough: int) -> int | None:
        """Look into the first cells of an order that hold `enough` photos that pass. Return how
        many cells these are, all if they hold less; None where a place is of no row."""
        order = np.ascontiguousarray(order, np.int64)
        cells: int = self.library.mcad_hold(
            ctypes.byref(task), address(order), len(order), enough, self.level
        )
        return None if cells < 0 else cells

    def between(
        self, times: npt.NDArray[np.int32], rows: range, first: int, last: int, bits: U8
    ) -> None:
        """Set in `bits` those of `rows` whose times are from `first` to `last`."""
        self.library.mcad_between(
            times.ctypes.data, rows.start, rows.stop, first, last - first, address(bits), self.level
        )

    def rescore(self, tasks: Sequence[Task], k: int) -> int | None:
        """Score what may be among the `k` best of all, see rescore.rescore. Return the position of
        a segment whose file ends before a record; None where all are whole."""
        together = (Task * len(tasks))(*tasks)
        most = sum(task.count for task in tasks) + 1
        failed = self.library.mcad_rescore(together, len(tasks), min(k, most), self.level)
        if failed < 0:
            raise MemoryError("There is no memory for the candidates of a search.")
        return failed - 1 if failed else None


@lru_cache(maxsize=1)
def load_kernel() -> Kernel:
    """Load the kernels with the widest instructions that this processor has.

    Raises:
        KernelError: the library is missing, does not load here, or was compiled from another
            version of its source.
    """
    try:
        library = ctypes.CDLL(str(LIBRARY))
        layout = library.mcad_layout()
    except (OSError, AttributeError) as error:
        raise KernelError(f"The search kernels could not be loaded: {error}.", _INSTALL) from error
    if layout != _LAYOUT:
        raise KernelError(
            f"The search kernels in {LIBRARY} have layout {layout}; this version of mcad-mobile "
            f"needs layout {_LAYOUT}.",
            _INSTALL,
        )
    library.mcad_scan.restype = ctypes.c_size_t
    library.mcad_hold.restype = ctypes.c_int64
    library.mcad_hold.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_int,
    ]
    library.mcad_between.restype = None
    library.mcad_between.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_int,
    ]
    library.mcad_rescore.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_int,
    ]
    return Kernel(library, library.mcad_level())
