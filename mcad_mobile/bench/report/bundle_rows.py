"""Tables of a bundle's towers, recall, and search for precisions, for the page and the terminal."""

from __future__ import annotations

from typing import Any

from mcad_mobile.base.files import megabytes
from mcad_mobile.bench.report.charts import sensitivity_chart
from mcad_mobile.engine.bundle import TOWERS, Bundle, DataFacts, PrecisionRecord, RecallRecord
from mcad_mobile.engine.towers import runtime_of

ALONE_HEAD = ("Tower", "Precision", "MB", "Drop alone")
PAIRS_HEAD = ("Image", "Text", "MB", "mR", "Drop", "Budget")
_RUNGS_HEAD = ("Tower", "Runtime", "Precision", "Size, MB", "Operators", "Cosine mean", "min")
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


def bundle_section(bundle: Bundle) -> dict[str, Any]:
    """The page's section on a bundle: facts, rungs, notes, and measured recall and precisions."""
    rungs = [(name, rung) for name in TOWERS for rung in bundle.tower(name).rungs]
    rows = [
        (
            name,
            rung.runtime,
            rung.precision,
            megabytes(rung.bytes),
            runtime_of(rung).for_npu(rung),
            f"{rung.parity.cosine_mean:.4f}" if rung.parity else "not measured",
            f"{rung.parity.cosine_min:.4f}" if rung.parity else "",
        )
        for name, rung in rungs
    ]
    tools = ", ".join(f"{name} {version}" for name, version in bundle.tools.items())
    return {
        "facts": [
            ("Target", f"{bundle.target.id} {bundle.target.chip} {bundle.target.npu}"),
            ("Student", f"{bundle.student.name}, {bundle.dim} dimensions"),
            ("Exported", f"{bundle.created}, {tools}"),
        ],
        "head": _RUNGS_HEAD,
        "rows": rows,
        "notes": list(dict.fromkeys(note for _, rung in rungs for note in rung.notes)),
        "recall": None if bundle.recall is None else _recall_rows(bundle.recall),
        "precision": None if bundle.precision is None else _precision_rows(bundle.precision),
    }


def _recall_rows(record: RecallRecord) -> dict[str, Any]:
    """Recall of the float student and of the bundle's rungs: a head, rows, and a sentence."""
    rows = []
    for name, found in (("float", record.exact), ("exported", record.exported)):
        both = (found.text_to_image, found.image_to_text)
        recalls = (f"{recall:.1f}" for way in both for recall in (way.r1, way.r5, way.r10))
        rows.append((name, *recalls, f"{found.mean_recall:.2f}"))
    ways = [f"{way} R@{k}" for way in ("photos,", "texts,") for k in (1, 5, 10)]
    return {
        "head": ("Towers", *ways, "mR"),
        "rows": rows,
        "note": f"{_data(record.data)}. Image: {record.image}; text: {record.text}. mR falls by "
        f"{record.drop:.2f} ± {record.margin:.2f} points (95 %).",
        "matrix": {"head": matrix_head(record), "rows": matrix_rows(record)},
    }


def _precision_rows(record: PrecisionRecord) -> dict[str, Any]:
    """The search for precisions: towers alone and pairs (head, rows), a sentence, and charts."""
    towers = dict.fromkeys(weight.tower for weight in record.weights)
    return {
        "alone": {"head": ALONE_HEAD, "rows": alone_rows(record)},
        "pairs": {"head": PAIRS_HEAD, "rows": pair_rows(record)},
        "note": f"{record.why} Judged by {record.judged_by}. Tried on {_data(record.data)}; float "
        f"mR {record.float_mean_recall:.2f}. {len(record.steps)} pairs were measured; what is not "
        f"shown is smaller, and in bundle.json. It takes {record.photos_to_tell} photos to detect "
        f"a drop of {record.max_recall_drop:g} points.",
        "charts": [sensitivity_chart(record, tower) for tower in sorted(towers)],
    }


def _data(data: DataFacts) -> str:
    return f"{data.name} {data.split}, {data.photos} photos with {data.captions} captions"
