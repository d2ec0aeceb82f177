"""Words as captions use them: which photos they describe, and where those photos lie in the
student's space."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mcad_mobile.distill.dataset import Dataset

LEAST_PHOTOS = 20  # that a word must describe, for captions to teach it
_MOST_PHOTOS = 0.4  # share of all photos: more have words like "with"
_LEAST_CAPTIONS = 0.3  # share of a photo's captions that use a word which describes it
_LONGEST_NAME = 3  # words
_RIDGE = 1.0  # of the mean variance
_LEAST_RIDGE = 1e-12  # if all photos are alike
_WORD = re.compile(r"[^\W\d_]+")


def photos_described(names: Sequence[Collection[str]], data: Dataset) -> Tensor:
    """Return which paired photos the names of each entry describe: [T, N] bool. A plural counts."""
    entries: dict[str, set[int]] = {}
    for number, several in enumerate(names):
        for name in several:
            for form in _forms(name):
                entries.setdefault(form, set()).add(number)
    uses = np.zeros((len(names), data.paired_photos), np.int32)
    for caption, photo in _paired_captions(data):
        found = {number for part in _parts(caption) for number in entries.get(part, ())}
        uses[[*found], photo] += 1
    captions = np.bincount(data.owner, minlength=data.paired_photos)
    return torch.from_numpy((uses > 0) & (uses >= _LEAST_CAPTIONS * captions))


def common_words(captions: Iterable[str], least: int) -> list[str]:
    """Return the words of two or more letters that at least this many captions use, sorted."""
    counts = Counter(word for caption in captions for word in set(_words(caption)))
    return sorted(word for word, uses in counts.items() if uses >= least and len(word) > 1)


def words_to_teach(data: Dataset, known: Iterable[str]) -> list[str]:
    """Return the words, other than those `known`, that describe enough photos, sorted."""
    forms = {form for name in known for form in _forms(name)}
    common = common_words((caption for caption, _ in _paired_captions(data)), LEAST_PHOTOS)
    words = [word for word in common if word not in forms]
    photos = photos_described([(word,) for word in words], data).sum(1)
    most = _MOST_PHOTOS * data.paired_photos
    pairs = zip(words, photos.tolist(), strict=True)
    return [word for word, number in pairs if LEAST_PHOTOS <= number <= most]


def find_directions(photos: Tensor, described: Tensor) -> Tensor:
    """Return the directions that best tell the photos described by a word from all others: unit
    vectors [T, D] float32, zeros for words that describe too few. photos: [N, D]; described: [T, N]
    bool.

    Linear discriminant analysis (Fisher, Annals of Eugenics 7, 1936), with one covariance of all
    photos, and a ridge because some of it is noise.
    """
    rows, inside = photos.double(), described.double()
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / len(rows)
    ridge = (_RIDGE * covariance.trace() / len(covariance)).clamp(min=_LEAST_RIDGE)
    covariance += ridge * torch.eye(len(covariance), dtype=torch.float64)
    means = inside @ centred / inside.sum(1, keepdim=True).clamp(min=1)
    directions = torch.linalg.solve(covariance, means.T).T
    directions = torch.nn.functional.normalize(directions, dim=1)
    enough = described.sum(1) >= LEAST_PHOTOS
    return (directions * enough[:, None]).float()


def _paired_captions(data: Dataset) -> Iterator[tuple[str, int]]:
    return zip(data.captions[: len(data.owner)], data.owner.tolist(), strict=True)


def _forms(name: str) -> tuple[str, str, str]:
    """A name as captions write it: in singular or plural."""
    words = " ".join(_words(name))
    return words, f"{words}s", f"{words}es"


def _parts(caption: str) -> Iterator[str]:
    """All runs of up to _LONGEST_NAME words."""
    words = _words(caption)
    for length in range(1, _LONGEST_NAME + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
