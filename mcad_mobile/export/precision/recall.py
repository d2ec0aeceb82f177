"""How much recall an export may spend, and on which photos that is measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
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
from mcad_mobile.engine.towers import normalize
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.rungs import Candidate, Pair
from mcad_mobile.students.evaluation import Embedded, Retrieval, evaluate_retrieval
from mcad_mobile.students.protocol import Student

# What a difference of two recalls on the same photos can be told from none.

_CONFIDENCE = 1.96  # standard errors on each side, for 95 %


@dataclass(frozen=True)
class Drop:
    """mR, in points, that exported towers lose against float ones on `photos` photos, and the half
    width of its 95 % interval: a difference smaller than that cannot be told from none."""

    points: float
    margin: float
    photos: int

    def photos_to_tell(self, points: float) -> int:
        """How many photos would tell a difference of so many points from none, were the towers to
        differ on each as they do on these. The margin falls with the root of their number."""
        return math.ceil(self.photos * (self.margin / points) ** 2)


def drop(exact: NDArray[np.float64], exported: NDArray[np.float64]) -> Drop:
    """Of `Retrieval.by_photo` [N] of float and exported towers, on the same photos.

    Paired: most photos are found alike by both, and what is the same in both adds no doubt. Photos
    are independent of each other here; that each is a distractor of all others is left out.
    """
    lost = exact - exported
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf
    return Drop(float(lost.mean()), _CONFIDENCE * error, len(lost))


# Recall of towers as they were written: each file is read back by its runtime and given a split
# of captioned photos. What a file gave is kept, so that a search that was cut goes on.

Told = Callable[[int], None]
_PHOTOS_AT_ONCE, _TEXTS_AT_ONCE = 16, 64


def data_facts(folder: Path, photos: Sequence[CaptionedPhoto]) -> DataFacts:
    """Of one split of the dataset in `folder`."""
    digest = hashlib.sha256()
    for photo in photos:
        told = [photo.path.name, sha256_of(photo.path), *photo.captions]
        digest.update(json.dumps(told).encode())
    return DataFacts(
        name=folder.resolve().name,
        split=photos[0].split,
        photos=len(photos),
        captions=sum(len(photo.captions) for photo in photos),
        sha256=digest.hexdigest(),
    )


def by_photo(found: Retrieval) -> NDArray[np.float64]:
    assert found.by_photo is not None
    return found.by_photo


@dataclass(frozen=True)
class RecallJudge:
    """Of `student` on `photos`, whose facts are `data`; a phone reads its token rows from `table`.
    What was computed lies in `kept`, which is made when it is needed."""

    student: Student
    photos: Sequence[CaptionedPhoto]
    data: DataFacts
    table: TokenTable
    kept: Path
    progress: Progress
    _found: dict[Candidate, NDArray[np.float32]] = field(default_factory=dict)

    def embed(self, candidates: Sequence[Candidate]) -> None:
        """The split by all these candidates of one tower, as one piece of work."""
        rows = self._rows(candidates[0].tower)
        for number, one in enumerate(candidates):
            what, before = f"recall of {one.tower}, {one.told}", number * rows
            self._found[one] = self._embeddings(
                one, self._telling(what, before, len(candidates) * rows)
            )

    def drop(self, towers: Mapping[TowerName, Candidate]) -> Drop:
        """What these towers, which were embedded, lose against the float student; a tower that is
        not named is float."""
        found = {**self._exact, **{name: self._found[one] for name, one in towers.items()}}
        return drop(self.exact_by_photo, self._by_photo(found))

    def loses_least(self, candidates: Sequence[Candidate]) -> Candidate:
        """Of these candidates of one tower, each beside the other tower in float, the best; the
        first of several."""
        if len(candidates) == 1:
            return candidates[0]
        self.embed(candidates)
        return min(candidates, key=lambda one: self.drop({one.tower: one}).points)

    def simulated(self, chosen: Pair, photos: int) -> SimulatedRecord:
        """What the simulator of the chip of a pair loses on the first `photos`, and what the pair
        itself, as it is judged here, loses on them."""
        few = dataclasses.replace(
            self, photos=self.photos[:photos], kept=self.kept / f"first-{photos}", _found={}
        )
        lost = []
        for pair in (chosen, [one.simulated for one in chosen]):
            towers = {one.tower: one for one in pair if one is not None}
            for one in towers.values():
                few.embed([one])
            lost.append(few.drop(towers))
        return SimulatedRecord(
            photos=len(few.photos),
            captions=len(few._texts),
            drop=round(lost[1].points, 3),
            margin=round(lost[1].margin, 3),
            judged_drop=round(lost[0].points, 3),
        )

    @cached_property
    def exact_by_photo(self) -> NDArray[np.float64]:
        """What each photo gives to the float student's mR."""
        return self._by_photo(self._exact)

    def _by_photo(self, found: Mapping[TowerName, NDArray[np.float32]]) -> NDArray[np.float64]:
        return by_photo(evaluate_retrieval(found["image"], found["text"], self._owners))

    @cached_property
    def _owners(self) -> NDArray[np.intp]:
        return np.repeat(np.arange(len(self.photos)), [len(one.captions) for one in self.photos])

    def _rows(self, name: TowerName) -> int:
        return len(self.photos if name == "image" else self._texts)

    def _telling(self, what: str, before: int, total: int) -> Told:
        return lambda done: self.progress(what, before + done, total)

    @cached_property
    def _texts(self) -> list[str]:
        return [text for photo in self.photos for text in photo.captions]

    @cached_property
    def _exact(self) -> dict[TowerName, NDArray[np.float32]]:
        return {name: self._exact_of(name) for name in TOWERS}

    def _exact_of(self, name: TowerName) -> NDArray[np.float32]:
        tower = self.student.tower(name)
        told = self._telling(f"recall of {name}, float", 0, self._rows(name))

        def embed() -> NDArray[np.float32]:
            if name == "image":
                return self._of_photos(
                    lambda pixels: float_embeddings(tower, {"pixels": pixels}), told
                )
            return self._of_texts(lambda rows: float_embeddings(tower, rows), told, table=None)

        return self._once(f"{self.student.sha256()}-{name}", embed)

    def _embeddings(self, one: Candidate, told: Told) -> NDArray[np.float32]:
        if one.precision == "fp32":
            return self._exact[one.tower]

        def embed() -> NDArray[np.float32]:
            tower = one.load(one.path)
            if one.tower == "image":
                return normalize(self._of_photos(lambda pixels: tower({"pixels": pixels}), told))
            return normalize(self._of_texts(tower, told, table=self.table))

        return self._once(f"{sha256_of(one.path)}-{one.tower}", embed)

    def _of_photos(
        self, embed: Callable[[NDArray[np.float32]], NDArray[np.float32]], told: Told
    ) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(self.photos), _PHOTOS_AT_ONCE):
            few = self.photos[start : start + _PHOTOS_AT_ONCE]
            found.append(embed(np.stack([self.student.preprocess(one.path) for one in few])))
            told(start + len(few))
        return np.concatenate(found)

    def _of_texts(
        self,
        embed: Callable[[dict[str, NDArray[np.float32]]], NDArray[np.float32]],
        told: Told,
        *,
        table: TokenTable | None,
    ) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(self._texts), _TEXTS_AT_ONCE):
            read = self.student.read(self._texts[start : start + _TEXTS_AT_ONCE])
            inputs = read.inputs()
            if table is not None:
                inputs["token_rows"] = table(read.ids)
            found.append(embed(inputs))
            told(start + len(read.ids))
        return np.concatenate(found)

    def _once(self, key: str, embed: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """What `embed` gave for this key before, or gives now."""
        path = self.kept / f"{key}.npy"
        if path.is_file():
            found: NDArray[np.float32] = np.load(path)
            return found
        found = embed()
        self.kept.mkdir(parents=True, exist_ok=True)
        partial = self.kept / f".{key}.{os.getpid()}.npy"
        np.save(partial, found)
        partial.replace(path)
        return found


# Recall of a bundle's rungs, read back by their runtimes, each beside each: photos may be indexed
# by one and searched by another, on a server by the float student and on a phone by 8 bits.

FLOAT = "float"
_RUN_HERE = ("onnx", "litert")  # what is compiled for an NPU runs there, or in a slow simulator


@dataclass(frozen=True)
class RungRecalls:
    """What the float student and the rungs of a bundle find, by who embeds photos and who embeds
    texts; and the pair that this machine takes by itself."""

    found: Mapping[tuple[str, str], Retrieval]
    taken: tuple[str, str]

    @property
    def exact(self) -> Retrieval:
        return self.found[FLOAT, FLOAT]

    @property
    def exported(self) -> Retrieval:
        return self.found[self.taken]

    def record(self, data: DataFacts) -> RecallRecord:
        """What the bundle tells of it."""
        pairs = {pair: self._pair(*pair) for pair in self.found}
        taken = pairs[self.taken]
        return RecallRecord(
            image=taken.image,
            text=taken.text,
            data=data,
            exact=_recalls(self.exact),
            exported=_recalls(self.exported),
            drop=taken.drop,
            margin=taken.margin,
            pairs=tuple(pairs.values()),
        )

    def _pair(self, image: str, text: str) -> PairRecall:
        found = self.found[image, text]
        lost = drop(by_photo(self.exact), by_photo(found))
        return PairRecall(
            image, text, round(found.mean_recall, 3), round(lost.points, 3), round(lost.margin, 3)
        )


def rung_recalls(
    bundle: Bundle, photos: Sequence[CaptionedPhoto], exact: Embedded, progress: Progress
) -> RungRecalls:
    """Of the rungs that this machine runs itself. `exact`: by the float student, on the same
    photos."""
    captions = [text for photo in photos for text in photo.captions]
    embedded: dict[TowerName, dict[str, NDArray[np.float32]]] = {
        "image": {FLOAT: exact.images},
        "text": {FLOAT: exact.texts},
    }
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            if rung.runtime not in _RUN_HERE:
                continue
            engine = SearchEngine(bundle, runtime=rung.runtime, precision=rung.precision)
            one_by_one: list[Callable[[], NDArray[np.float32]]] = (
                [partial(engine.embed_photo, photo.path) for photo in photos]
                if name == "image"
                else [partial(engine.embed_text, text) for text in captions]
            )
            rows = []
            for number, embed in enumerate(one_by_one):
                rows.append(embed())
                progress(f"recall of {name}, {called(rung)}", number + 1, len(one_by_one))
            embedded[name][called(rung)] = np.stack(rows)
    own = SearchEngine(bundle)
    found = {
        (image, text): evaluate_retrieval(images, texts, exact.owners)
        for (image, images), (text, texts) in product(
            embedded["image"].items(), embedded["text"].items()
        )
    }
    return RungRecalls(found, (called(own.image_rung.rung), called(own.text_rung.rung)))


def shared(record: RecallRecord, bundle: Bundle, measured: Bundle) -> RecallRecord | None:
    """What `bundle`, which was written beside the one that was `measured`, can tell of it: pairs of
    rungs that are its own, and nothing where those that were taken are not."""
    own = {
        name: {FLOAT, *(called(one) for one in bundle.tower(name).rungs if one in rungs)}
        for name in TOWERS
        for rungs in [measured.tower(name).rungs]
    }
    if record.image not in own["image"] or record.text not in own["text"]:
        return None
    pairs = [one for one in record.pairs if one.image in own["image"] and one.text in own["text"]]
    return replace(record, pairs=tuple(pairs))


def called(rung: Rung) -> str:
    return f"{rung.runtime} {rung.precision}"


def too_far(record: RecallRecord, points: float) -> list[str]:
    """A sentence on each pair that loses more than so many points of mR."""
    return [
        f"Photos embedded by {one.image} and texts by {one.text} lose {one.drop:.2f} ± "
        f"{one.margin:.2f} points of mR to the float student, of {points:g}."
        for one in record.pairs
        if one.drop > points
    ]


def _recalls(found: Retrieval) -> Recalls:
    ways = {name: getattr(found, name) for name in ("text_to_image", "image_to_text")}
    return Recalls(
        **{name: RecallAt(**asdict(recall)) for name, recall in ways.items()},
        mean_recall=round(found.mean_recall, 3),
    )


@dataclass(frozen=True)
class Budget:
    """At most so many `points` of mR may be lost on `photos`, whose facts are `data`. What was
    measured lies in the folder `kept`, for a search that is begun again. Where the chip has a
    simulator, that is given the first `simulated` photos and their captions, too."""

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
    """Of `student`, on a split of the dataset in `folder`; kept in the user's cache."""
    data = data_facts(folder, photos)
    name = f"{student.sha256()[:16]}-{data.sha256[:16]}"
    return Budget(points, photos, data, cache_directory() / "precision" / name, simulated)
