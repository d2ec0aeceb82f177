"""What a bundle says of its towers, for a section of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcad_mobile.bench.report.charts import sensitivity_chart
from mcad_mobile.bench.report.precision_rows import (
    ALONE_HEAD,
    PAIRS_HEAD,
    alone_rows,
    matrix_head,
    matrix_rows,
    pair_rows,
    told_judge,
)
from mcad_mobile.bundle import TOWERS
from mcad_mobile.sizes import megabytes

if TYPE_CHECKING:
    from mcad_mobile.bundle import Bundle
    from mcad_mobile.bundle_precision import DataFacts, PrecisionRecord, RecallRecord

_HEAD = ("Tower", "Runtime", "Precision", "Size, MB", "NPU nodes", "Cosine mean", "min")


def bundle_section(bundle: Bundle) -> dict[str, Any]:
    """Facts (name, value), a table of rungs (head, rows), notes, and what was measured of recall
    and of precisions, if it was."""
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            parity = rung.parity
            rows.append(
                (
                    name,
                    rung.runtime,
                    rung.precision,
                    megabytes(rung.bytes),
                    f"{rung.npu_nodes} of {rung.total_nodes}",
                    "not measured" if parity is None else f"{parity.cosine_mean:.4f}",
                    "" if parity is None else f"{parity.cosine_min:.4f}",
                )
            )
            notes += rung.notes
    tools = ", ".join(f"{name} {version}" for name, version in bundle.tools.items())
    return {
        "facts": [
            ("Target", f"{bundle.target.id} {bundle.target.chip} {bundle.target.npu}"),
            ("Student", f"{bundle.student.name}, {bundle.dim} dimensions"),
            ("Exported", f"{bundle.created}, {tools}"),
        ],
        "head": _HEAD,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
        "recall": None if bundle.recall is None else _recall_rows(bundle.recall),
        "precision": None if bundle.precision is None else _precision_rows(bundle.precision),
    }


def _recall_rows(record: RecallRecord) -> dict[str, Any]:
    """Recall of the float student and of the bundle's rungs: a head, rows, and a sentence."""
    rows = [
        (
            name,
            *(f"{getattr(way, k):.1f}" for way in ways for k in ("r1", "r5", "r10")),
            f"{found.mean_recall:.2f}",
        )
        for name, found in (("float", record.exact), ("exported", record.exported))
        for ways in ((found.text_to_image, found.image_to_text),)
    ]
    ways = [f"{way} R@{k}" for way in ("photos,", "texts,") for k in (1, 5, 10)]
    return {
        "head": ("Towers", *ways, "mR"),
        "rows": rows,
        "note": f"{_data(record.data)}. Image: {record.image}; text: {record.text}. mR falls by "
        f"{record.drop:.2f} ± {record.margin:.2f} points (95 %).",
        "matrix": {"head": matrix_head(record), "rows": matrix_rows(record)},
    }


def _precision_rows(record: PrecisionRecord) -> dict[str, Any]:
    """A search for precisions: towers alone and pairs (head, rows), a sentence, and charts."""
    towers = dict.fromkeys(weight.tower for weight in record.weights)
    return {
        "alone": {"head": ALONE_HEAD, "rows": alone_rows(record)},
        "pairs": {"head": PAIRS_HEAD, "rows": pair_rows(record)},
        "note": f"{record.why} {told_judge(record)} Tried on {_data(record.data)}; float "
        f"mR {record.float_mean_recall:.2f}. {len(record.steps)} pairs were measured; what is not "
        f"shown is smaller, and in bundle.json. {record.photos_to_tell} photos tell a drop of "
        f"{record.max_recall_drop:g} points from none.",
        "charts": [sensitivity_chart(record, tower) for tower in sorted(towers)],
    }


def _data(data: DataFacts) -> str:
    return f"{data.name} {data.split}, {data.photos} photos with {data.captions} captions"
