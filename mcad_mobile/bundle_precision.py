"""What bundle.json tells of recall, and of how precisions were chosen by it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mcad_mobile.typed import Bytes, Count, NotNegative, Record, Sha256, Size, Word

Percent = Annotated[float, Meta(ge=0, le=100)]
Points = Annotated[float, Meta(ge=-100, le=100)]


class DataFacts(Record, frozen=True):
    """The split of a captioned dataset on which recall was measured; `sha256` stands for its
    photos' bytes and its captions."""

    name: Word
    split: Word
    photos: Size
    captions: Size
    sha256: Sha256


class RecallAt(Record, frozen=True):
    """In percent."""

    r1: Percent
    r5: Percent
    r10: Percent


class Recalls(Record, frozen=True):
    """Recall in both directions, and the mean of the six."""

    text_to_image: RecallAt
    image_to_text: RecallAt
    mean_recall: Percent


class PairRecall(Record, frozen=True):
    """mR of photos embedded by `image` and texts by `text`: rungs, or the float student. `drop` as
    in RecallRecord."""

    image: Word
    text: Word
    mean_recall: Percent
    drop: Points
    margin: NotNegative


class RecallRecord(Record, frozen=True):
    """The float student's recall, and that of the bundle's own files, read back by their runtimes:
    of the rungs `image` and `text`. `drop` of mR in points, and the half width of its 95 %
    interval. `pairs`: every rung that ran where it was exported, beside every other."""

    image: Word
    text: Word
    data: DataFacts
    exact: Recalls = msgspec.field(name="float")
    exported: Recalls
    drop: Points
    margin: NotNegative
    pairs: tuple[PairRecall, ...] = ()


class WeightRecord(Record, frozen=True):
    """A weight that could have 4 bits: `loss` is what that alone takes off the tower's cosine to
    float, on average over samples; `bits` what it has."""

    tower: Word
    name: Word
    numbers: Size
    loss: float
    bits: Annotated[int, Meta(ge=4, le=32)]


class AloneRecord(Record, frozen=True):
    """A tower that was written and measured beside the other one in float. `precision` in words;
    `drop` as in RecallRecord."""

    tower: Word
    precision: Word
    bytes: Bytes
    drop: Points
    margin: NotNegative


class StepRecord(Record, frozen=True):
    """A pair of towers that was written, read back and measured. `image` and `text` tell their
    precisions in words; `drop` as in RecallRecord."""

    image: Word
    text: Word
    bytes: Bytes
    mean_recall: Percent
    drop: Points
    margin: NotNegative
    within: bool


class SimulatedRecord(Record, frozen=True):
    """The chosen pair in its chip's simulator, on the first photos of the split: `drop` as in
    RecallRecord, and that of the same photos by what the search was judged by."""

    photos: Size
    captions: Size
    drop: Points
    margin: NotNegative
    judged_drop: Points


class PrecisionRecord(Record, frozen=True):
    """How precisions were chosen: on `data`, `judged_by` what it says in words, for at most
    `max_recall_drop` points of mR; all weights that could have fewer bits, each tower `alone`, the
    pairs that were measured, the smallest first, and why the choice fell as it did.
    `photos_to_tell`: how many photos would tell a drop of the budget from none. `simulated`: where
    a simulator was asked, too."""

    data: DataFacts
    judged_by: Word
    max_recall_drop: NotNegative
    float_mean_recall: Percent
    weights: tuple[WeightRecord, ...]
    alone: tuple[AloneRecord, ...]
    steps: tuple[StepRecord, ...]
    photos_to_tell: Count
    why: str
    simulated: SimulatedRecord | None = None

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain
