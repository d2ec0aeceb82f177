"""What a model makes of photos, or of crops of them: the job of `mcad-mobile embed`, with teachers
and trunks in place of a bundle's tower."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcad_mobile.data.augment import augment
from mcad_mobile.embed.cluster import mapped
from mcad_mobile.embed.pieces import Listed, Photo, photos_of
from mcad_mobile.embed.shard import embed_shard
from mcad_mobile.errors import PhotoError
from mcad_mobile.preprocess import open_bytes

Images = Callable[[list[Image.Image]], NDArray[Any]]


def looked_at(
    photos: Sequence[Path], view: int, compute: Images, batches: Sequence[range], ray: str | None
) -> Iterator[NDArray[Any]]:
    """What `compute` gives for one view of the photos of each batch, in the order of `batches`; by
    this process, or by all of the cluster at `ray`, whose nodes find the photos at the same paths.
    PhotoError for a photo that cannot be read or decoded."""
    if ray is None:
        for batch in batches:
            yield _rows([_photo(photos[number]) for number in batch], view, batch.start, compute)
        return
    messages = [
        msgspec.json.encode(
            _Batch(tuple(str(photos[number].absolute()) for number in batch), batch.start)
        )
        for batch in batches
    ]
    for answer in mapped(ray, _Worker, (compute, view), messages, len(messages), ordered=True):
        yield np.load(io.BytesIO(answer))


class _Batch(msgspec.Struct, frozen=True):
    paths: tuple[str, ...]
    first: int


class _Worker:
    """An actor: the model and the view."""

    def __init__(self, compute: Images, view: int) -> None:
        self._compute, self._view = compute, view

    def __call__(self, message: bytes) -> bytes:
        batch = msgspec.json.decode(message, type=_Batch)
        photos = list(photos_of(Listed(batch.paths, (0,) * len(batch.paths))))
        file = io.BytesIO()
        np.save(file, _rows(photos, self._view, batch.first, self._compute))
        return file.getvalue()


@dataclass(frozen=True)
class _Look:
    """A Model: one view of photos, of which the first is number `first` of its set. With the view
    it seeds the crop."""

    view: int
    first: int
    at_once: int
    compute: Images
    threads: int = 1

    def prepare(self, photo: bytes, number: int, key: str) -> Image.Image:
        return augment(open_bytes(photo, key), self.view, self.first + number)

    def rows(self, prepared: list[Any]) -> NDArray[Any]:
        return self.compute(prepared)


def _photo(path: Path) -> Photo:
    return Photo(str(path), lambda: (path.read_bytes(), 0))


def _rows(photos: list[Photo], view: int, first: int, compute: Images) -> NDArray[Any]:
    found = embed_shard(_Look(view, first, len(photos), compute), photos)
    if found.left_out:
        raise PhotoError(found.left_out[0].why)
    assert found.rows is not None
    return found.rows
