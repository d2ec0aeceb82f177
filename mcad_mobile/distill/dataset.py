"""Photos and captions of a run, paired or not, and the batches of each step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mcad_mobile.base.documents import read_text
from mcad_mobile.base.files import sha256_of
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, McadError
from mcad_mobile.students.mcad import default_config


def content_of(photo: Path) -> str:
    """SHA-256 of a photo's bytes, in hex."""
    stat = photo.stat()
    return _content_of(photo, stat.st_size, stat.st_mtime_ns)


@cache
def _content_of(photo: Path, size: int, changed: int) -> str:
    return sha256_of(photo)


@dataclass(frozen=True)
class Extra:
    """Photos without captions and captions without photos."""

    photos: tuple[Path, ...] = ()
    captions: tuple[str, ...] = ()

    def limited(self, captions: int) -> Extra:
        """Keep at most `captions` captions, drawn with a fixed seed."""
        if len(self.captions) <= captions:
            return self
        chosen = np.random.default_rng(0).permutation(len(self.captions))[:captions]
        return Extra(self.photos, tuple(self.captions[i] for i in chosen))


@dataclass(frozen=True)
class Dataset:
    """`photos` and `captions` hold the paired ones first, then the extra ones. Paired caption j
    belongs to photo owner[j]."""

    photos: tuple[Path, ...]
    captions: tuple[str, ...]
    owner: Rows  # [paired captions] int
    ids: Tensor  # [M, L] int
    mask: Tensor  # [M, L] float32

    @property
    def paired_photos(self) -> int:
        return int(self.owner[-1]) + 1

    @property
    def pairs(self) -> Dataset:
        """The dataset without extra photos and captions."""
        paired = len(self.owner)
        return Dataset(
            self.photos[: self.paired_photos],
            self.captions[:paired],
            self.owner,
            self.ids[:paired],
            self.mask[:paired],
        )

    def token_counts(self) -> Tensor:
        """Count each token in the paired captions: [vocab] float32."""
        paired = len(self.owner)
        tokens = self.ids[:paired][self.mask[:paired] > 0]
        return torch.bincount(tokens.long(), minlength=default_config().text.vocab).float()

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.owner.astype("<i8").tobytes())
        for photo in self.photos:
            digest.update(content_of(photo).encode())
        for caption in self.captions:
            digest.update(caption.encode() + b"\0")
        return digest.hexdigest()[:24]


def dataset(pairs: list[CaptionedPhoto], tokenizer: Tokenizer, extra: Extra) -> Dataset:
    captions = [caption for photo in pairs for caption in photo.captions] + list(extra.captions)
    ids, mask = tokenizer.batch(captions)
    return Dataset(
        photos=(*(photo.path for photo in pairs), *extra.photos),
        captions=tuple(captions),
        owner=np.repeat(np.arange(len(pairs)), [len(photo.captions) for photo in pairs]),
        ids=torch.from_numpy(ids),
        mask=torch.from_numpy(mask),
    )


def load_pairs(folders: list[Path], split: str) -> list[CaptionedPhoto]:
    return [photo for folder in folders for photo in load_captions(folder, split)]


def load_extra(photo_folders: list[Path], caption_files: list[Path]) -> Extra:
    """Load photos without captions and captions without photos. Raises DataError, PhotoError."""
    hint = "Give a UTF-8 text file with one caption a line, and no empty lines."
    photos = [photo for folder in photo_folders for photo in find_photos(folder)]
    captions = [line for path in caption_files for line in read_lines(path, DataError, hint)]
    return Extra(tuple(photos), tuple(captions))


def read_lines(path: Path, kind: type[McadError], hint: str) -> list[str]:
    """Read the lines of a UTF-8 file. Raises `kind` if that fails or a line is empty."""
    # splitlines() would also split at form feeds and Unicode separators.
    lines = read_text(path, kind, hint).removesuffix("\n").split("\n")
    lines = [line.strip() for line in lines]
    if "" in lines:
        raise kind(f"{path} has no text in line {lines.index('') + 1}.", hint)
    return lines


@dataclass(frozen=True)
class Batch:
    """Row numbers of photos and captions; the first `paired` of both belong together. The last
    `imagined` photos are imagined ones."""

    photos: Rows  # [I]
    views: Rows  # [I]
    captions: Rows  # [T]
    paired: int
    imagined: int = 0

    @property
    def real(self) -> Batch:
        """The batch with each imagined photo replaced by its source."""
        views = self.views.copy()
        views[len(views) - self.imagined :] = 0
        return Batch(self.photos, views, self.captions, self.paired)

    def part(self, rank: int, world: int) -> Batch:
        """Return the part that process `rank` of `world` embeds."""
        return Batch(
            self.photos[rank::world], self.views[rank::world], self.captions[rank::world], 0
        )


def restore_order(rows: int, world: int) -> Rows:
    """Return indices that undo Batch.part: gathered[restore_order(...)] is the batch."""
    return np.argsort(np.concatenate([np.arange(rows)[rank::world] for rank in range(world)]))


@dataclass(frozen=True)
class Views:
    """The number of views of each photo: view 0 is the photo, the others are crops."""

    paired: int
    extra: int


@dataclass(frozen=True)
class BatchSampler:
    """Draws the batch of each step from the seed and the step alone. `companions` [N + E, K]: the
    extra captions that may accompany each photo; None: any."""

    data: Dataset
    batch: int
    views: Views
    extra_photos: int  # per step
    extra_captions: int  # per step
    seed: int
    companions: Rows | None = None
    imagined: int = 0  # per step; they are the view of paired photos after the others

    @property
    def steps_per_epoch(self) -> int:
        return self.data.paired_photos // self.batch

    def at(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.data.paired_photos)
        photos = order[place * self.batch : (place + 1) * self.batch]
        random = np.random.default_rng((self.seed, epoch, place))
        views = random.integers(0, self.views.paired, len(photos))
        first = np.searchsorted(self.data.owner, photos)
        last = np.searchsorted(self.data.owner, photos, side="right")
        captions = random.integers(first, last)
        more_photos = np.arange(self.data.paired_photos, len(self.data.photos))
        more_captions = np.arange(len(self.data.owner), len(self.data.captions))
        extra = random.choice(more_photos, self.extra_photos if len(more_photos) else 0)
        texts = random.choice(more_captions, self.extra_captions if len(more_captions) else 0)
        if self.companions is not None and len(texts):
            with_photo = np.concatenate([extra, photos])[: len(texts)].astype(np.intp)
            chosen = random.integers(0, self.companions.shape[1], len(with_photo))
            texts[: len(with_photo)] = self.companions[with_photo, chosen]
        extra_views = random.integers(0, self.views.extra, len(extra))
        imagined = random.integers(0, self.data.paired_photos, self.imagined)
        imagined_views = np.full_like(imagined, self.views.paired)
        return Batch(
            photos=np.concatenate([photos, extra, imagined]).astype(np.intp),
            views=np.concatenate([views, extra_views, imagined_views]).astype(np.intp),
            captions=np.concatenate([captions, texts]).astype(np.intp),
            paired=len(photos),
            imagined=self.imagined,
        )
