"""Features of a frozen image trunk, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mcad_mobile.data.augment import augment
from mcad_mobile.preprocess import open_photo
from mcad_mobile.students.mcad import Student

Progress = Callable[[str, int, int], None]
_BATCH = 32


def cached_features(
    student: Student, photos: list[Path], views: int, cache: Path, progress: Progress
) -> NDArray[np.float16]:
    """Trunk features of `views` views of each photo -> [views, N, 1280] float16.

    View 0 is the photo as the student sees it at search time, the others are random crops and
    flips (seeded by view and photo, so that the same call gives the same views). Each view is a
    file under `cache`, named by a hash of the trunk's weights, the photos and the view.
    """
    key = _key(student, photos)
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for view in range(views):
        path = cache / f"{key}-view{view}.npy"
        if not path.exists():
            features = _view(student, photos, view, progress)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, features)
            partial.replace(path)
        found.append(np.load(path))
    return np.stack(found)


def _key(student: Student, photos: list[Path]) -> str:
    digest = hashlib.sha256(repr(student.config.preprocess).encode())
    for name, value in student.image.state_dict().items():
        if not name.startswith("head."):
            digest.update(value.numpy().tobytes())
    for photo in photos:
        stat = photo.stat()
        digest.update(f"{photo.name}:{stat.st_size}".encode())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _view(
    student: Student, photos: list[Path], view: int, progress: Progress
) -> NDArray[np.float16]:
    trunk = student.image.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    out = []
    for start in range(0, len(photos), _BATCH):
        pixels = np.stack(
            [
                student.config.preprocess.pixels(augment(open_photo(photo), view, start + i))
                for i, photo in enumerate(photos[start : start + _BATCH])
            ]
        )
        batch = torch.from_numpy(pixels).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out.append(trunk.features(batch).float().numpy().astype(np.float16))
        progress(f"features, view {view}", min(start + _BATCH, len(photos)), len(photos))
    return np.concatenate(out)
