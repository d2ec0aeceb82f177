"""Results as one self-contained HTML page, without scripts, fonts or external resources.

This module gathers the content; `page.html.jinja` and `style.css` lay it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import counted
from mcad_mobile.bench.report import rows
from mcad_mobile.bench.report.charts import comparison_charts, result_charts, sensitivity_chart
from mcad_mobile.bench.report.markdown import HEAD, cautions, comparison_rows, labels
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.photos.thumbnails import inline_jpeg
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.errors import require
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

if TYPE_CHECKING:
    from mcad_mobile.engine.bundle import Bundle
    from mcad_mobile.engine.engine import Found

_UNITS = ("npu", "gpu", "cpu")
_HITS = 6
_SIDE = 220  # pixels: sharp at the 150 CSS pixels of a hit


def html(
    *documents: dict[str, Any],
    bundle: Bundle | None = None,
    searches: Sequence[Found] = (),
    photo_root: Path | None = None,
) -> str:
    """Return the page of one mcad-bench/1 document, or of several, side by side and one by one.

    `bundle` adds a section on its towers; `searches` add thumbnails of their first hits, whose
    paths are relative to `photo_root`. MissingExtra without jinja2.
    """
    return render(
        "mcad_mobile.bench.report",
        "page.html.jinja",
        style=resources.files(__package__).joinpath("style.css").read_text("utf-8"),
        documents=documents,
        labels=labels(documents),
        rows=rows,
        tiles=_tiles,
        splits=_splits,
        charts=result_charts,
        comparison={
            "head": HEAD,
            "rows": comparison_rows(documents),
            "cautions": cautions(documents),
            "charts": comparison_charts(documents) if len(documents) > 1 else [],
        },
        searches=_thumbnails(searches, photo_root or Path()),
        bundle=None if bundle is None else bundle_section(bundle),
        measured="; ".join(
            dict.fromkeys(
                f"{document['created']} with mcad-mobile {document['tools'].get('mcad-mobile', '')}"
                for document in documents
            )
        ),
    )


def _thumbnails(searches: Sequence[Found], root: Path) -> list[dict[str, Any]]:
    """Each query with its milliseconds and first six photos: names, scores, JPEGs in base64. A
    photo that cannot be read has only a name."""
    return [
        {
            "query": found.query,
            "ms": f"{found.ms['total']:.1f}",
            "hits": [
                {
                    "name": Path(result.path).name,
                    "score": f"{result.score:.3f}",
                    "jpeg": inline_jpeg(root / result.path, _SIDE),
                }
                for result in found.results[:_HITS]
            ],
        }
        for found in searches
    ]


def _tiles(document: dict[str, Any]) -> list[dict[str, str]]:
    """The two targets; none if neither was measured."""
    search, memory = document["targets"]["search"], document["targets"]["memory"]
    if search["pass"] is memory["pass"] is None:
        return []
    latency, rss = document["latency_ms"].get("total"), document["memory_mib"]["peak_rss"]
    p99 = f"p99 {latency['p99']:.2f} ms" if latency else ""
    measured = (
        (search["measured_ms"], search["limit_ms"], p99),
        (memory["measured_mib"], memory["limit_mib"], "" if rss is None else f"RSS {rss:.1f} MiB"),
    )
    tiles = []
    for row, (figure, limit, beside) in zip(rows.verdict_rows(document), measured, strict=True):
        share = None if figure is None else 100 * figure / limit
        of_limit = "limit" if share is None else f"{share:.0f} % of the limit of"
        tiles.append(
            {
                **dict(zip(("name", "limit", "figure", "verdict"), row, strict=True)),
                "width": f"{min(share or 0, 100):.1f}",
                "note": "; ".join(filter(None, (f"{of_limit} {row[1]}", beside))),
            }
        )
    return tiles


def _splits(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The share of a tower's nodes on each processor."""
    found = []
    for name, rung in rows.measured_rungs(document).items():
        counts = rung["nodes"] or {}
        parts = [(unit, counts[unit]) for unit in _UNITS if counts.get(unit)]
        if parts:
            found.append({"tower": name, "parts": parts, "text": rows.nodes(counts)})
    return found


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
        f"mR {record.float_mean_recall:.2f}. {counted(len(record.steps), 'pair')} measured; what "
        f"is not shown is smaller, and in {REPORT}. It takes {record.photos_to_tell} photos to "
        f"detect a drop of {record.max_recall_drop:g} points.",
        "charts": [sensitivity_chart(record, tower) for tower in sorted(towers)],
    }


def _data(data: DataFacts) -> str:
    photos, captions = counted(data.photos, "photo"), counted(data.captions, "caption")
    return f"{data.name} {data.split}, {photos} with {captions}"


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template of a package; values are escaped. MissingExtra without jinja2."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.PackageLoader(package, ""),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page: str = environment.get_template(template).render(**values)
    return page
