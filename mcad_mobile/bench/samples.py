"""Synthetic embeddings and photos for benchmarks: an index of any size, and photos to decode.

Random vectors would be a flattering test: they fill the sphere evenly, while real embeddings sit in
a cone and in clusters. `blend_batches` blends two real embeddings and adds the noise that blending
takes away, so that mean and covariance stay those of the real ones, up to the scaling to length 1
(benchmarks/index.py prints both).

A bundle has a sample of a few photos only, and blends of a few lie in a few directions, unlike any
real collection. `cloud_batches` takes the mean and the variance of that sample and spreads photos
over as many directions as real ones have.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import create_index, open_index

PHOTO_SIZE = (4032, 3024)  # 12 megapixels, what most phones save

_BATCH = 4096
# Each further direction holds exp(-1/16) of the variance of the one before: of 8,000 photos of
# Flickr8k by the default student, the first 16, 32 and 64 hold 63, 85 and 96 %, so 63, 86 and 98 %.
_DIRECTIONS = 16
_JPEG_QUALITY = 92
_GRAIN = 6.0  # of 255: sensor noise; without it an enlarged photo decodes faster than a real one


def blend_batches(real: F32, n: int, seed: int = 0) -> Iterator[F32]:
    """Yield `n` blends of the rows of `real` in batches of at most 4096 rows.

    `real` is [M, D] float32, L2-normalized, M >= 1; each batch is [B, D] float32, L2-normalized.
    A row is w * a + (1 - w) * b + sqrt(1 - w^2 - (1 - w)^2) * e, scaled to length 1: a and b rows
    of `real` and w from 0 to 1 at random, e normal with the covariance of `real`. The same `seed`
    gives the same rows, whatever `n` is. ValueError when `real` is not [M >= 1, D] or `n` is
    negative.
    """
    if real.ndim != 2 or len(real) == 0:
        raise ValueError(f"real must be [M >= 1, D], not {list(real.shape)}")
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    random = np.random.default_rng(seed)
    root = _covariance_root(real)
    for start in range(0, n, _BATCH):
        a, b = real[random.integers(0, len(real), size=(2, _BATCH))]
        w = random.random((_BATCH, 1), dtype=np.float32)
        noise = random.standard_normal((_BATCH, real.shape[1]), dtype=np.float32) @ root
        mixed = w * a + (1 - w) * b + np.sqrt(1 - w**2 - (1 - w) ** 2) * noise
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        yield mixed[: n - start].astype(np.float32, copy=False)


def cloud_batches(sample: F32, n: int, seed: int = 0) -> Iterator[F32]:
    """Yield `n` normal vectors around the mean of `sample` [M, D] float32, M >= 2, with its total
    variance, in batches of at most 4096 rows [B, D] float32, L2-normalized.

    The directions of the most variance are those of the sample; the others are random.
    """
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


def blend(real: F32, n: int, seed: int = 0) -> F32:
    """Return `n` blends as one array [n, D] float32: `blend_batches`, joined."""
    rows = np.empty((n, real.shape[-1]), np.float32)
    start = 0
    for batch in blend_batches(real, n, seed):
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return rows


def _covariance_root(real: F32) -> F32:
    """Return R [D, D] float32 with R^T R the covariance of the rows."""
    centred = (real - real.mean(axis=0)).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(real))
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T, np.float32)


def real_embeddings(bundle: Bundle) -> F32:
    """Return the bundle's sample of photo embeddings [M, D] float32, each of length 1."""
    real: F32 = np.load(bundle.path(bundle.sample)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    return real


def synthetic_index(bundle: Bundle, directory: Path, photos: int) -> None:
    """Write an index of `photos` synthetic embeddings that resemble the bundle's real ones."""
    real = real_embeddings(bundle)
    index = create_index(bundle, directory)
    done = 0
    with index.writer() as writer:
        for batch in cloud_batches(real, photos):
            writer.add([_camera_path(done + i) for i in range(len(batch))], batch)
            done += len(batch)


def index_photos(bundle: Bundle, directory: Path, count: int) -> list[Path]:
    """Return the first `count` photos of an index whose files still exist. PhotoIndexError when
    another student than the bundle's built it."""
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
    """Write `count` JPEG photos of `size` (width, height; 12 megapixels by default): the bundle's
    golden photos in turn, enlarged, with grain. They load a decoder as a phone's photos do."""
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
    for path, copy in zip(paths, paths[len(golden) :], strict=False):
        shutil.copy(path, copy)
    return paths


def _camera_path(number: int) -> str:
    """Return a path as long as paths on phones are, which an index holds too."""
    return f"/storage/emulated/0/DCIM/Camera/IMG_{number:08d}.jpg"
