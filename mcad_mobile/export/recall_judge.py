"""Recall of towers as they were written: each file is read back by its runtime and given a split
of captioned photos. What a file gave is kept, so that a search that was cut goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import TOWERS, TowerName, sha256_of
from mcad_mobile.bundle_precision import DataFacts, SimulatedRecord
from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.enough_data import Drop, drop
from mcad_mobile.evaluate import Retrieval, evaluate_retrieval
from mcad_mobile.export.candidate import Candidate, Pair
from mcad_mobile.export.validate import float_embeddings
from mcad_mobile.runtimes import normalize
from mcad_mobile.students.protocol import Student
from mcad_mobile.text.rows import TokenTable

Progress = Callable[[str, int, int], None]
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
        few = replace(
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
