"""What exported towers cost in recall, measured on captioned photos: of the recipes that a search
tries, and of the rungs of a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.files import cache_directory, sha256_of
from mcad_mobile.base.progress import Progress
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.bundle import (
    TOWERS,
    Bundle,
    DataFacts,
    PairRecall,
    RecallAt,
    RecallRecord,
    Recalls,
    Rung,
    SimulatedRecord,
    TowerName,
)
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.engine.towers import Inputs, normalize
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.precision.recipes import Pair, Recipe
from mcad_mobile.students.evaluation import Embedded, Retrieval, evaluate_retrieval
from mcad_mobile.students.protocol import Student

Embeddings = NDArray[np.float32]  # [N, dim] of unit length

FLOAT = "float"  # the float student, beside the names of rungs
_RUN_HERE = ("onnx", "litert")  # NPUs' rungs run on their chips, or in a slow simulator
_CONFIDENCE = 1.96  # standard errors on each side, for 95 %
_PHOTOS_AT_ONCE, _TEXTS_AT_ONCE = 16, 64


@dataclass(frozen=True)
class Budget:
    """How much recall a search may spend, and where that is measured.

    points: the largest drop of mR.
    photos: the captioned photos, described by `data`.
    kept: a folder of embeddings that were computed, so that an interrupted search goes on.
    simulated: how many of the photos, with their captions, the chip's simulator is given, too.
    """

    points: float
    photos: Sequence[CaptionedPhoto]
    data: DataFacts
    kept: Path
    simulated: int = 0


def budget_on(
    student: Student,
    folder: Path,
    photos: Sequence[CaptionedPhoto],
    points: float,
    simulated: int = 0,
) -> Budget:
    """Return a budget on a split of the dataset in `folder`, kept in the user's cache."""
    data = data_facts(folder, photos)
    name = f"{student.sha256()[:16]}-{data.sha256[:16]}"
    return Budget(points, photos, data, cache_directory() / "precision" / name, simulated)


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
    """How much mR, in points, exported towers lose against float ones on so many `photos`, and the
    half width of its 95 % interval: a smaller difference may be chance."""

    points: float
    margin: float
    photos: int

    def photos_to_tell(self, points: float) -> int:
        """Return how many photos would tell a drop of so many points from none, if the towers
        differed on each as they do on these. The margin falls with the root of their number."""
        return math.ceil(self.photos * (self.margin / points) ** 2)


def recall_drop(expected: Retrieval, exported: Retrieval) -> Drop:
    """Return the drop between retrievals by float and by exported towers on the same photos.

    The test is paired: most photos are found alike by both, which adds no uncertainty. Photos count
    as independent; that each is a distractor of all others is left out.
    """
    lost = _by_photo(expected) - _by_photo(exported)
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf
    return Drop(float(lost.mean()), _CONFIDENCE * error, len(lost))


def _by_photo(found: Retrieval) -> NDArray[np.float64]:
    assert found.by_photo is not None
    return found.by_photo


@dataclass(frozen=True)
class EmbeddingCache:
    """Embeddings in `folder`, which is made when it is needed, by a key of what computed them."""

    folder: Path

    def get(self, key: str, compute: Callable[[], Embeddings]) -> Embeddings:
        """Return the embeddings of `key`, computed now if they were not before."""
        path = self.folder / f"{key}.npy"
        if path.is_file():
            found: Embeddings = np.load(path)
            return found
        found = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{key}.{os.getpid()}.npy"
        np.save(temporary, found)
        temporary.replace(path)
        return found


@dataclass(frozen=True)
class RecallMeter:
    """Measures the recall of a student's recipes on `photos`, described by `data`. A phone reads
    its token rows from `table`; the float student reads its own."""

    student: Student
    photos: Sequence[CaptionedPhoto]
    data: DataFacts
    table: TokenTable
    cache: EmbeddingCache
    progress: Progress
    _found: dict[Recipe, Embeddings] = field(default_factory=dict)

    def embed(self, recipes: Sequence[Recipe]) -> None:
        """Embed the photos or captions by each of these recipes of one tower."""
        rows = self._rows(recipes[0].tower)
        for number, recipe in enumerate(recipes):
            step = f"recall of {recipe.tower}, {recipe.label}"
            report = self._report(step, number * rows, len(recipes) * rows)
            self._found[recipe] = self._embeddings(recipe, report)

    def drop(self, towers: Mapping[TowerName, Recipe]) -> Drop:
        """Return what these towers, which were embedded, lose; a tower that is missing is float."""
        found = {name: self._found[recipe] for name, recipe in towers.items()}
        return recall_drop(self.float_retrieval, self._retrieval({**self._float, **found}))

    def loses_least(self, recipes: Sequence[Recipe]) -> Recipe:
        """Return the best of these recipes of one tower beside the other tower in float; the first
        of several."""
        if len(recipes) == 1:
            return recipes[0]
        self.embed(recipes)
        return min(recipes, key=lambda recipe: self.drop({recipe.tower: recipe}).points)

    def simulated(self, chosen: Pair, photos: int) -> SimulatedRecord:
        """Return what a pair loses in its chip's simulator on the first `photos`, and what it loses
        there as its recall is measured here."""
        few = dataclasses.replace(
            self,
            photos=self.photos[:photos],
            cache=EmbeddingCache(self.cache.folder / f"first-{photos}"),
            _found={},
        )
        drops = []
        for pair in (chosen, [recipe.simulated for recipe in chosen]):
            towers = {recipe.tower: recipe for recipe in pair if recipe is not None}
            for recipe in towers.values():
                few.embed([recipe])
            drops.append(few.drop(towers))
        return SimulatedRecord(
            photos=len(few.photos),
            captions=len(few._texts),
            drop=round(drops[1].points, 3),
            margin=round(drops[1].margin, 3),
            judged_drop=round(drops[0].points, 3),
        )

    @cached_property
    def float_retrieval(self) -> Retrieval:
        """Retrieval by the float student."""
        return self._retrieval(self._float)

    def _retrieval(self, embeddings: Mapping[TowerName, Embeddings]) -> Retrieval:
        counts = [len(photo.captions) for photo in self.photos]
        owners = np.repeat(np.arange(len(self.photos)), counts)
        return evaluate_retrieval(embeddings["image"], embeddings["text"], owners)

    def _rows(self, name: TowerName) -> int:
        return len(self.photos if name == "image" else self._texts)

    def _report(self, step: str, before: int, total: int) -> Callable[[int], None]:
        return lambda done: self.progress(step, before + done, total)

    @cached_property
    def _texts(self) -> list[str]:
        return [text for photo in self.photos for text in photo.captions]

    @cached_property
    def _float(self) -> dict[TowerName, Embeddings]:
        return {name: self._float_embeddings(name) for name in TOWERS}

    def _float_embeddings(self, name: TowerName) -> Embeddings:
        tower = partial(float_embeddings, self.student.tower(name))
        report = self._report(f"recall of {name}, float", 0, self._rows(name))
        key = f"{self.student.sha256()}-{name}"
        return self.cache.get(key, lambda: self._run(tower, self._batches(name, None), report))

    def _embeddings(self, recipe: Recipe, report: Callable[[int], None]) -> Embeddings:
        if recipe.precision == "fp32":
            return self._float[recipe.tower]

        def compute() -> Embeddings:
            tower = recipe.load(recipe.path)
            return normalize(self._run(tower, self._batches(recipe.tower, self.table), report))

        return self.cache.get(f"{sha256_of(recipe.path)}-{recipe.tower}", compute)

    def _run(
        self,
        tower: Callable[[Inputs], Embeddings],
        batches: Iterable[Inputs],
        report: Callable[[int], None],
    ) -> Embeddings:
        found: list[Embeddings] = []
        for inputs in batches:
            found.append(tower(inputs))
            report(sum(map(len, found)))
        return np.concatenate(found)

    def _batches(self, name: TowerName, table: TokenTable | None) -> Iterator[Inputs]:
        """Give the inputs of a tower; token rows are the student's own without a `table`."""
        if name == "image":
            for start in range(0, len(self.photos), _PHOTOS_AT_ONCE):
                photos = self.photos[start : start + _PHOTOS_AT_ONCE]
                yield {
                    "pixels": np.stack([self.student.preprocess(photo.path) for photo in photos])
                }
            return
        for start in range(0, len(self._texts), _TEXTS_AT_ONCE):
            read = self.student.read(self._texts[start : start + _TEXTS_AT_ONCE])
            rows = {} if table is None else {"token_rows": table(read.ids)}
            yield {**read.inputs(), **rows}


@dataclass(frozen=True)
class RungRecalls:
    """Retrieval by the float student and the rungs of a bundle.

    found: by (photos' rung, texts' rung): photos may be indexed by the float student on a server,
        and searched by 8 bits on a phone.
    own: the pair of rungs that this machine chooses by itself.
    """

    found: Mapping[tuple[str, str], Retrieval]
    own: tuple[str, str]

    @property
    def float_student(self) -> Retrieval:
        return self.found[FLOAT, FLOAT]

    @property
    def exported(self) -> Retrieval:
        return self.found[self.own]

    def record(self, data: DataFacts) -> RecallRecord:
        """Return what the bundle records of it."""
        pairs = {pair: self._pair(*pair) for pair in self.found}
        own = pairs[self.own]
        return RecallRecord(
            image=own.image,
            text=own.text,
            data=data,
            exact=_recalls(self.float_student),
            exported=_recalls(self.exported),
            drop=own.drop,
            margin=own.margin,
            pairs=tuple(pairs.values()),
        )

    def _pair(self, image: str, text: str) -> PairRecall:
        found = self.found[image, text]
        lost = recall_drop(self.float_student, found)
        return PairRecall(
            image, text, round(found.mean_recall, 3), round(lost.points, 3), round(lost.margin, 3)
        )


def rung_recalls(
    bundle: Bundle, photos: Sequence[CaptionedPhoto], expected: Embedded, progress: Progress
) -> RungRecalls:
    """Measure the rungs that this machine runs itself; `expected` are the float student's
    embeddings of the same photos."""
    embedded = {
        "image": {FLOAT: expected.images, **_by_rungs(bundle, "image", photos, progress)},
        "text": {FLOAT: expected.texts, **_by_rungs(bundle, "text", photos, progress)},
    }
    own = SearchEngine(bundle)
    found = {
        (image, text): evaluate_retrieval(images, texts, expected.owners)
        for (image, images), (text, texts) in product(
            embedded["image"].items(), embedded["text"].items()
        )
    }
    return RungRecalls(found, (rung_name(own.image_rung.rung), rung_name(own.text_rung.rung)))


def _by_rungs(
    bundle: Bundle, name: TowerName, photos: Sequence[CaptionedPhoto], progress: Progress
) -> dict[str, Embeddings]:
    """Return the embeddings of the photos, or of their captions, by each rung that runs here."""
    found = {}
    captions = [text for photo in photos for text in photo.captions]
    for rung in bundle.tower(name).rungs:
        if rung.runtime not in _RUN_HERE:
            continue
        engine = SearchEngine(bundle, runtime=rung.runtime, precision=rung.precision)
        step, rows = f"recall of {name}, {rung_name(rung)}", []
        total = len(photos if name == "image" else captions)
        for number in range(total):
            if name == "image":
                rows.append(engine.embed_photo(photos[number].path))
            else:
                rows.append(engine.embed_text(captions[number]))
            progress(step, number + 1, total)
        found[rung_name(rung)] = np.stack(rows)
    return found


def shared_recall(record: RecallRecord, bundle: Bundle, measured: Bundle) -> RecallRecord | None:
    """Return the part of the `measured` bundle's record that holds for `bundle`, written beside it:
    the pairs of rungs that both have; None if `bundle` lacks the rungs that were chosen."""
    own = {
        name: {FLOAT, *(rung_name(rung) for rung in bundle.tower(name).rungs if rung in rungs)}
        for name in TOWERS
        for rungs in [measured.tower(name).rungs]
    }
    if record.image not in own["image"] or record.text not in own["text"]:
        return None
    pairs = [
        pair for pair in record.pairs if pair.image in own["image"] and pair.text in own["text"]
    ]
    return replace(record, pairs=tuple(pairs))


def rung_name(rung: Rung) -> str:
    return f"{rung.runtime} {rung.precision}"


def recall_warnings(record: RecallRecord, points: float) -> list[str]:
    """Return a warning for each pair that loses more than so many points of mR."""
    return [
        f"Photos embedded by {pair.image} and texts by {pair.text} lose {pair.drop:.2f} ± "
        f"{pair.margin:.2f} points of mR to the float student, of {points:g}."
        for pair in record.pairs
        if pair.drop > points
    ]


def _recalls(found: Retrieval) -> Recalls:
    return Recalls(
        text_to_image=RecallAt(**asdict(found.text_to_image)),
        image_to_text=RecallAt(**asdict(found.image_to_text)),
        mean_recall=round(found.mean_recall, 3),
    )
