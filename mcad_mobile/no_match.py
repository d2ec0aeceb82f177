"""From which score on a photo matches words, measured for one student on captioned photos.

A caption is present in a gallery that holds its photo. It is absent from one that lacks its photo
where it names a thing that no caption of the gallery names; a word is taken for a thing where two
captions of one photo use it. The threshold at which as large a share of both is judged wrongly (the
equal error rate) grows with the logarithm of the photos: the best of more scores higher by chance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import NoMatch
from mcad_mobile.evaluate import Embedded

F32 = NDArray[np.float32]
Words = frozenset[str]

# Fewer absent captions than this, and a share of them says nothing.
LEAST_ABSENT = 50
LEAST_PHOTOS = 64
_PARTS = (2, 4, 8)
_GALLERIES = 8  # of each size: one alone moves a threshold by a third of a standard deviation


@dataclass(frozen=True)
class Measured:
    """Fitted on half of the photos. On the other half, `missed` of the captions whose photo is
    there are taken for absent, and `false` of the absent ones for present: shares in 0..1."""

    no_match: NoMatch
    missed: float
    false: float

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self.no_match),
            "missed": round(self.missed, 4),
            "false": round(self.false, 4),
        }


def measure_no_match(embedded: Embedded, background: F32, seed: int = 0) -> Measured | None:
    """The margin of a student by what it makes of captioned photos. `background` [M, D] float32 of
    unit length are photos at large, the bundle's sample. None where the captions do not name enough
    things to tell: too few photos, one caption a photo, or a language that puts no spaces."""
    if len(embedded.images) < LEAST_PHOTOS:
        return None
    named = [frozenset(re.findall(r"\w{3,}", text.lower())) for text in embedded.captions]
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(embedded.images))
    fitted, judged = np.array_split(order, 2)
    sizes, thresholds = [], []
    for part in _PARTS:
        size = len(fitted) // part
        found = [
            _margins(embedded, named, draw.permutation(fitted), size, background)
            for _ in range(_GALLERIES)
        ]
        present = np.concatenate([there for there, _ in found])
        absent = np.concatenate([gone for _, gone in found])
        if len(absent) < LEAST_ABSENT:
            return None
        sizes.append(size)
        thresholds.append(equal_error(present, absent))
    slope, constant = np.polyfit(np.log(sizes), thresholds, 1)
    no_match = NoMatch(round(float(constant), 4), round(float(slope), 4))
    size = len(judged) // 2
    present, absent = _margins(embedded, named, judged, size, background)
    if len(absent) < LEAST_ABSENT // 2:
        return None
    threshold = no_match.margin + no_match.per_log_n * np.log(size)
    return Measured(
        no_match, float((present < threshold).mean()), float((absent >= threshold).mean())
    )


def margins(queries: F32, photos: F32, background: F32) -> F32:
    """Best score of each query [Q, D] over `photos` [N, D], less its mean score over `background`
    [M, D] -> [Q]."""
    best: F32 = (queries @ photos.T).max(1) - (queries @ background.T).mean(1)
    return best


def equal_error(present: F32, absent: F32) -> float:
    """The threshold under which lies as large a share of `present` as of `absent` above it."""
    steps = np.unique(np.concatenate([present, absent]))
    missed = np.searchsorted(np.sort(present), steps) / len(present)
    false = 1 - np.searchsorted(np.sort(absent), steps) / len(absent)
    return float(steps[np.abs(missed - false).argmin()])


def _margins(
    embedded: Embedded,
    named: Sequence[Words],
    photos: NDArray[np.intp],
    size: int,
    background: F32,
) -> tuple[F32, F32]:
    """Margins of the captions of a gallery, the first `size` of `photos`; and of those captions of
    the other photos that are absent from it."""
    gallery, others = photos[:size], photos[size:]
    owners = embedded.photo_of_text
    known = frozenset().union(*(named[i] for i in _places(np.isin(owners, gallery))))
    absent = []
    for photo in others:
        captions = _places(owners == photo)
        used = Counter(word for i in captions for word in named[i])
        things = {word for word, count in used.items() if count > 1} - known
        absent += [i for i in captions if named[i] & things]
    images = embedded.images[gallery]
    there = embedded.texts[np.isin(owners, gallery)]
    gone = embedded.texts[np.array(absent, np.intp)]
    return margins(there, images, background), margins(gone, images, background)


def _places(where: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(where)]
