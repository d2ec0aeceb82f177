"""Recall of a bundle's rungs, read back by their runtimes, each beside each: photos may be indexed
by one and searched by another, on a server by the float student and on a phone by 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.bundle import TOWERS, Bundle, Rung, TowerName
from mcad_mobile.bundle_precision import DataFacts, PairRecall, RecallAt, RecallRecord, Recalls
from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.engine import SearchEngine
from mcad_mobile.enough_data import drop
from mcad_mobile.evaluate import Embedded, Retrieval, evaluate_retrieval
from mcad_mobile.export.recall_judge import by_photo

Progress = Callable[[str, int, int], None]
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
