"""Recall@K of text-to-image and image-to-text retrieval, on embeddings from any source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta
from msgspec.structs import asdict, astuple
from numpy.typing import NDArray

from mcad_mobile.base.documents import Record
from mcad_mobile.base.progress import Progress
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.towers import normalize

if TYPE_CHECKING:
    from mcad_mobile.students.student import Student


KS = (1, 5, 10)
Percent = Annotated[float, Meta(ge=0, le=100)]
# Of a slice of the texts to all photos: [m, N].
Similarity = Callable[[slice], NDArray[np.float32]]
_NUMBERS_AT_ONCE = 1 << 26  # of a similarity matrix: 256 MiB


class RecallAt(Record, frozen=True):
    """In percent."""

    r1: Percent
    r5: Percent
    r10: Percent


@dataclass(frozen=True)
class Retrieval:
    """Recall@K in both directions; the mean of `by_photo` [N] is mR, in percent."""

    photos: int
    captions: int
    text_to_image: RecallAt
    image_to_text: RecallAt
    by_photo: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), compare=False)

    @property
    def mean_recall(self) -> float:
        """mR: the mean of the six recalls, in percent."""
        return float(np.mean([*astuple(self.text_to_image), *astuple(self.image_to_text)]))

    def to_json(self) -> dict[str, Any]:
        return {
            "photos": self.photos,
            "captions": self.captions,
            "text_to_image": asdict(self.text_to_image),
            "image_to_text": asdict(self.image_to_text),
            "mean_recall": round(self.mean_recall, 2),
        }


def evaluate_retrieval(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    photo_of_text: NDArray[np.intp],
    numbers_at_once: int = _NUMBERS_AT_ONCE,
) -> Retrieval:
    """Compare images [N, D] and texts [M, D] of unit length; `photo_of_text` [M]. A photo's rank is
    that of its best caption (the convention of Karpathy and Fei-Fei, arXiv 1412.2306). At most
    `numbers_at_once` similarities are in memory."""

    def similarity(texts_at: slice) -> NDArray[np.float32]:
        return np.asarray(texts[texts_at] @ images.T)

    return _evaluate(similarity, similarity, photo_of_text, len(images), numbers_at_once)


def evaluate_similarity(
    of_texts: NDArray[np.float32], of_images: NDArray[np.float32], photo_of_text: NDArray[np.intp]
) -> Retrieval:
    """Rank by two similarity matrices [M, N]: `of_texts` ranks photos for each text, `of_images`
    texts for each photo. They differ if candidates were re-ranked in each direction."""
    return _evaluate(
        lambda texts: of_texts[texts], lambda texts: of_images[texts], photo_of_text,
        of_texts.shape[1],
    )  # fmt: skip


def _evaluate(
    of_texts: Similarity,
    of_images: Similarity,
    photo_of_text: NDArray[np.intp],
    photos: int,
    numbers_at_once: int = _NUMBERS_AT_ONCE,
) -> Retrieval:
    captions, at_once = len(photo_of_text), max(numbers_at_once // photos, 1)
    blocks = [slice(start, start + at_once) for start in range(0, captions, at_once)]
    # Zero-based ranks of each text's photo [M], and of each photo's best text [N].
    text_ranks, image_ranks = np.zeros(captions, np.intp), np.zeros(photos, np.intp)
    best_own = np.full(photos, -np.inf, np.float32)
    for block in blocks:
        owners = photo_of_text[block]
        rows, similarity = np.arange(len(owners)), of_texts(block)
        # A tie counts against us: embeddings that all collapse to one point must score 0, not 100.
        text_ranks[block] = (similarity >= similarity[rows, owners][:, None]).sum(1) - 1
        np.maximum.at(best_own, owners, of_images(block)[rows, owners])
    for block in blocks:
        owners = photo_of_text[block]
        foreign = of_images(block).copy()
        foreign[np.arange(len(owners)), owners] = -np.inf
        image_ranks += (foreign >= best_own[None, :]).sum(0)
    found = np.zeros(photos)
    for k in KS:
        found += image_ranks < k
        np.add.at(found, photo_of_text, (text_ranks < k) * (photos / captions))
    return Retrieval(
        photos=photos,
        captions=captions,
        text_to_image=_recall(text_ranks),
        image_to_text=_recall(image_ranks),
        by_photo=found * 100 / (2 * len(KS)),
    )


@dataclass(frozen=True)
class EmbeddedPairs:
    """Embeddings of `images` [N, D] and `texts` [M, D]; `owners` [M] is each text's photo."""

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    owners: NDArray[np.intp]

    def retrieval(self) -> Retrieval:
        return evaluate_retrieval(self.images, self.texts, self.owners)


def embed_by_student(
    student: Student, photos: Sequence[CaptionedPhoto], progress: Progress
) -> EmbeddedPairs:
    """Embed with a float student. PhotoError for a photo that cannot be decoded."""
    import torch

    image, text = student.tower("image"), student.tower("text")

    @torch.no_grad()
    def unit(tower: torch.nn.Module, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        output = tower(*(torch.from_numpy(value) for value in inputs)).numpy()
        return np.asarray(normalize(output)[0])

    return embed(
        photos,
        lambda path: unit(image, student.preprocess(path)[None]),
        lambda query: unit(text, *student.read([query]).inputs().values()),
        progress,
    )


def embed(
    photos: Sequence[CaptionedPhoto],
    embed_photo: Callable[[Path], NDArray[np.float32]],
    embed_text: Callable[[str], NDArray[np.float32]],
    progress: Progress,
) -> EmbeddedPairs:
    """Embed with two functions that return embeddings [D] float32 of unit length."""
    captions = [(i, text) for i, photo in enumerate(photos) for text in photo.captions]
    total = len(photos) + len(captions)
    images = []
    for i, photo in enumerate(photos):
        images.append(embed_photo(photo.path))
        progress("photos", i + 1, total)
    texts = []
    for i, (_, text) in enumerate(captions):
        texts.append(embed_text(text))
        progress("captions", len(photos) + i + 1, total)
    owners = np.array([owner for owner, _ in captions])
    return EmbeddedPairs(np.stack(images), np.stack(texts), owners)


def _recall(ranks: NDArray[np.intp]) -> RecallAt:
    return RecallAt(*(round(float((ranks < k).mean() * 100), 2) for k in KS))
