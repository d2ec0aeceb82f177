"""Results as one self-contained HTML page, without scripts, fonts or anything that is loaded.

This module gathers the content; `page.html.jinja` and `style.css` lay it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.base.templates import render
from mcad_mobile.bench.report.bundle_rows import bundle_section
from mcad_mobile.bench.report.charts import (
    Chart,
    comparison_charts,
    latency_chart,
    memory_chart,
)
from mcad_mobile.bench.report.markdown import HEAD, cautions, comparison_rows, labels
from mcad_mobile.bench.report.rows import (
    STAGE_NAMES,
    circumstances,
    conditions,
    headline,
    ladder_rows,
    latency_rows,
    measured_rungs,
    memory_rows,
    nodes,
    repeat_rows,
    tower_memory_rows,
    verdict_rows,
    verdict_sentence,
)
from mcad_mobile.engine.photos.thumbnails import inline_jpeg
from mcad_mobile.errors import require

if TYPE_CHECKING:
    from mcad_mobile.engine.bundle import Bundle
    from mcad_mobile.engine.engine import Found

_UNITS = ("npu", "gpu", "cpu")
_HITS = 6
_SIDE = 220  # pixels: sharp at the 150 CSS pixels of a hit


def thumbnails(searches: Sequence[Found], root: Path) -> list[dict[str, Any]]:
    """Each query with its milliseconds and first six photos: names, scores, JPEGs in base64.

    Relative paths are below `root`. A photo that cannot be read has a name alone.
    """
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


def html(
    *documents: dict[str, Any],
    bundle: Bundle | None = None,
    searches: Sequence[Found] = (),
    photo_root: Path | None = None,
) -> str:
    """The page of one result; or of several, side by side and then each.

    Args:
        documents: mcad-bench/1 documents.
        bundle: A bundle to describe in a section on its towers.
        searches: Searches whose first hits are shown as thumbnails.
        photo_root: The folder of relative paths in `searches`.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    style = resources.files("mcad_mobile.bench.report").joinpath("style.css")
    names = labels(documents)
    results = [_result(document, name) for document, name in zip(documents, names, strict=True)]
    only = results[0] if len(results) == 1 else None
    return render(
        "mcad_mobile.bench.report",
        "page.html.jinja",
        title=f"{only['label']}: {only['headline']}" if only else "Results side by side",
        style=_markup(style.read_text("utf-8")),
        results=results,
        comparison=_comparison(documents) if only is None else None,
        searches=thumbnails(searches, photo_root or Path()),
        bundle=None if bundle is None else _bundle(bundle),
        measured=_measured(documents),
        schema=documents[0]["schema"],
    )


def _bundle(bundle: Bundle) -> dict[str, Any]:
    section = bundle_section(bundle)
    if section["precision"] is not None:
        charts = [_figure(chart) for chart in section["precision"]["charts"]]
        section["precision"] = {**section["precision"], "charts": charts}
    return section


def _markup(text: str) -> Any:
    """HTML of ours, which is not escaped."""
    return require("markupsafe", "report").Markup(text)


def _measured(documents: Sequence[dict[str, Any]]) -> str:
    measurements = (
        f"{document['created']} with mcad-mobile {document['tools'].get('mcad-mobile', '')}"
        for document in documents
    )
    return "; ".join(dict.fromkeys(measurements))


def _result(document: dict[str, Any], label: str) -> dict[str, Any]:
    """The page's content on one result."""
    runs = repeat_rows(document)
    return {
        "label": label,
        "headline": headline(document),
        "summary": f"{verdict_sentence(document)} {circumstances(document)}",
        "tiles": _tiles(document),
        "charts": [_figure(chart) for chart in _charts(document)],
        "ladder": ladder_rows(document),
        "splits": _splits(document),
        "latency": [row for _, row in latency_rows(document)],
        "whole_search": STAGE_NAMES["total"],
        "memory": memory_rows(document),
        "tower_memory": tower_memory_rows(document),
        "runs": runs,
        "left_out": sum("left out" in row[2] for row in runs),
        "conditions": conditions(document),
        "measured": document["measured"],
        "not_measured": document["not_measured"],
    }


def _comparison(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "head": HEAD,
        "rows": comparison_rows(documents),
        "cautions": cautions(documents),
        "charts": [_figure(chart) for chart in comparison_charts(documents)],
    }


def _tiles(document: dict[str, Any]) -> list[dict[str, str]]:
    """The two targets; none if neither was measured."""
    search, memory = document["targets"]["search"], document["targets"]["memory"]
    if search["pass"] is None and memory["pass"] is None:
        return []
    latency, rss = document["latency_ms"].get("total"), document["memory_mib"]["peak_rss"]
    beside = (
        f"p99 {latency['p99']:.2f} ms" if latency else "",
        "" if rss is None else f"RSS {rss:.1f} MiB",
    )
    shares = (
        _share(search["measured_ms"], search["limit_ms"]),
        _share(memory["measured_mib"], memory["limit_mib"]),
    )
    return list(map(_tile, verdict_rows(document), shares, beside))


def _share(measured: float | None, limit: float) -> float | None:
    """Percent of the limit."""
    return None if measured is None else 100 * measured / limit


def _tile(row: tuple[str, str, str, str], share: float | None, beside: str) -> dict[str, str]:
    name, limit, measured, verdict = row
    value, unit = measured.split(maxsplit=1)
    of_limit = f"limit {limit}" if share is None else f"{share:.0f} % of the limit of {limit}"
    return {
        "name": name,
        "verdict": verdict,
        "kind": verdict.partition(" ")[0],
        "value": value,
        "unit": unit,
        "width": f"{min(share or 0, 100):.1f}",
        "note": "; ".join(filter(None, (of_limit, beside))),
    }


def _charts(document: dict[str, Any]) -> list[Chart]:
    drawn = []
    if document["memory_mib"]["steps"]:
        note = "MiB from step to step"
        drawn.append(Chart("Where the memory goes", note, memory_chart(document)))
    if document["latency_ms"]:
        note = "Distribution of each stage, ms, and its median"
        drawn.append(Chart("Where the time goes", note, latency_chart(document)))
    return drawn


def _figure(chart: Chart) -> dict[str, Any]:
    return {"title": chart.title, "note": chart.note, "svg": _markup(chart.svg)}


def _splits(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The share of a tower's nodes on each processor."""
    found = []
    for name, rung in measured_rungs(document).items():
        counts = rung["nodes"] or {}
        parts = [(unit, counts[unit]) for unit in _UNITS if counts.get(unit)]
        if parts:
            found.append({"tower": name, "parts": parts, "text": nodes(counts)})
    return found
