"""Measure on captioned photos how much recall exported towers lose: the candidates of a search, and
the rungs of a bundle."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.files import cache_directory, sha256_of
from mcad_mobile.base.progress import Progress
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.engine.towers import Inputs, normalize, runtime_of
from mcad_mobile.export.backends.backend import Candidate
from mcad_mobile.export.export_report import DataFacts, PairRecall, RecallRecord, Recalls
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.recall import EmbeddedPairs, Retrieval, evaluate_retrieval
from mcad_mobile.students.student import Student

Embeddings = NDArray[np.float32]  # [N, dim] of unit length

FLOAT = "float"  # the float student, beside the names of rungs
_CONFIDENCE = 1.96  # standard errors on each side, for 95 %
_AT_ONCE = {"image": 16, "text": 64}


@dataclass(frozen=True)
class Budget:
    """The largest drop of mean recall (mR), in `points`, on `photos`; `kept` caches embeddings."""

    points: float
    photos: Sequence[CaptionedPhoto]
    data: DataFacts
    kept: Path


def budget_on(
    student: Student, folder: Path, photos: Sequence[CaptionedPhoto], points: float
) -> Budget:
    """Return a budget on a split of the dataset in `folder`, with a cache of embeddings."""
    data = data_facts(folder, photos)
    name = f"{student.sha256()[:16]}-{data.sha256[:16]}"
    return Budget(points, photos, data, cache_directory() / "precision" / name)


def data_facts(folder: Path, photos: Sequence[CaptionedPhoto]) -> DataFacts:
    """Return the facts of one split of the dataset in `folder`; its hash covers all content."""
    digest = hashlib.sha256()
    for photo in photos:
        content = [photo.path.name, sha256_of(photo.path), *photo.captions]
        digest.update(json.dumps(content).encode())
    return DataFacts(
        name=folder.resolve().name,
        split=photos[0].split,
        photos=len(photos),
        captions=sum(len(photo.captions) for photo in photos),
        sha256=digest.hexdigest(),
    )


@dataclass(frozen=True)
class Drop:
    """How many points of mR exported towers lose, with the half width of its 95 % interval."""

    points: float
    margin: float
    photos: int

    @property
    def expected(self) -> float:
        """The points to expect on other photos: one standard error more than on these, since the
        smallest of many pairs that stay within a limit does so partly by luck."""
        return round(self.points + self.margin / _CONFIDENCE, 3)

    def photos_to_tell(self, points: float) -> int:
        """Return how many photos tell a drop from none: the margin shrinks with their root."""
        return math.ceil(self.photos * (self.margin / points) ** 2)


def recall_drop(expected: Retrieval, exported: Retrieval) -> Drop:
    """Return the drop between retrievals on the same photos. The test is paired: photos that both
    find equally add no uncertainty. It ignores that each photo is a distractor of all others."""
    lost = expected.by_photo - exported.by_photo
    # A single photo says nothing about the error, which is then set to 100 points, the maximum.
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else 100.0
    return Drop(float(lost.mean()), _CONFIDENCE * error, len(lost))


@dataclass(frozen=True)
class EmbeddingCache:
    """Embeddings in `folder`, which is created on demand, keyed by the model that computed them."""

    folder: Path

    def get(self, key: str, compute: Callable[[], Embeddings]) -> Embeddings:
        """Return the embeddings of `key`, computed now unless they are cached."""
        path = self.folder / f"{key}.npy"
        if path.is_file():
            return np.asarray(np.load(path))
        embeddings = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{key}.{os.getpid()}.npy"
        np.save(temporary, embeddings)
        temporary.replace(path)
        return embeddings


@dataclass(frozen=True)
class RecallMeter:
    """Measures candidates' recall on `photos`, with token rows from `table`, as on a phone."""

    student: Student
    photos: Sequence[CaptionedPhoto]
    data: DataFacts
    table: TokenTable
    cache: EmbeddingCache
    progress: Progress
    _embeddings: dict[Candidate, Embeddings] = field(default_factory=dict)

    def embed(self, candidates: Sequence[Candidate]) -> None:
        """Embed the photos or captions with each of these candidates of one tower."""
        for number, candidate in enumerate(candidates):
            name, place = candidate.tower, (number, len(candidates))
            if candidate.precision == "fp32":
                self._embeddings[candidate] = self._float[name]
                continue
            key = f"{sha256_of(candidate.path)}-{name}"
            load = partial(candidate.load, candidate.path)
            found = self._embedded(name, key, load, self.table, candidate.label, place)
            self._embeddings[candidate] = normalize(found)

    def drop(self, towers: Mapping[TowerName, Candidate]) -> Drop:
        """Return the drop of these towers, embedded before; a tower that is missing is float."""
        found = {name: self._embeddings[candidate] for name, candidate in towers.items()}
        return recall_drop(self.float_retrieval, self._retrieval({**self._float, **found}))

    def loses_least(self, candidates: Sequence[Candidate]) -> Candidate:
        """Return the candidate of one tower that loses least while the other tower is in float."""
        if len(candidates) == 1:
            return candidates[0]
        self.embed(candidates)
        return min(candidates, key=lambda candidate: self.drop({candidate.tower: candidate}).points)

    @cached_property
    def float_retrieval(self) -> Retrieval:
        """Retrieval by the float student."""
        return self._retrieval(self._float)

    def _retrieval(self, embeddings: Mapping[TowerName, Embeddings]) -> Retrieval:
        counts = [len(photo.captions) for photo in self.photos]
        owners = np.repeat(np.arange(len(self.photos)), counts)
        return evaluate_retrieval(embeddings["image"], embeddings["text"], owners)

    @cached_property
    def _texts(self) -> list[str]:
        return [text for photo in self.photos for text in photo.captions]

    @cached_property
    def _float(self) -> dict[TowerName, Embeddings]:
        def load(name: TowerName) -> Callable[[Inputs], Embeddings]:
            return partial(float_embeddings, self.student.tower(name))

        sha256 = self.student.sha256()
        return {
            name: self._embedded(name, f"{sha256}-{name}", partial(load, name), None, FLOAT, (0, 1))
            for name in TOWERS
        }

    def _embedded(
        self,
        name: TowerName,
        key: str,
        load: Callable[[], Callable[[Inputs], Embeddings]],
        table: TokenTable | None,
        label: str,
        place: tuple[int, int],
    ) -> Embeddings:
        """Return a tower's embeddings of all photos or texts; `place` is its number in a series and
        the length of the series. Without a `table`, token rows are the student's own."""
        items, (number, count) = self.photos if name == "image" else self._texts, place

        def compute() -> Embeddings:
            tower, found, at_once = load(), [], _AT_ONCE[name]
            for start in range(0, len(items), at_once):
                found.append(tower(self._inputs(items[start : start + at_once], table)))
                done = number * len(items) + sum(map(len, found))
                self.progress(f"recall of {name}, {label}", done, count * len(items))
            return np.concatenate(found)

        return self.cache.get(key, compute)

    def _inputs(self, items: Sequence[Any], table: TokenTable | None) -> Inputs:
        if isinstance(items[0], CaptionedPhoto):
            return {"pixels": np.stack([self.student.preprocess(photo.path) for photo in items])}
        read = self.student.read(list(items))
        rows = {} if table is None else {"token_rows": table(read.ids)}
        return {**read.inputs(), **rows}


@dataclass(frozen=True)
class RungRecalls:
    """Retrieval by (photos' rung, texts' rung), since a server may index in float and a phone
    search in 8 bits. `chosen` is the pair that this machine would choose."""

    by_pair: Mapping[tuple[str, str], Retrieval]
    chosen: tuple[str, str]

    @property
    def float_student(self) -> Retrieval:
        return self.by_pair[FLOAT, FLOAT]

    @property
    def exported(self) -> Retrieval:
        return self.by_pair[self.chosen]

    def record(self, data: DataFacts) -> RecallRecord:
        """Return the bundle's record of these recalls."""
        pairs = {}
        for (image, text), found in self.by_pair.items():
            lost, recall = recall_drop(self.float_student, found), round(found.mean_recall, 3)
            pair = PairRecall(image, text, recall, round(lost.points, 3), round(lost.margin, 3))
            pairs[image, text] = pair
        chosen = pairs[self.chosen]
        return RecallRecord(
            image=chosen.image,
            text=chosen.text,
            data=data,
            exact=_recalls(self.float_student),
            exported=_recalls(self.exported),
            drop=chosen.drop,
            margin=chosen.margin,
            pairs=tuple(pairs.values()),
        )


def rung_recalls(
    bundle: Bundle, photos: Sequence[CaptionedPhoto], expected: EmbeddedPairs, progress: Progress
) -> RungRecalls:
    """Measure the rungs that run here; `expected` are the float student's embeddings."""
    embedded = {
        "image": {FLOAT: expected.images, **_by_rungs(bundle, "image", photos, progress)},
        "text": {FLOAT: expected.texts, **_by_rungs(bundle, "text", photos, progress)},
    }
    engine = SearchEngine(bundle)
    found = {
        (image, text): evaluate_retrieval(images, texts, expected.owners)
        for (image, images), (text, texts) in product(
            embedded["image"].items(), embedded["text"].items()
        )
    }
    return RungRecalls(found, (engine.image_rung.rung.name, engine.text_rung.rung.name))


def _by_rungs(
    bundle: Bundle, name: TowerName, photos: Sequence[CaptionedPhoto], progress: Progress
) -> dict[str, Embeddings]:
    """Return the embeddings of the photos, or of their captions, from each rung that runs here."""
    found = {}
    for rung in bundle.tower(name).rungs:
        if not runtime_of(rung).runs_here:  # only on its chip, or in a slow simulator
            continue
        engine, rows = SearchEngine(bundle, runtime=rung.runtime, precision=rung.precision), []
        items: list[Any] = [photo.path for photo in photos]
        embed: Callable[[Any], Embeddings] = engine.embed_photo
        if name == "text":
            items, embed = [text for photo in photos for text in photo.captions], engine.embed_text
        for number, item in enumerate(items, 1):
            rows.append(embed(item))
            progress(f"recall of {name}, {rung.name}", number, len(items))
        found[rung.name] = np.stack(rows)
    return found


def shared_recall(record: RecallRecord, bundle: Bundle, measured: Bundle) -> RecallRecord | None:
    """Return a record's pairs that also hold for `bundle`; None if it lacks the chosen rungs."""
    rungs_of = {
        name: {FLOAT, *(rung.name for rung in bundle.tower(name).rungs if rung in rungs)}
        for name in TOWERS
        for rungs in [measured.tower(name).rungs]
    }
    if record.image not in rungs_of["image"] or record.text not in rungs_of["text"]:
        return None
    pairs = [
        pair
        for pair in record.pairs
        if pair.image in rungs_of["image"] and pair.text in rungs_of["text"]
    ]
    return replace(record, pairs=tuple(pairs))


def recall_warnings(record: RecallRecord, points: float) -> list[str]:
    """Return a warning for each pair that loses more than `points` of mR."""
    return [
        f"With photos embedded by {pair.image} and texts by {pair.text}, mR is {pair.drop:.2f} ± "
        f"{pair.margin:.2f} points below the float student's; the limit is {points:g}."
        for pair in record.pairs
        if pair.drop > points
    ]


def _recalls(found: Retrieval) -> Recalls:
    return Recalls(found.text_to_image, found.image_to_text, round(found.mean_recall, 3))
