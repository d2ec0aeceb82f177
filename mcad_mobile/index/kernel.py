"""The loops of kernel.c, where it was built: scans and scores as numpy's, only sooner."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import F32, U8

LIBRARY = Path(__file__).with_name("_kernel.so")
LEVELS = ("plain", "AVX2", "AVX-512 VPOPCNTDQ")

_LAYOUT = 2
_BLOCK = 2048

Rows = npt.NDArray[np.intp]
Words = npt.NDArray[np.uint64]
Distances = npt.NDArray[np.uint16]


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


class _Score(ctypes.Structure):
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
        ("count", ctypes.c_size_t),
        ("scores", ctypes.c_void_p),
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
        self, columns: Words, query: Words, spans: Sequence[range], allowed: U8 | None, wanted: int
    ) -> tuple[Rows, Distances]:
        """See scan.nearest, which checks the arguments."""
        words, photos = columns.shape
        ends = np.array([(span.start, span.stop) for span in spans], np.uint64)
        found = np.empty(wanted + 2 * _BLOCK, np.uint32)
        distances = np.empty(len(found), np.uint16)
        histogram = np.zeros(3 * 64 * words + 1, np.uint32)
        task = _Scan(
            columns=columns.ctypes.data,
            stride=photos,
            spans=ends.ctypes.data,
            span_count=len(ends),
            query=query.ctypes.data,
            allowed=None if allowed is None else allowed.ctypes.data,
            words=words,
            wanted=wanted,
            rows=found.ctypes.data,
            distances=distances.ctypes.data,
            histogram=histogram.ctypes.data,
        )
        count = self.library.mcad_scan(ctypes.byref(task), self.level)
        return found[:count].astype(np.intp), distances[:count]

    def scores(
        self,
        file: int,
        offset: int,
        size: int,
        columns: Words,
        steps: npt.NDArray[np.float64],
        along_step: float,
        rows: Rows,
    ) -> F32 | None:
        """Return what codes.score gives for the records of `rows`, [B] float32; None when the file
        ends before one."""
        chosen = rows.astype(np.uint32)
        scores = np.empty(len(rows), np.float32)
        task = _Score(
            file=file,
            offset=offset,
            size=size,
            dim=len(steps),
            words=len(columns),
            stride=columns.shape[1],
            columns=columns.ctypes.data,
            steps=steps.ctypes.data,
            along=along_step,
            rows=chosen.ctypes.data,
            count=len(chosen),
            scores=scores.ctypes.data,
        )
        return None if self.library.mcad_score(ctypes.byref(task), self.level) else scores


@lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """Load the kernel with the widest instructions that this processor has; None where it was not
    built, or from another version of its source."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        fits = library.mcad_layout() == _LAYOUT
    except (OSError, AttributeError):
        return None
    if not fits:
        return None
    library.mcad_scan.restype = ctypes.c_size_t
    return Kernel(library, library.mcad_level())
