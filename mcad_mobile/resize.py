"""A photo -> fewer or more pixels, as Pillow resizes: by resize.c where it runs, else by Pillow."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Interpolation = Literal["bilinear", "bicubic"]

LIBRARY = Path(__file__).with_name("_resize.so")
_LAYOUT = 1
_ROWS = 4  # resized across at a time
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_REACH = {"bilinear": 1.0, "bicubic": 2.0}  # pixels to each side, where none shrink


def resized(
    image: Image.Image, width: int, height: int, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """An RGB image -> [height, width, 3] uint8, the same numbers whichever does it.

    Across, then down: Pillow 13 chooses the order by the photo's shape, older ones do not, and the
    rounding between the two would differ from theirs, and from Java's.
    """
    if (small := _by_kernel(image, width, height, interpolation)) is not None:
        return small
    from PIL import Image

    resample = Image.Resampling[interpolation.upper()]
    return np.asarray(
        image.resize((width, image.height), resample).resize((width, height), resample)
    )


# --- resize.c -------------------------------------------------------------------------------------


class _Axis(ctypes.Structure):
    _fields_ = [
        ("starts", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("taps", ctypes.c_size_t),
    ]


class _Resize(ctypes.Structure):
    _fields_ = [
        ("pixels", ctypes.c_void_p),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("across", _Axis),
        ("down", _Axis),
        ("ring", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("small", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
    ]


class _ArrowArray(ctypes.Structure):
    """The Arrow C data interface's: https://arrow.apache.org/docs/format/CDataInterface.html."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]


class Weights(NamedTuple):
    """Which `taps` pixels make a new one: from `starts` [size] int32 on, `weights` [size, taps]
    int32 of 22 bits. `packed` is what resize.c reads."""

    starts: NDArray[np.int32]
    weights: NDArray[np.int32]
    packed: NDArray[np.int16]

    def axis(self) -> _Axis:
        size, taps = self.weights.shape
        return _Axis(self.starts.ctypes.data, self.packed.ctypes.data, size, taps)


def _by_kernel(
    image: Image.Image, width: int, height: int, interpolation: Interpolation
) -> NDArray[np.uint8] | None:
    library = kernel()
    if library is None or image.mode != "RGB":
        return None
    across = weights(image.width, width, interpolation)
    down = weights(image.height, height, interpolation)
    if across is None or down is None:
        return None
    try:
        _, capsule = image.__arrow_c_array__()
    except (AttributeError, ValueError):  # an older Pillow, or a photo in several blocks of memory
        return None
    # Pixels of four bytes are a list of lists of four, whose numbers are the one child's.
    array = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    pixels = array.children[0].contents.buffers[1]
    small = _from_memory(library, pixels, (image.width, image.height), across, down)
    del capsule  # only now may the photo's pixels go
    return small


def _from_memory(
    library: Any, pixels: int, size: tuple[int, int], across: Weights, down: Weights
) -> NDArray[np.uint8]:
    """`pixels`: the address of [height, width, 4] uint8."""
    width, height = len(across.starts), len(down.starts)
    padded = -(-width // 8) * 8
    taps = down.weights.shape[1]
    ring = np.empty((taps + _ROWS, padded, 4), np.uint8)
    rows = np.empty(taps, np.uintp)
    small = np.empty((height, padded, 4), np.uint8)
    task = _Resize(
        pixels=pixels,
        width=size[0],
        height=size[1],
        across=across.axis(),
        down=down.axis(),
        ring=ring.ctypes.data,
        rows=rows.ctypes.data,
        small=small.ctypes.data,
        bytes=4 * padded,
    )
    library.mcad_resize(ctypes.byref(task))
    return small[:, :width, :3]


@lru_cache(maxsize=64)
def weights(length: int, size: int, interpolation: Interpolation) -> Weights | None:
    """What Pillow weighs `length` pixels by to make `size` of them (Resample.c: precompute_coeffs,
    normalize_coeffs_8bpc); None for fewer than are weighed at a time."""
    scale = length / size
    shrink = max(scale, 1.0)
    reach = _REACH[interpolation] * shrink
    most = 2 * int(np.ceil(reach)) + 1
    taps = -(-most // 4) * 4
    if taps > length:
        return None
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    after = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    # Weights end where pixels do, with zeros in front, so that nothing beyond a row is read.
    starts = np.minimum(first, length - taps)
    pixels = starts[:, None] + np.arange(taps)
    distance = (pixels - centre[:, None] + 0.5) * (1.0 / shrink)
    inside = (pixels >= first[:, None]) & (pixels < after[:, None])
    raw = np.where(inside, _FILTERS[interpolation](np.abs(distance)), 0.0)
    # cumsum adds one after the other, as Pillow does; sum does not.
    shares = raw / np.cumsum(raw, axis=1)[:, -1:]
    fixed = np.trunc(shares * (1 << 22) + np.copysign(0.5, shares)).astype(np.int32)
    fours = fixed.reshape(size, -1, 4)
    packed = np.stack([fours >> 8, fours & 255], axis=2).astype(np.int16)
    return Weights(starts.astype(np.int32), fixed, np.ascontiguousarray(packed))


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(x < 1, 1 - x, 0.0)


def _bicubic(x: NDArray[np.float64], a: float = -0.5) -> NDArray[np.float64]:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Load resize.c's library; None where it was not built, or not for this processor."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        fits = library.mcad_resizes() == _LAYOUT
    except (OSError, AttributeError):
        return None
    return library if fits else None
