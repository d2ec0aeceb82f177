"""Features of photos and captions, computed once by frozen models and cached on disk, and the
trunks whose grids several models read."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mcad_mobile.base.files import Partial, remove_partials
from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.progress import Progress
from mcad_mobile.data.augmentation import augment
from mcad_mobile.distill.accelerator import accelerator, autocast, device_of
from mcad_mobile.distill.dataset import Batch, Dataset, Views, content_of
from mcad_mobile.distill.pretrained import load_imagenet
from mcad_mobile.distill.recipe import Arithmetic
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.students.efficientnet_lite import STAGES, Trunk
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.student import model_sha256

Features = NDArray[Any]  # float16, or token ids
EncodePhotos = Callable[[list[Image.Image]], Features]
EncodeTexts = Callable[[list[str]], Features]
Item = TypeVar("Item")
_PHOTOS_AT_ONCE = 64
_CAPTIONS_AT_ONCE = 512
_LENGTH_GROUPS = 4
_ABANDONED_S = 7 * 24 * 3600.0


class FeatureCache:
    """Arrays in one folder, each named by a hash of the model and its inputs."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress

    def of_photos(
        self, photos: Sequence[Path], view: int, identity: str, part: str, compute: EncodePhotos
    ) -> Features:
        """Return rows of `compute` for one view of each photo: [N, ...] float16, memory-mapped.
        View 0 is the photo itself, the others are seeded crops and flips. Raises PhotoError."""
        key = _digest(identity, str(view), *(content_of(photo) for photo in photos))

        def batch(rows: slice) -> Features:
            return compute_view(photos[rows], view, rows.start, compute)

        return self._stored(key, len(photos), batch, f"{part}: view {view + 1}", _PHOTOS_AT_ONCE)

    def of_captions(
        self, captions: Sequence[str], identity: str, part: str, compute: EncodeTexts
    ) -> Features:
        """Return rows of `compute` for each caption: [M, ...] float16, memory-mapped."""
        key = _digest(identity, *captions)
        return self._stored(
            key, len(captions), lambda rows: compute(list(captions[rows])), part, _CAPTIONS_AT_ONCE
        )

    def of_features(
        self,
        sources: Sequence[Features],
        identity: str,
        part: str,
        compute: Callable[[list[Features]], Features],
    ) -> Features:
        """Return rows of `compute`, a model that takes other models' features from this cache."""
        names = []
        for source in sources:
            assert isinstance(source, np.memmap) and source.filename, "only a cache's own features"
            names.append(Path(source.filename).name)

        def batch(rows: slice) -> Features:
            return compute([np.asarray(source[rows]) for source in sources])

        key = _digest(identity, *names)
        return self._stored(key, len(sources[0]), batch, part, _PHOTOS_AT_ONCE)

    def remove_abandoned(self) -> None:
        """Remove what interrupted runs left and did not go on with for a week."""
        remove_partials(self.folder, _ABANDONED_S)

    def _stored(
        self, key: str, count: int, compute: Callable[[slice], Features], part: str, at_once: int
    ) -> Features:
        """Compute rows batch by batch: a gallery's features may not fit into memory, and an
        interrupted run continues after the last complete batch."""
        path = self.folder / f"{key}.npy"
        with accelerator().main_process_first():
            if not path.exists():
                with Partial(path) as partial:
                    if not path.exists():  # another run may have made it meanwhile
                        complete = _complete_rows(partial.file, count, at_once)
                        self.progress(part, complete, count)
                        for start in range(complete, count, at_once):
                            stop = min(start + at_once, count)
                            _append(partial.file, compute(slice(start, stop)), start, count)
                            self.progress(part, stop, count)
                        partial.finish()
        stored: Features = np.load(path, mmap_mode="r")
        return stored


def _append(file: BinaryIO, rows: Features, start: int, count: int) -> None:
    if start == 0:
        header = np.lib.format.header_data_from_array_1_0(rows)
        header["shape"] = (count, *rows.shape[1:])
        np.lib.format.write_array_header_1_0(file, header)
    file.write(rows.tobytes())
    file.flush()


def _complete_rows(file: BinaryIO, count: int, at_once: int) -> int:
    """Return how many of `count` rows `file` holds in complete batches; truncate the rest."""
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        first, row = file.tell(), dtype.itemsize * math.prod(shape[1:])
        batches = (file.seek(0, os.SEEK_END) - first) // (row * at_once)
    except ValueError:  # cut off within its header
        batches = 0
    rows = min(batches * at_once, count)
    file.seek(first + rows * row if rows else 0)
    file.truncate()
    return rows


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def compute_view(photos: Sequence[Path], view: int, first: int, compute: EncodePhotos) -> Features:
    """Return rows of `compute` for one view of each photo; their numbers, from `first`, seed the
    crops. Raises PhotoError."""
    opened = on_all_cores(open_photo, photos)
    return compute([augment(photo, view, first + row) for row, photo in enumerate(opened)])


def on_all_cores(work: Callable[..., Item], *inputs: Sequence[Any]) -> list[Item]:
    """Like `map`, on threads."""
    with ThreadPoolExecutor(allowed_cores()) as pool:
        return list(pool.map(work, *inputs))


@dataclass(frozen=True)
class PhotoRows:
    """Features of a dataset's photos; paired and extra photos may have different views."""

    paired: tuple[Features, ...]  # per view, [N, ...]
    extra: tuple[Features, ...]  # per view, [E, ...]

    def of(self, batch: Batch) -> torch.Tensor:
        """[I, ...] float32, in the order of the batch."""
        first = len(self.paired[0])
        rows = [
            self.paired[view][photo] if photo < first else self.extra[view][photo - first]
            for photo, view in zip(batch.photos, batch.views, strict=True)
        ]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def photo_rows(
    data: Dataset, views: Views, of_view: Callable[[Sequence[Path], int], Features]
) -> PhotoRows:
    """Call `of_view(photos, view)` for every view of the photos of `data`."""
    paired, extra = data.photos[: data.paired_photos], data.photos[data.paired_photos :]
    return PhotoRows(
        tuple(of_view(paired, view) for view in range(views.paired)),
        tuple(of_view(extra, view) for view in range(views.extra)) if extra else (),
    )


@dataclass(frozen=True)
class CaptionRows:
    """Features of a dataset's captions."""

    paired: Features  # [M, ...]
    extra: Features  # [X, ...]; if there are none, the paired ones' first 0

    def __len__(self) -> int:
        return len(self.paired) + len(self.extra)

    def of(self, captions: Rows) -> Features:
        """[len(captions), ...], by row numbers of the dataset."""
        first = len(self.paired)
        rows = np.empty((len(captions), *self.paired.shape[1:]), self.paired.dtype)
        paired = captions < first
        rows[paired] = self.paired[captions[paired]]
        rows[~paired] = self.extra[captions[~paired] - first]
        return rows


def caption_rows(data: Dataset, of_captions: Callable[[Sequence[str]], Features]) -> CaptionRows:
    """Encode extra captions apart, so that paired ones stay cached when the extra ones change."""
    first = len(data.owner)
    paired, extra = of_captions(data.captions[:first]), data.captions[first:]
    return CaptionRows(paired, of_captions(extra) if extra else paired[:0])


def half(encode: Callable[[Item], Tensor]) -> Callable[[Item], Features]:
    """Wrap `encode` to return float16 rows, as a cache keeps them."""
    return lambda batch: encode(batch).half().numpy()


def by_length(encode: Callable[[Tensor, Tensor], Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    """Compute `encode(ids, mask)` [M, ...] in groups of similar length, each cut to its longest
    caption, and restore the order. ids, mask: [M, L]. Takes half the time of one padded batch."""
    lengths = mask.sum(1).long()
    order = lengths.argsort(stable=True)
    rows = []
    for group in order.chunk(_LENGTH_GROUPS):
        longest = int(lengths[group].max())
        rows.append(encode(ids[group, :longest], mask[group, :longest]))
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return torch.cat(rows)[inverse]


class GridTrunk:
    """A frozen EfficientNet-Lite up to its last 7 x 7 grid: `module`, with its current weights,
    minus its last `dropped_blocks`. The last `resumed_blocks` of the rest run on the cached grids
    of a shallower trunk with the same weights."""

    def __init__(
        self,
        name: str,
        module: Trunk,
        preprocess: Preprocess,
        arithmetic: Arithmetic,
        dropped_blocks: int = 0,
        resumed_blocks: int = 0,
    ) -> None:
        self.name = name
        self.module = module.eval()
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = preprocess
        self.arithmetic = arithmetic
        self.dropped_blocks = dropped_blocks
        self.resumed_blocks = resumed_blocks

    @staticmethod
    def pretrained(size: int, arithmetic: Arithmetic, resumed_blocks: int = 0) -> GridTrunk:
        """EfficientNet-Lite0 or -Lite2 with its ImageNet weights, on the training device."""
        module = Trunk(STAGES[size])
        load_imagenet(module, size)
        module.to(accelerator().device)
        preprocess, name = default_config().preprocess, f"EfficientNet-Lite{size}"
        return GridTrunk(name, module, preprocess, arithmetic, resumed_blocks=resumed_blocks)

    @property
    def channels(self) -> int:
        """Channels of the whole trunk's grid, the input of its last convolution."""
        return self.module.head_conv.in_channels

    @cached_property
    def identity(self) -> str:
        blocks = self.module.blocks[: len(self.module.blocks) - self.dropped_blocks]
        frozen = nn.ModuleDict({"stem": self.module.stem, "blocks": blocks})
        return model_sha256(frozen, {"preprocess": repr(self.preprocess)})[:16]

    @property
    def shallower(self) -> GridTrunk:
        """The trunk whose grids this one resumes from."""
        dropped = self.dropped_blocks + self.resumed_blocks
        return GridTrunk(self.name, self.module, self.preprocess, self.arithmetic, dropped)

    @torch.no_grad()
    def grids(self, photos: Sequence[Image.Image]) -> Features:
        """RGB photos -> [B, 7, 7, C] float16."""
        pixels = np.stack([self.preprocess.pixels(photo) for photo in photos])
        device = device_of(self.module)
        batch = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
        with autocast(self.arithmetic, device):
            return _half(self.module.grid(batch, self.dropped_blocks))

    @torch.no_grad()
    def resume(self, grids: Features) -> Features:
        """The shallower trunk's grids, [B, 7, 7, C'] float16 -> [B, 7, 7, C] float16."""
        device = device_of(self.module)
        batch = torch.from_numpy(grids.astype(np.float32)).to(device).permute(0, 3, 1, 2)
        end = len(self.module.blocks) - self.dropped_blocks
        with autocast(self.arithmetic, device):
            return _half(self.module.blocks[end - self.resumed_blocks : end](batch))

    def cached(self, cache: FeatureCache, photos: Sequence[Path], view: int) -> Features:
        """Grids of one view of each photo -> [N, 7, 7, C] float16, memory-mapped."""
        if not self.resumed_blocks:
            return cache.of_photos(photos, view, self.identity, f"grids of {self.name}", self.grids)
        sources = [self.shallower.cached(cache, photos, view)]
        part = f"last block of {self.name}"
        return cache.of_features(sources, self.identity, part, lambda rows: self.resume(rows[0]))

    def rows(self, data: Dataset, views: Views, cache: FeatureCache) -> PhotoRows:
        return photo_rows(data, views, lambda photos, view: self.cached(cache, photos, view))


def encode_photos(
    encode: Callable[[list[Any]], Tensor],
    trunks: Sequence[GridTrunk],
    identity: str,
    part: str,
    data: Dataset,
    views: Views,
    cache: FeatureCache,
) -> PhotoRows:
    """Encode each photo of `data` by a frozen model to float16 rows: from the photos or, if there
    are `trunks`, from each trunk's cached grids [B, 7, 7, C_n]. `part`: of the run."""

    def of_view(photos: Sequence[Path], view: int) -> Features:
        if not trunks:
            return cache.of_photos(photos, view, identity, part, half(encode))
        grids = [trunk.cached(cache, photos, view) for trunk in trunks]
        return cache.of_features(grids, identity, part, half(encode))

    return photo_rows(data, views, of_view)


def _half(grid: Tensor) -> Features:
    rows: Features = grid.permute(0, 2, 3, 1).half().cpu().numpy()
    return rows
