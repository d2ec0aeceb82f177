"""Results as one self-contained HTML page: no script, no font, nothing that is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.bench.report.bundle_section import bundle_section
from mcad_mobile.bench.report.charts import comparison_charts, latency_chart, memory_chart
from mcad_mobile.bench.report.compare import HEAD, cautions, comparison_rows, labels
from mcad_mobile.bench.report.elements import (
    cells,
    definitions,
    listed,
    section,
    table,
)
from mcad_mobile.bench.report.rows import (
    PERCENTILES,
    circumstances,
    conditions,
    headline,
    judgement,
    ladder_rows,
    latency_rows,
    measured_rungs,
    memory_rows,
    nodes,
    repeat_rows,
    tower_memory_rows,
    verdict_rows,
)
from mcad_mobile.bench.report.thumbnails import hits_html

if TYPE_CHECKING:
    from mcad_mobile.bundle import Bundle
    from mcad_mobile.engine import Found

_UNITS = {"npu": "NPU", "gpu": "GPU", "cpu": "CPU"}


def html(
    *documents: dict[str, Any],
    bundle: Bundle | None = None,
    searches: Sequence[Found] = (),
    photo_root: Path | None = None,
) -> str:
    """The page of one result, or of several: side by side first, then each.

    With `bundle`, a section on its towers. With `searches`, their first hits as thumbnails;
    relative paths are looked up below `photo_root`, and photos that are gone leave their name.
    MissingExtra if matplotlib is not installed.
    """
    found = section("What it finds", hits_html(searches, photo_root)) if searches else ""
    towers = "" if bundle is None else bundle_section(bundle)
    if len(documents) == 1:
        document = documents[0]
        title = f"{document['bundle']['name']}: {headline(document)}"
        body = _header(document, "h1") + _result(document, found, towers)
    else:
        title = "Results side by side"
        each = (
            f'<article id="result-{number}">{_header(document, "h2", label)}{_result(document)}'
            "</article>"
            for number, (label, document) in enumerate(
                zip(labels(documents), documents, strict=True), start=1
            )
        )
        body = f"<header><h1>{title}</h1></header>{_side_by_side(documents)}{''.join(each)}"
    return _page(title, body, documents)


def _page(title: str, body: str, documents: Sequence[dict[str, Any]]) -> str:
    style = resources.files("mcad_mobile.bench.report").joinpath("style.css").read_text("utf-8")
    made = "; ".join(
        dict.fromkeys(
            f"{document['created']} with mcad-mobile {document['tools'].get('mcad-mobile', '')}"
            for document in documents
        )
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
<footer>Measured on {escape(made)}. Schema {escape(documents[0]["schema"])}.</footer>
</main>
</body>
</html>
"""


def _header(document: dict[str, Any], level: str, label: str | None = None) -> str:
    name = escape(label or document["bundle"]["name"])
    return f"""<header>
<p>{name}</p>
<{level} class="headline">{escape(headline(document))}</{level}>
<p>{escape(judgement(document))} {escape(circumstances(document))}</p>
</header>
"""


def _result(document: dict[str, Any], found: str = "", towers: str = "") -> str:
    """All of one result below its headline."""
    parts = [
        _tiles(document),
        found,
        _charts(document),
        _where(document),
        _latency_table(document),
        _memory_table(document),
        _repeats(document),
        towers,
        section("How it was measured", definitions(conditions(document))),
        '<section class="grid">'
        + listed("What was measured", document["measured"])
        + listed("What was not", document["not_measured"])
        + "</section>",
    ]
    return "".join(parts)


def _tiles(document: dict[str, Any]) -> str:
    """The two targets; nothing where neither was measured."""
    search, memory = document["targets"]["search"], document["targets"]["memory"]
    if search["pass"] is None and memory["pass"] is None:
        return ""
    latency, rss = document["latency_ms"].get("total"), document["memory_mib"]["peak_rss"]
    beside = (
        f"p99 {latency['p99']:.2f} ms" if latency else "",
        "" if rss is None else f"RSS {rss:.1f} MiB",
    )
    shares = (
        _share(search["measured_ms"], search["limit_ms"]),
        _share(memory["measured_mib"], memory["limit_mib"]),
    )
    tiles = map(_tile, verdict_rows(document), shares, beside)
    return f'<section class="grid tiles">{"".join(tiles)}</section>\n'


def _share(measured: float | None, limit: float) -> float:
    """Percent of the limit."""
    return 0.0 if measured is None else 100 * measured / limit


def _tile(row: tuple[str, str, str, str], share: float, beside: str) -> str:
    name, limit, measured, verdict = row
    value, unit = measured.split(maxsplit=1)
    kind = verdict.partition(" ")[0]
    return f"""<div class="card tile">
<div class="row"><h3>{name}</h3><span class="verdict {kind}">{verdict}</span></div>
<div class="big">{value} <small>{unit}</small></div>
<div class="meter {kind}"><i style="width:{min(share, 100):.1f}%"></i></div>
<p class="note">{share:.0f} % of the limit of {limit}; {beside}</p>
</div>"""


def _charts(document: dict[str, Any]) -> str:
    figures = []
    if document["memory_mib"]["steps"]:
        figures.append(
            _figure(
                "Where the memory goes",
                "MiB from step to step. Filled: PSS; thin line: RSS",
                memory_chart(document),
            )
        )
    if document["latency_ms"]:
        figures.append(
            _figure(
                "Where the time goes",
                "Distribution of each stage, ms; thick mark: median, thin marks: p90 and p99",
                latency_chart(document),
            )
        )
    return f'<section class="grid charts">{"".join(figures)}</section>\n' if figures else ""


def _figure(title: str, note: str, chart: str) -> str:
    return f'<figure class="card"><h3>{title}</h3><p class="note">{note}</p>{chart}</figure>'


def _where(document: dict[str, Any]) -> str:
    """The ladder, and the share of nodes on each processor."""
    rows = ladder_rows(document)
    if not rows:
        return ""
    bars = "".join(_split(name, rung["nodes"]) for name, rung in measured_rungs(document).items())
    head = ("Tower", "Rung", "Self-test", "Worst cosine", "Nodes ran on")
    body = table(head, (f"<tr>{cells(row, numbers_from=3)}</tr>" for row in rows), numbers_from=3)
    note = (
        '<p class="note">Self-test: the embeddings of the bundle\'s golden inputs, computed on the '
        "device, against the float student's. Only a rung that passes is measured.</p>"
    )
    return section("Where each node ran", f"{bars}{body}{note}")


def _split(name: str, counts: dict[str, int] | None) -> str:
    total = sum((counts or {}).values())
    if not counts or not total:
        return ""
    parts = "".join(
        f'<i class="{unit}" style="flex:{counts.get(unit, 0)}"></i>'
        for unit in _UNITS
        if counts.get(unit)
    )
    return (
        f'<div class="split"><span>{name} tower</span><div class="parts">{parts}</div>'
        f"<span>{escape(nodes(counts))}</span></div>"
    )


def _latency_table(document: dict[str, Any]) -> str:
    rows = [
        f"<tr{' class=sum' if stage == 'total' else ''}>{cells(row)}</tr>"
        for stage, row in latency_rows(document)
    ]
    head = ("Stage", *(f"{p}, ms" for p in PERCENTILES))
    return section("Latency", table(head, rows)) if rows else ""


def _memory_table(document: dict[str, Any]) -> str:
    steps = [f"<tr>{cells(row)}</tr>" for row in memory_rows(document)]
    towers = [f"<tr>{cells(row)}</tr>" for row in tower_memory_rows(document)]
    inside = table(("Step", "PSS, MiB", "RSS, MiB"), steps) if steps else ""
    if towers:
        inside += table(("Alone", "Peak loading, MiB", "Peak running, MiB"), towers)
    return section("Memory", inside) if inside else ""


def _repeats(document: dict[str, Any]) -> str:
    rows = repeat_rows(document)
    if len(rows) < 2:
        return ""
    head = ("Run", "Median, ms", "", "Temperature", "Battery")
    body = table(head, (f"<tr>{cells(row)}</tr>" for row in rows))
    left_out = sum("left out" in row[2] for row in rows)
    note = ""
    if left_out:
        note = (
            f'<p class="note warn">{left_out} of {len(rows)} runs throttled. They are not in any '
            "figure of this page: an average over a device that slows down describes no device.</p>"
        )
    return section("Runs", note + body)


def _side_by_side(documents: Sequence[dict[str, Any]]) -> str:
    rows = comparison_rows(documents)
    linked: Iterable[str] = (
        f'<tr><td><a href="#result-{number}">{escape(first)}</a></td>'
        f"{cells(rest, numbers_from=2)}</tr>"
        for number, (first, *rest) in enumerate(rows, start=1)
    )
    notes = cautions(documents)
    charts = "".join(_figure(c.title, c.note, c.svg) for c in comparison_charts(documents))
    return (
        f"<section>{table(HEAD, linked, numbers_from=3)}"
        + (
            f"<ul class=note>{''.join(f'<li>{escape(n)}</li>' for n in notes)}</ul>"
            if notes
            else ""
        )
        + "</section>"
        + (f'<section class="grid charts">{charts}</section>\n' if charts else "")
    )
