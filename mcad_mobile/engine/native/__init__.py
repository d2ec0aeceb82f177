"""The C code beside this file, called through ctypes: search, tuning, and the numbers of photos."""

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

from mcad_mobile.engine.arrays import F32, I16, U8, Distances, Rows, Times, Words
from mcad_mobile.errors import KernelError

# The environment variable that names another library, as none loads from a zip file.
LIBRARY_VARIABLE = "MCAD_SEARCH_LIBRARY"
LIBRARY = Path(os.environ.get(LIBRARY_VARIABLE) or Path(__file__).with_name("libmcad_search.so"))
LEVELS = (
    ("plain", "NEON", "NEON dot product")
    if os.uname().machine in ("aarch64", "arm64")
    else ("plain", "AVX2", "AVX-512 VPOPCNTDQ")
)
# Version of the structures' layout in the C sources.
LAYOUT = 8

_INSTALL = (
    "Install mcad-mobile again; in a checkout by `pip install --no-deps -e .`, which needs a C "
    "compiler."
)
_BLOCK = 2048
_MOST_RESULTS = 2**31
_Nothing = ctypes.c_char * 0
# Letters for C's types.
_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "s": ctypes.c_size_t,
    "u": ctypes.c_uint32,
    "i": ctypes.c_int,
    "l": ctypes.c_int64,
    "d": ctypes.c_double,
}
_SIGNATURES = {  # result and arguments
    "mcad_scan": (ctypes.c_size_t, "pi"),
    "mcad_probe_cells": (ctypes.c_int64, "ppssi"),
    "mcad_filter_times": (None, "pssuupi"),
    "mcad_rescore": (ctypes.c_int, "psspi"),
    "mcad_prepare": (ctypes.c_int, "pssp"),
    "mcad_rotate": (ctypes.c_int, "pssi"),
    "mcad_encode": (ctypes.c_int, "psspppi"),
    "mcad_decode": (None, "psspp"),
    "mcad_split_query": (ctypes.c_double, "pspp"),
    "mcad_add_up": (None, "pssp"),
    "mcad_axis": (None, "psp"),
    "mcad_add_covariance": (ctypes.c_int, "pssppi"),
    "mcad_feedback": (ctypes.c_int, "pspi"),
    "mcad_quantize_query": (ctypes.c_double, "pspsp"),
    "mcad_assign_cells": (ctypes.c_int, "pssppspi"),
    "mcad_order_cells": (ctypes.c_int, "pspsp"),
    "mcad_limits": (None, "p"),
    "mcad_count": (ctypes.c_size_t, "pss"),
    "mcad_count_in_cells": (ctypes.c_size_t, "pss"),
    "mcad_plan_merge": (ctypes.c_int, "ppsllpp"),
    "mcad_sample_step": (ctypes.c_size_t, "ss"),
    "mcad_feedback_step": (ctypes.c_size_t, "ss"),
    "mcad_shrink": (None, "psp"),
    "mcad_tune": (ctypes.c_int, "ppi"),
    "mcad_boxes": (ctypes.c_int64, "psssp"),
    "mcad_words_find": (ctypes.c_int, "pspsp"),
    "mcad_words_rank": (ctypes.c_int64, "psspp"),
    "mcad_words_alike": (None, "psppsp"),
    "mcad_words_open": (ctypes.c_int, "psp"),
    "mcad_words_close": (None, "p"),
    "mcad_words_records": (ctypes.c_int64, "psppsp"),
    "mcad_words_build": (ctypes.c_int64, "pspspssup"),
    "mcad_words_free": (None, "p"),
    "mcad_places_check": (ctypes.c_int, "ps"),
    "mcad_places_near": (ctypes.c_int, "psdddp"),
    "mcad_level": (ctypes.c_int, ""),
    "mcad_layout": (ctypes.c_int, ""),
}


def address(array: npt.NDArray[Any]) -> int:
    """Return the address of a writable array, in a third of the time of `array.ctypes.data`."""
    return ctypes.addressof(_Nothing.from_buffer(array.data))


def _fields(text: str) -> list[tuple[str, Any]]:
    """Return the fields of a structure, each a letter and a name in its order in C."""
    return [(name, _TYPES[letter]) for letter, _, name in (f.partition(":") for f in text.split())]


class Count(ctypes.Structure):
    """The three numbers of `CandidateCount`."""

    _fields_ = _fields("d:factor d:exponent d:growth")


class TuningLimits(ctypes.Structure):
    """When an index is tuned, and what a search may leave out: see `Limits` in kernel.h. Fields
    that are not named are as usual."""

    _fields_ = _fields(
        "s:axis_growth s:cells_from s:photos_per_cell d:cells_gain s:at_least s:per_result s:part "
        "s:many d:missed d:missed_of_many"
    )

    def __init__(self, **changed: float) -> None:
        super().__init__()
        load_kernel().library.mcad_limits(ctypes.byref(self))
        for name, value in changed.items():
            setattr(self, name, value)


class TuneTask(ctypes.Structure):
    """A sample, and how an index of it is searched, see tune.c."""

    _fields_ = [
        *_fields(
            "p:sample s:count s:dim p:axis s:photos p:bit_weights p:centroids s:scan_bits "
            "s:prescan_bits s:cells"
        ),
        ("candidates", Count),
        ("prescan", Count),
        ("in_cells", Count),
    ]


class _ScanTask(ctypes.Structure):
    _fields_ = _fields(
        "p:columns s:stride p:spans s:span_count p:query p:allowed s:words s:wanted p:rows "
        "p:distances p:histogram"
    )


class RescoreTask(ctypes.Structure):
    """A segment for the second pass, see rescore.c; the task does not keep its arrays alive."""

    _fields_ = _fields(
        "i:file l:offset s:size s:dim s:words s:stride p:columns p:residual d:projection_step "
        "p:rows p:distances s:count d:step p:cosines"
    )


class FilterTask(ctypes.Structure):
    """Filters the photos of each cell, see filters.c; the task does not keep its arrays
    alive."""

    _fields_ = _fields(
        "p:rows p:starts p:row_bits p:place_bits p:cell_starts p:cell_ends p:counts s:photos "
        "s:first s:end"
    )


class WordQuery(ctypes.Structure):
    """A term of a query, see words.c."""

    _fields_ = [
        ("term", ctypes.c_char_p),
        *_fields("s:size s:found s:same u:modes u:sources u:shift"),
    ]


class WordRanking(ctypes.Structure):
    """How photos match a query; the structure does not keep its arrays alive, see words.c."""

    _fields_ = _fields("p:best s:planes s:photos p:worths p:allowed s:first s:end")


class OldWords(ctypes.Structure):
    """A file of words that a new one takes photos over from, see words_write.c."""

    _fields_ = _fields("p:data s:size p:new_rows")


@dataclass(frozen=True)
class Kernel:
    """`level` is the index in LEVELS of the instructions that it uses."""

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
        """Find the `wanted` photos with the least weighted distance to a query: pass 1 of a search.

        `columns` [W, N] uint64 are the bits of N photos (bit i of word w is dimension 64 w + i).
        `query` [3, W] uint64: its bits, then masks of bits that count 1 and 2 where they differ.
        `spans` of photos ascend and are not empty. `allowed` [ceil(N / 8)] uint8 has a bit for
        each photo to consider.

        Returns the photos, ascending, and their distances; ties keep the first photos.
        """
        wanted = min(wanted, sum(map(len, spans)))
        if wanted <= 0:
            return np.empty(0, np.intp), np.empty(0, np.uint16)
        words, photos = columns.shape
        query = np.ascontiguousarray(query)
        ends = np.array([(span.start, span.stop) for span in spans], np.uint64)
        rows = np.empty(wanted + 2 * _BLOCK, np.uint32)
        distances = np.empty(len(rows), np.uint16)
        histogram = np.zeros(3 * 64 * words + 1, np.uint32)
        task = _ScanTask(
            columns=columns.ctypes.data,
            stride=photos,
            spans=address(ends),
            span_count=len(ends),
            query=address(query),
            allowed=None if allowed is None else allowed.ctypes.data,
            words=words,
            wanted=wanted,
            rows=address(rows),
            distances=address(distances),
            histogram=address(histogram),
        )
        count = self.library.mcad_scan(ctypes.byref(task), self.level)
        return rows[:count].astype(np.intp), distances[:count]

    def probe_cells(self, task: FilterTask, order: Rows, enough: int) -> int | None:
        """Filter cells in `order` until they hold `enough` photos that pass; return how many cells
        that takes, all if they hold fewer, None if a place has no row."""
        order = np.ascontiguousarray(order, np.int64)
        cells: int = self.library.mcad_probe_cells(
            ctypes.byref(task), address(order), len(order), enough, self.level
        )
        return None if cells < 0 else cells

    def filter_times(self, times: Times, rows: range, first: int, last: int, bits: U8) -> None:
        """Set the bits of those `rows` whose times are from `first` to `last`."""
        self.library.mcad_filter_times(
            times.ctypes.data, rows.start, rows.stop, first, last - first, address(bits), self.level
        )

    def rescore(self, tasks: Sequence[RescoreTask], k: int, limits: TuningLimits) -> int | None:
        """Score the candidates that may be among the `k` best of all segments, see rescore.c.
        Return the index of a segment of which a record cannot be read; None if all can be."""
        together = (RescoreTask * len(tasks))(*tasks)
        failed: int = self.library.mcad_rescore(
            together, len(tasks), min(k, _MOST_RESULTS), ctypes.byref(limits), self.level
        )
        require_memory(failed >= 0)
        return failed - 1 if failed else None

    def quantize(self, bit_weights: F32, query: F32) -> tuple[Words, float]:
        """Quantize L q of a rotated query [D] for the scan; return the words [3, S/64] uint64 for
        `nearest`, and the step: each unit of distance lowers the estimate of q.x by twice the
        step."""
        bits, dim = bit_weights.shape
        words = np.empty((3, bits // 64), np.uint64)
        step: float = self.library.mcad_quantize_query(
            bit_weights.ctypes.data, bits, query.ctypes.data, dim, address(words)
        )
        return words, step

    def order_cells(self, query: F32, centroids: I16) -> Rows:
        """Return the cells [C] in the order in which a rotated query [D] scans them."""
        order = np.empty(len(centroids), np.int64)
        require_memory(
            self.library.mcad_order_cells(
                query.ctypes.data,
                len(query),
                centroids.ctypes.data,
                len(order),
                order.ctypes.data,
            )
        )
        return order

    def find_boxes(self, probabilities: F32, most: int) -> F32:
        """Find text in a detector's map [H, W], of at most 2^22 pixels: see boxes.c. Return [N, 9],
        N at most `most`: x, y of four corners in pixels of the map, clockwise from the upper left
        of an upright line, possibly outside the map, and the score."""
        probabilities = np.ascontiguousarray(probabilities, np.float32)
        height, width = probabilities.shape
        boxes = np.empty((most, 9), np.float32)
        count = self.library.mcad_boxes(
            probabilities.ctypes.data, width, height, most, boxes.ctypes.data
        )
        require_memory(count >= 0)
        return boxes[:count]


def require_memory(done: object) -> None:
    """Raise MemoryError unless a function of the library is `done`."""
    if not done:
        raise MemoryError("There is no memory for the index.")


@lru_cache(maxsize=1)
def load_kernel() -> Kernel:
    """Load the kernels, with the widest instructions that this processor has. KernelError: the
    library is missing, does not load here, or was built from another version."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = [_TYPES[letter] for letter in arguments]
    except (OSError, AttributeError) as error:
        raise KernelError(f"The search kernels could not be loaded: {error}.", _INSTALL) from error
    layout = library.mcad_layout()
    if layout != LAYOUT:
        raise KernelError(
            f"The search kernels in {LIBRARY} have layout {layout}; this version of mcad-mobile "
            f"needs layout {LAYOUT}.",
            _INSTALL,
        )
    return Kernel(library, library.mcad_level())
