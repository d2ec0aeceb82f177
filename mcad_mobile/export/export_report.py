"""export_report.json, beside bundle.json: what an export measured of recall, and how it chose
precisions. No phone reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from mcad_mobile.base.documents import (
    Bytes,
    Count,
    NotNegative,
    Record,
    Sha256,
    Size,
    Word,
    convert,
    decode,
)
from mcad_mobile.base.files import megabytes, write_atomically
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BundleError, Remedy
from mcad_mobile.recall import Percent, RecallAt

REPORT = "export_report.json"
Points = Annotated[float, Meta(ge=-100, le=100)]


class DataFacts(Record, frozen=True):
    """The split of a captioned dataset on which recall was measured; `sha256` covers its photos'
    bytes and captions."""

    name: Word
    split: Word
    photos: Size
    captions: Size
    sha256: Sha256


class Recalls(Record, frozen=True):
    """Recall in both directions, and the mean of all six."""

    text_to_image: RecallAt
    image_to_text: RecallAt
    mean_recall: Percent


class PairRecall(Record, frozen=True):
    """Mean recall (mR) of photos by `image` and texts by `text`: rungs, or the float student."""

    image: Word
    text: Word
    mean_recall: Percent
    drop: Points
    margin: NotNegative


class RecallRecord(Record, frozen=True):
    """Recall of the float student and of the bundle's rungs `image` and `text`. `drop` is mR lost,
    in points, `margin` half the width of its 95 % interval. `pairs`: all pairs of image and text
    rungs, float included."""

    image: Word
    text: Word
    data: DataFacts
    exact: Recalls = msgspec.field(name="float")
    exported: Recalls
    drop: Points
    margin: NotNegative
    pairs: tuple[PairRecall, ...] = ()


class WeightRecord(Record, frozen=True):
    """A weight that could have 4 bits; `loss` is how much that alone lowers the tower's cosine to
    float."""

    tower: Word
    name: Word
    numbers: Size
    loss: float
    bits: Annotated[int, Meta(ge=4, le=32)]


class SingleTowerRecord(Record, frozen=True):
    """An exported tower, measured with the other tower in float."""

    tower: Word
    precision: Word
    bytes: Bytes
    drop: Points
    margin: NotNegative


class StepRecord(Record, frozen=True):
    """A pair of towers that was exported, loaded and measured."""

    image: Word
    text: Word
    bytes: Bytes
    mean_recall: Percent
    drop: Points
    margin: NotNegative
    within: bool


class PrecisionRecord(Record, frozen=True):
    """How precisions were chosen on `data`, for a drop of at most `max_recall_drop` points of mR:
    the weights that could have fewer bits, each tower alone, and the measured pairs, smallest
    first. `photos_to_tell`: how many photos it takes to detect a drop of that size."""

    data: DataFacts
    judged_by: Word
    max_recall_drop: NotNegative
    float_mean_recall: Percent
    weights: tuple[WeightRecord, ...]
    alone: tuple[SingleTowerRecord, ...]
    steps: tuple[StepRecord, ...]
    photos_to_tell: Count
    why: str


class ExportReport(Record, frozen=True):
    """`recall` of captioned photos that were given, and how a search chose `precision`."""

    recall: RecallRecord | None = None
    precision: PrecisionRecord | None = None

    def save(self, bundle: Path) -> None:
        """Write the report into a bundle's folder, atomically."""
        document = msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
        write_atomically(bundle / REPORT, document)


def read_report(bundle: Bundle) -> ExportReport:
    """Return a bundle's report, which older versions kept in bundle.json; an empty one if there is
    none. BundleError if it is damaged."""
    path = bundle.directory / REPORT
    if path.is_file():
        return decode(path.read_bytes(), ExportReport, path, BundleError, Remedy.EXPORT_AGAIN)
    kept = {"recall": bundle.recall, "precision": bundle.precision}
    return convert(kept, ExportReport, bundle.directory, BundleError, Remedy.EXPORT_AGAIN)


ALONE_HEAD = ("Tower", "Precision", "MB", "Drop alone")
PAIRS_HEAD = ("Image", "Text", "MB", "mR", "Drop", "Budget")
_SMALLER_PAIRS = 5  # shown beside the chosen pair


def alone_rows(record: PrecisionRecord) -> list[tuple[str, ...]]:
    """Each tower's precisions, and their loss with the other tower in float."""
    return [
        (tower.tower, tower.precision, megabytes(tower.bytes), _drop(tower.drop, tower.margin))
        for tower in record.alone
    ]


def pair_rows(record: PrecisionRecord) -> list[tuple[str, ...]]:
    """The chosen pair, the smallest within the budget; the last few smaller pairs; and all larger
    pairs."""
    chosen = next(number for number, step in enumerate(record.steps) if step.within)
    return [
        (
            step.image,
            step.text,
            megabytes(step.bytes),
            f"{step.mean_recall:.2f}",
            _drop(step.drop, step.margin),
            "chosen" if number == chosen else "within" if step.within else "over",
        )
        for number, step in enumerate(record.steps)
        if number >= chosen - _SMALLER_PAIRS
    ]


def matrix_head(record: RecallRecord) -> tuple[str, ...]:
    return ("Photos by", *(f"texts by {text}" for text in _texts(record)))


def matrix_rows(record: RecallRecord) -> list[tuple[str, ...]]:
    """The mR of each image rung with each text rung, and its loss."""
    pairs = {(pair.image, pair.text): pair for pair in record.pairs}
    images = dict.fromkeys(pair.image for pair in record.pairs)
    return [
        (
            image,
            *(
                f"{pair.mean_recall:.2f} ({_drop(pair.drop, pair.margin)})"
                for pair in (pairs[image, text] for text in _texts(record))
            ),
        )
        for image in images
    ]


def _texts(record: RecallRecord) -> list[str]:
    return list(dict.fromkeys(pair.text for pair in record.pairs))


def _drop(points: float, margin: float) -> str:
    return f"{points:.2f} ± {margin:.2f}"
