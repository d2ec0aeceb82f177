"""Results as one self-contained HTML page, without scripts, fonts or external resources.

This module gathers the content; `page.html.jinja` and `style.css` lay it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.base.templates import render
from mcad_mobile.bench.report import rows
from mcad_mobile.bench.report.bundle_rows import bundle_section
from mcad_mobile.bench.report.charts import comparison_charts, result_charts
from mcad_mobile.bench.report.markdown import HEAD, cautions, comparison_rows, labels
from mcad_mobile.engine.photos.thumbnails import inline_jpeg

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
    paths are relative to `photo_root`. MissingExtra without jinja2 or matplotlib.
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
