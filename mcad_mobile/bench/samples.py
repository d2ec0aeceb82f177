"""What a bench is fed: a large index where there is none, and photos to decode."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import Bundle
from mcad_mobile.engine import create_index, open_index
from mcad_mobile.index.synthetic import cloud_batches

PHOTO_SIZE = (4032, 3024)  # 12 megapixels, what most phones save
_JPEG_QUALITY = 92
_GRAIN = 6.0  # of 255: sensor noise; without it an enlarged photo decodes faster than a real one


def real_embeddings(bundle: Bundle) -> NDArray[np.float32]:
    """The bundle's sample of photo embeddings [M, dim] float32, each of unit length."""
    real: NDArray[np.float32] = np.load(bundle.path(bundle.sample)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    return real


def synthetic_index(bundle: Bundle, directory: Path, photos: int) -> None:
    """Write an index of `photos` vectors as the bundle's real photo embeddings are."""
    real = real_embeddings(bundle)
    index = create_index(bundle, directory)
    done = 0
    with index.writer() as writer:
        for batch in cloud_batches(real, photos):
            writer.add([_camera_path(done + i) for i in range(len(batch))], batch)
            done += len(batch)


def index_photos(bundle: Bundle, directory: Path, count: int) -> list[Path]:
    """The first `count` photos of an index that are still where it saw them. PhotoIndexError if
    it was built by another student than the bundle's."""
    found = []
    for path in map(Path, open_index(bundle, directory).paths()):
        if path.is_file():
            found.append(path)
        if len(found) == count:
            break
    return found


def sample_photos(
    bundle: Bundle, directory: Path, count: int, size: tuple[int, int] | None = None
) -> list[Path]:
    """Write `count` JPEG photos of `size` (width, height; 12 megapixels unless told): the
    bundle's golden photos, enlarged, with grain, in turn. They weigh on a decoder as a phone's
    photos do."""
    from PIL import Image

    width, height = size or PHOTO_SIZE
    golden = np.load(bundle.path(bundle.image.golden.inputs["pixels"]))
    mean, std = (
        np.asarray(values, np.float32)[:, None, None]
        for values in (bundle.preprocess.mean, bundle.preprocess.std)
    )
    grain = np.random.default_rng(0).normal(0, _GRAIN, (height, width, 1)).astype(np.float32)
    paths = [directory / f"photo-{number:03d}.jpg" for number in range(count)]
    for path, values in zip(paths, golden, strict=False):
        pixels = (values.astype(np.float32) * std + mean) * 255
        small = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        photo = Image.fromarray((large + grain).clip(0, 255).astype(np.uint8))
        photo.save(path, quality=_JPEG_QUALITY)
    for path, again in zip(paths, paths[len(golden) :], strict=False):
        shutil.copy(path, again)
    return paths


def _camera_path(number: int) -> str:
    """As long as paths on phones are: they are part of what an index holds."""
    return f"/storage/emulated/0/DCIM/Camera/IMG_{number:08d}.jpg"
