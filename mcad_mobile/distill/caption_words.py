"""Words as captions use them: which photos they describe, and where those photos lie in the
student's space."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.engine.arrays import Rows

LEAST_PHOTOS = 20  # that a word must describe, for captions to teach it
_MOST_PHOTOS = 0.4  # share of all photos: more have words like "with"
_LEAST_CAPTIONS = 0.3  # share of a photo's captions that use a word which describes it
_LONGEST_NAME = 3  # words
_RIDGE = 1.0  # of the mean variance
_LEAST_RIDGE = 1e-12  # if all photos are alike
_NUMBERS_AT_ONCE = 1 << 27  # 1 GiB
_WORD = re.compile(r"[^\W\d_]+")


def photos_described(names: Sequence[Collection[str]], data: Dataset) -> list[Rows]:
    """Return the numbers of the paired photos that the names of each entry describe. A plural
    counts."""
    entries: dict[str, set[int]] = {}
    for number, several in enumerate(names):
        for name in several:
            for form in _forms(name):
                entries.setdefault(form, set()).add(number)
    # The photo of each caption that uses a name. All pairs of names and photos would fill 20 GB for
    # 8,000 names and 671,000 photos.
    uses = [array("q") for _ in names]
    for caption, photo in _paired_captions(data):
        for number in {number for part in _parts(caption) for number in entries.get(part, ())}:
            uses[number].append(photo)
    captions = np.bincount(data.owner, minlength=data.paired_photos)
    described = []
    for used in uses:
        photos, counts = np.unique(np.array(used, np.intp), return_counts=True)
        described.append(photos[counts >= _LEAST_CAPTIONS * captions[photos]])
    return described


def common_words(captions: Iterable[str], least: int) -> list[str]:
    """Return the words of two or more letters that at least this many captions use, sorted."""
    counts = Counter(word for caption in captions for word in set(_words(caption)))
    return sorted(word for word, uses in counts.items() if uses >= least and len(word) > 1)


def words_to_teach(data: Dataset, known: Iterable[str]) -> list[str]:
    """Return the words, other than those `known`, that describe enough photos, sorted."""
    forms = {form for name in known for form in _forms(name)}
    common = common_words((caption for caption, _ in _paired_captions(data)), LEAST_PHOTOS)
    words = [word for word in common if word not in forms]
    photos = photos_described([(word,) for word in words], data)
    most = _MOST_PHOTOS * data.paired_photos
    pairs = zip(words, map(len, photos), strict=True)
    return [word for word, number in pairs if LEAST_PHOTOS <= number <= most]


def find_directions(photos: Tensor, described: Sequence[Rows]) -> Tensor:
    """Return the directions that best tell the photos described by a word from all others: unit
    vectors [T, D] float32, zeros for words that describe too few. photos: [N, D]; described: the
    numbers of the photos of each of T words.

    Linear discriminant analysis (Fisher, Annals of Eugenics 7, 1936), with one covariance of all
    photos, and a ridge because some of it is noise.
    """
    rows = photos.double()
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / len(rows)
    ridge = (_RIDGE * covariance.trace() / len(covariance)).clamp(min=_LEAST_RIDGE)
    covariance += ridge * torch.eye(len(covariance), dtype=torch.float64)
    numbers = torch.tensor([len(of_word) for of_word in described])
    means = _sums(centred, described) / numbers[:, None].clamp(min=1)
    directions = torch.linalg.solve(covariance, means.T).T
    directions = torch.nn.functional.normalize(directions, dim=1)
    return (directions * (numbers >= LEAST_PHOTOS)[:, None]).float()


def _sums(rows: Tensor, described: Sequence[Rows]) -> Tensor:
    """The sum of the photos of each word: [T, D], from `rows` [N, D]."""
    sums = rows.new_empty(len(described), rows.shape[1])
    at_once = max(_NUMBERS_AT_ONCE // len(rows), 1)
    for start in range(0, len(described), at_once):
        words = described[start : start + at_once]
        inside = rows.new_zeros(len(words), len(rows))
        for row, photos in zip(inside, words, strict=True):
            row[torch.from_numpy(photos)] = 1
        sums[start : start + at_once] = inside @ rows
    return sums


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
