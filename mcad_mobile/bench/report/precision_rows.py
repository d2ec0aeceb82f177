"""How recalls of rungs and a search for precisions are told, in the terminal and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcad_mobile.sizes import megabytes

if TYPE_CHECKING:
    from mcad_mobile.bundle_precision import PrecisionRecord, RecallRecord

ALONE_HEAD = ("Tower", "Precision", "MB", "Drop alone")
PAIRS_HEAD = ("Image", "Text", "MB", "mR", "Drop", "Budget")
_SMALLER = 5  # pairs than the one that was chosen


def alone_rows(record: PrecisionRecord) -> list[tuple[str, ...]]:
    """Each tower's candidates, and what they lose beside the other tower in float."""
    return [
        (one.tower, one.precision, megabytes(one.bytes), _drop(one.drop, one.margin))
        for one in record.alone
    ]


def pair_rows(record: PrecisionRecord) -> list[tuple[str, ...]]:
    """The pair that was chosen, which is the smallest that stays within the budget, the last few
    that are smaller, and all that are larger."""
    chosen = next(number for number, one in enumerate(record.steps) if one.within)
    return [
        (
            one.image,
            one.text,
            megabytes(one.bytes),
            f"{one.mean_recall:.2f}",
            _drop(one.drop, one.margin),
            "chosen" if number == chosen else "within" if one.within else "over",
        )
        for number, one in enumerate(record.steps)
        if number >= chosen - _SMALLER
    ]


def matrix_head(record: RecallRecord) -> tuple[str, ...]:
    return ("Photos by", *(f"texts by {text}" for text in _texts(record)))


def matrix_rows(record: RecallRecord) -> list[tuple[str, ...]]:
    """mR of each rung's photos by each rung's texts, and what it loses."""
    found = {(one.image, one.text): one for one in record.pairs}
    images = dict.fromkeys(one.image for one in record.pairs)
    return [
        (
            image,
            *(
                f"{one.mean_recall:.2f} ({_drop(one.drop, one.margin)})"
                for one in (found[image, text] for text in _texts(record))
            ),
        )
        for image in images
    ]


def _texts(record: RecallRecord) -> list[str]:
    return list(dict.fromkeys(one.text for one in record.pairs))


def told_judge(record: PrecisionRecord) -> str:
    """By what recall was judged, and what a simulator says of it."""
    sentence = f"Judged by {record.judged_by}."
    if record.simulated is None:
        return sentence
    found = record.simulated
    return (
        f"{sentence} On the first {found.photos} photos, with {found.captions} captions, the "
        f"chip's simulator loses {_drop(found.drop, found.margin)}; these files, as judged, "
        f"{found.judged_drop:.2f}."
    )


def _drop(points: float, margin: float) -> str:
    return f"{points:.2f} ± {margin:.2f}"
