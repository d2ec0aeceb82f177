"""The C code beside this file, called through ctypes. mcad_index.h describes the functions of the
index and its structures; engine/index/core.py wraps them."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.arrays import F32
from mcad_mobile.errors import KernelError

# The environment variable that names another library, as none loads from a zip file.
LIBRARY_VARIABLE = "MCAD_SEARCH_LIBRARY"
LIBRARY = Path(os.environ.get(LIBRARY_VARIABLE) or Path(__file__).with_name("libmcad_search.so"))
LEVELS = (
    ("plain", "NEON", "NEON dot product")
    if os.uname().machine in ("aarch64", "arm64")
    else ("plain", "AVX2", "AVX-512 VPOPCNTDQ")
)
# MCAD_LAYOUT of mcad_index.h.
LAYOUT = 9

_INSTALL = (
    "Install mcad-mobile again; in a checkout by `pip install --no-deps -e .`, which needs a C "
    "compiler."
)
# Letters for C's types.
TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "s": ctypes.c_size_t,
    "u": ctypes.c_uint32,
    "U": ctypes.c_uint64,
    "i": ctypes.c_int32,
    "l": ctypes.c_int64,
    "d": ctypes.c_double,
}
# Functions by the types of their result ("" for none) and their arguments.
_SIGNATURES = {
    "mcad_limits": ("", "p"),
    "mcad_strings_free": ("", "p"),
    "mcad_index_open": ("i", "pssipp"),
    "mcad_index_close": ("", "p"),
    "mcad_index_verify": ("i", "ppp"),
    "mcad_index_size": ("", "pp"),
    "mcad_index_find": ("i", "pppp"),
    "mcad_index_paths": ("i", "ppspp"),
    "mcad_index_list": ("i", "ppsppp"),
    "mcad_index_photos": ("i", "ppspp"),
    "mcad_filter_open": ("i", "ppppp"),
    "mcad_filter_rows": ("i", "ppp"),
    "mcad_filter_close": ("", "p"),
    "mcad_search": ("i", "ppipppppp"),
    "mcad_duplicates": ("i", "pdppp"),
    "mcad_words_search": ("i", "pppppppp"),
    "mcad_words_read": ("i", "ppspp"),
    "mcad_words_alike": ("", "ppp"),
    "mcad_writer_open": ("i", "pippp"),
    "mcad_writer_close": ("", "p"),
    "mcad_writer_add": ("i", "pppppp"),
    "mcad_writer_move": ("i", "pppppp"),
    "mcad_writer_delete": ("i", "pppp"),
    "mcad_writer_set_times": ("i", "ppppp"),
    "mcad_writer_set_words": ("i", "ppppp"),
    "mcad_writer_plan": ("i", "piipp"),
    "mcad_writer_segment": ("i", "pippp"),
    "mcad_writer_names": ("i", "pspp"),
    "mcad_writer_words": ("i", "pspip"),
    "mcad_boxes": ("l", "psssp"),
    "mcad_places_check": ("i", "ps"),
    "mcad_places_near": ("i", "psdddp"),
    "mcad_level": ("i", ""),
    "mcad_layout": ("i", ""),
}


def fields(text: str) -> list[tuple[str, Any]]:
    """Return the fields of a structure, each a letter and a name in its order in C."""
    return [(name, TYPES[letter]) for letter, _, name in (f.partition(":") for f in text.split())]


def address(array: npt.NDArray[Any]) -> int:
    """Return the address of an array."""
    return array.ctypes.data


class TuningLimits(ctypes.Structure):
    """When an index is tuned, and what a search may leave out: `McadLimits` of mcad_index.h. Fields
    that are not named are as usual."""

    _fields_ = fields(
        "s:axis_growth s:cells_from s:photos_per_cell d:cells_gain s:at_least s:per_result s:part "
        "s:many d:missed d:missed_of_many s:level"
    )

    def __init__(self, **changed: float) -> None:
        super().__init__()
        load_kernel().library.mcad_limits(ctypes.byref(self))
        for name, value in changed.items():
            setattr(self, name, value)


@dataclass(frozen=True)
class Kernel:
    """The library; `level` is the index in LEVELS of the instructions that it uses."""

    library: Any
    level: int

    @property
    def name(self) -> str:
        return f"C, {LEVELS[self.level]}"

    def find_boxes(self, probabilities: F32, most: int) -> F32:
        """Find text in a detector's map [H, W], of at most 2^22 pixels: see boxes.c. Return [N, 9],
        N at most `most`: x, y of four corners in pixels of the map, clockwise from the upper left
        of an upright line, possibly outside the map, and the score."""
        probabilities = np.ascontiguousarray(probabilities, np.float32)
        height, width = probabilities.shape
        boxes = np.empty((most, 9), np.float32)
        count = self.library.mcad_boxes(address(probabilities), width, height, most, address(boxes))
        if count < 0:
            raise MemoryError("There is no memory to find text.")
        return boxes[:count]


@lru_cache(maxsize=1)
def load_kernel() -> Kernel:
    """Load the kernels, with the widest instructions that this processor has. KernelError: the
    library is missing, does not load here, or was built from another version."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype = TYPES.get(result)
            function.argtypes = [TYPES[letter] for letter in arguments]
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
