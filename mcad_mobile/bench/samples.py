"""Synthetic embeddings and photos for benchmarks: an index of any size, and photos to decode.

Random vectors would be too easy a test: they fill the sphere evenly, while real embeddings sit in a
cone and in clusters. So synthetic embeddings get the mean and the variance of a bundle's sample of
real ones, and as many directions as real collections have.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import create_index, open_index
from mcad_mobile.engine.towers import normalize

PHOTO_SIZE = (4032, 3024)  # 12 megapixels, what most phones save

_BATCH = 4096
# Each direction has exp(-1/16) of the variance of the one before, so the first 16, 32 and 64 have
# 63, 86 and 98 %. In 8,000 photos of Flickr8k (default student), they have 63, 85 and 96 %.
_DIRECTIONS = 16
_JPEG_QUALITY = 92
_GRAIN = 6.0  # of 255: sensor noise; without it an enlarged photo decodes faster than a real one


def cloud_batches(sample: F32, n: int, seed: int = 0) -> Iterator[F32]:
    """Yield `n` normal vectors around the mean of `sample` [M, D] float32, M >= 2, with its total
    variance, as L2-normalized batches [B, D] float32. The directions of most variance are those of
    the sample; the others are random."""
    random = np.random.default_rng(seed)
    mean = sample.mean(axis=0)
    residuals = (sample - mean).astype(np.float64)
    _, _, known = np.linalg.svd(residuals, full_matrices=False)
    known = known[: min(len(sample) - 1, len(known))]
    unknown = random.standard_normal((sample.shape[1] - len(known), sample.shape[1]))
    directions = np.linalg.qr(np.concatenate([known, unknown]).T)[0].T
    shares = np.exp(-np.arange(sample.shape[1]) / _DIRECTIONS)
    variances = np.square(residuals).sum() / len(sample) * shares / shares.sum()
    root = (np.sqrt(variances)[:, None] * directions).astype(np.float32)
    for start in range(0, n, _BATCH):
        rows = random.standard_normal((_BATCH, len(root)), dtype=np.float32) @ root + mean
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows[: n - start].astype(np.float32, copy=False)


def real_embeddings(bundle: Bundle) -> F32:
    """Return the bundle's sample of photo embeddings [M, D] float32, each of length 1."""
    return normalize(bundle.array(bundle.sample, bundle.dim).astype(np.float32))


def synthetic_index(bundle: Bundle, directory: Path, photos: int) -> None:
    """Write an index of `photos` synthetic embeddings that resemble the bundle's real ones."""
    real = real_embeddings(bundle)
    index = create_index(bundle, directory)
    done = 0
    with index.writer() as writer:
        for batch in cloud_batches(real, photos):
            # as long as the paths on phones, which an index stores too
            names = (f"IMG_{number:08d}.jpg" for number in range(done, done + len(batch)))
            writer.add([f"/storage/emulated/0/DCIM/Camera/{name}" for name in names], batch)
            done += len(batch)


def index_photos(
    bundle: Bundle, directory: Path, count: int, *, videos: bool = False
) -> list[Path]:
    """Return the first `count` photos, or `videos`, of an index whose files still exist.
    PhotoIndexError if the index was built by a different student than the bundle's."""
    paths = open_index(bundle, directory).paths()
    wanted = (Path(path) for path in paths if is_video(path) == videos)
    return list(islice(filter(Path.is_file, wanted), count))


def sample_photos(
    bundle: Bundle, directory: Path, count: int, size: tuple[int, int] = PHOTO_SIZE
) -> list[Path]:
    """Write `count` JPEG photos of `size` (width, height): the bundle's
    golden photos in turn, enlarged, with grain. A decoder takes as long as for a phone's photos."""
    from PIL import Image

    width, height = size
    golden = bundle.array(bundle.image.golden.inputs["pixels"])
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
    for path, copy in zip(paths, paths[len(golden) :], strict=False):
        shutil.copy(path, copy)
    return paths


def page_of_text(directory: Path) -> Path:
    """Write a phone's screenshot that is full of text."""
    from PIL import Image, ImageDraw, ImageFont

    page, path = Image.new("RGB", (1080, 2400), "white"), directory / "page.png"
    lines = (f"{number}. Order {100 + number}: thank you" for number in range(1, 31))
    font = ImageFont.load_default(44)
    ImageDraw.Draw(page).multiline_text((60, 60), "\n".join(lines), "black", font, spacing=26)
    page.save(path)
    return path
