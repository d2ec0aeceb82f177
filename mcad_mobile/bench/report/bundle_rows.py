"""Tables of a bundle's towers, recall, and search for precisions, for the page and the terminal."""

from __future__ import annotations

from typing import Any

from mcad_mobile.base.files import megabytes
from mcad_mobile.bench.report.charts import sensitivity_chart
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.export.export_report import (
    ALONE_HEAD,
    PAIRS_HEAD,
    REPORT,
    DataFacts,
    PrecisionRecord,
    RecallRecord,
    alone_rows,
    matrix_head,
    matrix_rows,
    pair_rows,
    read_report,
)

_RUNGS_HEAD = ("Tower", "Runtime", "Precision", "Size, MB", "Operators", "Cosine mean", "min")


def bundle_section(bundle: Bundle) -> dict[str, Any]:
    """The page's section on a bundle: facts, rungs, notes, and measured recall and precisions."""
    report = read_report(bundle)
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
        "recall": None if report.recall is None else _recall_rows(report.recall),
        "precision": None if report.precision is None else _precision_rows(report.precision),
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
        f"shown is smaller, and in {REPORT}. It takes {record.photos_to_tell} photos to detect "
        f"a drop of {record.max_recall_drop:g} points.",
        "charts": [sensitivity_chart(record, tower) for tower in sorted(towers)],
    }


def _data(data: DataFacts) -> str:
    return f"{data.name} {data.split}, {data.photos} photos with {data.captions} captions"
