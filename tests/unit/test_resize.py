"""Resizing in C: Pillow's numbers, all of them, and Pillow where C cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mcad_mobile import resize
from mcad_mobile.processor import cpuinfo, instruction_sets
from mcad_mobile.resize import Interpolation, resized, weights

BOTH: tuple[Interpolation, Interpolation] = ("bilinear", "bicubic")
HERE = pytest.mark.skipif(resize.kernel() is None, reason="the C needs AVX2, and a compiler")


def noise(width: int, height: int, seed: int = 0, *, extreme: bool = False) -> Image.Image:
    """Values of all kinds, or black and white alone, which bicubic weights overshoot."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(np.where(values < 128, 0, 255).astype(np.uint8) if extreme else values)


def by_pillow(image: Image.Image, width: int, height: int, interpolation: str) -> np.ndarray:
    filter_ = Image.Resampling[interpolation.upper()]
    return np.asarray(image.resize((width, image.height), filter_).resize((width, height), filter_))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="nothing compiles C")
def test_processors_with_avx2_have_it():
    assert (resize.kernel() is not None) == ("AVX2" in instruction_sets(cpuinfo()))


@HERE
@pytest.mark.parametrize("interpolation", BOTH)
@pytest.mark.parametrize("extreme", [False, True], ids=["noise", "black and white"])
@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((640, 480), (224, 224)),
        ((480, 640), (224, 224)),
        ((1008, 756), (256, 341)),
        ((500, 333), (384, 255)),  # widths that are no whole number of vectors
        ((97, 801), (31, 5)),
        ((40, 30), (224, 224)),  # made larger
        ((224, 224), (224, 224)),
        ((224, 300), (224, 224)),
    ],
)
def test_it_gives_pillows_numbers(monkeypatch, size, wanted, interpolation, extreme):
    image = noise(*size, extreme=extreme)
    expected = by_pillow(image, *wanted, interpolation)
    monkeypatch.setattr(Image.Image, "resize", None)  # whoever asks Pillow fails
    assert np.array_equal(resized(image, *wanted, interpolation), expected)


@pytest.mark.parametrize("interpolation", BOTH)
def test_any_size_gives_pillows_numbers(interpolation):
    """Whoever resizes: so few pixels as some of these have are Pillow's."""
    generator = np.random.default_rng(5)
    for seed in range(60):
        width, height, to_width, to_height = (int(side) for side in generator.integers(1, 300, 4))
        image = noise(width, height, seed, extreme=seed % 2 == 0)
        expected = by_pillow(image, to_width, to_height, interpolation)
        found = resized(image, to_width, to_height, interpolation)
        assert np.array_equal(found, expected), (width, height, to_width, to_height)


# A photo whose last pixel is the last byte of memory that may be read.
AT_THE_END = """
import ctypes, mmap
import numpy as np
from mcad_mobile import resize

PROT_NONE, width, height = 0, 64, 101
size = 4 * width * height
whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
memory = mmap.mmap(-1, whole + mmap.PAGESIZE)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
protect = ctypes.CDLL(None, use_errno=True).mprotect
assert protect(ctypes.c_void_p(address + whole), mmap.PAGESIZE, PROT_NONE) == 0
photo = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
memory[whole - size : whole] = photo.tobytes()
axes = resize.weights(width, 24, "bilinear"), resize.weights(height, 31, "bilinear")
small = resize._from_memory(resize.kernel(), address + whole - size, (width, height), *axes)
from PIL import Image
image = Image.fromarray(np.ascontiguousarray(photo[:, :, :3]))
image = image.resize((24, height), Image.Resampling.BILINEAR)
assert np.array_equal(small, np.asarray(image.resize((24, 31), Image.Resampling.BILINEAR)))
"""


@HERE
def test_no_row_beyond_a_photo_is_read():
    ran = subprocess.run(
        [sys.executable, "-c", AT_THE_END], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr or f"killed by signal {-ran.returncode}"


@HERE
@pytest.mark.parametrize("interpolation", BOTH)
@pytest.mark.parametrize("length", [8, 50, 223, 640, 4000])
@pytest.mark.parametrize("size", [1, 3, 224, 1000])
def test_no_pixel_beyond_a_row_is_read(length, size, interpolation):
    found = weights(length, size, interpolation)
    if found is None:
        assert length < 4 * (2 * max(length / size, 1) + 1)
        return
    starts, fixed, packed = found
    taps = fixed.shape[1]
    assert taps % 4 == 0 and starts.min() >= 0 and starts.max() + taps <= length
    assert np.abs(fixed.sum(axis=1) - (1 << 22)).max() < taps
    upper, lower = packed[:, :, 0], packed[:, :, 1]
    assert np.array_equal(upper.astype(np.int32) * 256 + lower, fixed.reshape(size, -1, 4))


@pytest.mark.parametrize("mode", ["L", "RGBX", "CMYK"])
def test_other_kinds_of_pixels_are_pillows(mode):
    image = noise(90, 70).convert("RGB").convert(mode)
    expected = by_pillow(image, 20, 30, "bilinear")
    assert np.array_equal(resized(image, 20, 30, "bilinear"), expected)


def test_a_photo_in_several_blocks_of_memory_is_pillows():
    """As Pillow holds what has more than 16 MB."""
    image = Image.new("RGB", (2500, 2500))
    image.paste(noise(2500, 2500), (0, 0))
    with pytest.raises(ValueError, match=r"block|contiguous"):
        image.__arrow_c_array__()
    expected = by_pillow(image, 224, 224, "bilinear")
    assert np.array_equal(resized(image, 224, 224, "bilinear"), expected)


@HERE
def test_a_photos_pixels_stay_as_they_were():
    image = noise(300, 200)
    before = image.tobytes()
    resized(image, 64, 64, "bilinear")
    assert image.tobytes() == before
    image.putpixel((0, 0), (1, 2, 3))  # nobody holds them any more
    assert image.getpixel((0, 0)) == (1, 2, 3)
