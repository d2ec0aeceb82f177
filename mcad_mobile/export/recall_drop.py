"""Measure on captioned photos how much recall exported towers lose: the candidates of a search, and
the rungs of a bundle."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.files import sha256_of, write_atomically
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
    """Return the drop between retrievals on the same photos, as it is recorded. The test is paired:
    photos that both find equally add no uncertainty. It ignores that each photo is a distractor of
    all others."""
    lost = expected.by_photo - exported.by_photo
    # A single photo says nothing about the error, which is then set to 100 points, the maximum.
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else 100.0
    return Drop(round(float(lost.mean()), 3), round(_CONFIDENCE * error, 3), len(lost))


class RecallMeter:
    """Measures candidates' recall on `photos`, with token rows from `table`, as on a phone. The
    folder `kept` keeps embeddings, so that a search that was interrupted goes on."""

    def __init__(
        self,
        student: Student,
        photos: Sequence[CaptionedPhoto],
        table: TokenTable,
        kept: Path,
        progress: Progress,
    ) -> None:
        self.progress = progress
        self._student, self._table, self._kept = student, table, kept
        texts = [text for photo in photos for text in photo.captions]
        self._items: dict[TowerName, Sequence[Any]] = {"image": photos, "text": texts}
        self._owners = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
        self._embeddings: dict[Candidate, Embeddings] = {}

    def embed(self, candidates: Sequence[Candidate]) -> None:
        """Embed the photos or captions with each of these candidates of one tower."""
        for number, candidate in enumerate(candidates):
            if candidate in self._embeddings:
                continue
            if candidate.precision == "fp32":
                self._embeddings[candidate] = self._float[candidate.tower]
                continue
            path = self._kept / f"{candidate.tower}-{sha256_of(candidate.path)}.npy"
            if not path.is_file():
                tower, place = candidate.load(candidate.path), (number, len(candidates))
                found = self._embedded(candidate.tower, tower, candidate.label, place)
                written = io.BytesIO()
                np.save(written, normalize(found))
                self._kept.mkdir(parents=True, exist_ok=True)
                write_atomically(path, written.getvalue())
            self._embeddings[candidate] = np.load(path)

    def drop(self, towers: Mapping[TowerName, Candidate]) -> Drop:
        """Return the drop of these towers, embedded before; a tower that is missing is float."""
        found = {name: self._embeddings[candidate] for name, candidate in towers.items()}
        return recall_drop(self.float_retrieval, self._retrieval({**self._float, **found}))

    @cached_property
    def float_retrieval(self) -> Retrieval:
        """Retrieval by the float student."""
        return self._retrieval(self._float)

    def _retrieval(self, embeddings: Mapping[TowerName, Embeddings]) -> Retrieval:
        return evaluate_retrieval(embeddings["image"], embeddings["text"], self._owners)

    @cached_property
    def _float(self) -> dict[TowerName, Embeddings]:
        def tower(name: TowerName) -> Callable[[Inputs], Embeddings]:
            module = self._student.tower(name)
            return lambda inputs: float_embeddings(module, inputs)

        return {name: self._embedded(name, tower(name), FLOAT, (0, 1)) for name in TOWERS}

    def _embedded(
        self,
        name: TowerName,
        tower: Callable[[Inputs], Embeddings],
        label: str,
        place: tuple[int, int],
    ) -> Embeddings:
        """Return a tower's embeddings of all photos or texts; `place` is its number in a series and
        the length of the series. The float tower reads the student's own token rows."""
        items, (number, count), found = self._items[name], place, []
        for start in range(0, len(items), _AT_ONCE[name]):
            some = list(items[start : start + _AT_ONCE[name]])
            if name == "image":
                pixels = [self._student.preprocess(photo.path) for photo in some]
                inputs = {"pixels": np.stack(pixels)}
            else:
                read = self._student.read(some)
                inputs = read.inputs()
                if label != FLOAT:
                    inputs["token_rows"] = self._table(read.ids)
            found.append(tower(inputs))
            done = number * len(items) + start + len(some)
            self.progress(f"recall of {name}, {label}", done, count * len(items))
        return np.concatenate(found)


def rung_recalls(
    bundle: Bundle,
    data: DataFacts,
    photos: Sequence[CaptionedPhoto],
    expected: EmbeddedPairs,
    progress: Progress,
) -> RecallRecord:
    """Measure the rungs that run here, each for photos with each for texts, since a server may
    index in float and a phone search in 8 bits; `expected` are the float student's embeddings."""
    images = {FLOAT: expected.images, **_by_rungs(bundle, "image", photos, progress)}
    texts = {FLOAT: expected.texts, **_by_rungs(bundle, "text", photos, progress)}
    engine = SearchEngine(bundle)  # with the rungs that this machine would choose
    chosen = engine.image_rung.rung.name, engine.text_rung.rung.name
    exact, recalls, pairs = expected.retrieval(), {}, {}
    for image, text in product(images, texts):
        found = evaluate_retrieval(images[image], texts[text], expected.owners)
        lost, mean = recall_drop(exact, found), round(found.mean_recall, 3)
        recalls[image, text] = Recalls(found.text_to_image, found.image_to_text, mean)
        pairs[image, text] = PairRecall(image, text, mean, lost.points, lost.margin)
    return RecallRecord(
        image=chosen[0],
        text=chosen[1],
        data=data,
        exact=recalls[FLOAT, FLOAT],
        exported=recalls[chosen],
        drop=pairs[chosen].drop,
        margin=pairs[chosen].margin,
        pairs=tuple(pairs.values()),
    )


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
