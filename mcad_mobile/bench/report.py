"""A mcad-bench/1 document as Markdown, and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.bench.charts import STAGE_NAMES, latency_chart, memory_chart
from mcad_mobile.bench.thumbnails import hits_html
from mcad_mobile.bundle import TOWERS, Bundle

if TYPE_CHECKING:
    from mcad_mobile.engine import Found

_PERCENTILES = ("p50", "p90", "p99")
_PHOTO_STAGES = {"decode": "Decode a photo", "image": "Image tower"}


def markdown(document: dict[str, Any]) -> str:
    """A short report: measured against target, memory, latency, what was not measured."""
    lines = [
        f"# {document['bundle']['name']}: {_headline(document)}",
        "",
        _circumstances(document),
        "",
        *_markdown_table(("", "Limit", "Measured", ""), _verdict_rows(document)),
        "",
        *_markdown_table(
            ("Latency, ms", *_PERCENTILES), [row for _, row in _latency_rows(document)]
        ),
        "",
        *_markdown_table(("Memory, MiB", "PSS", "RSS"), _memory_rows(document)),
        "",
        *(f"- {name}: {value}" for name, value in _conditions(document)),
        "",
        "Not measured:",
        "",
        *(f"- {item}" for item in document["not_measured"]),
    ]
    return "\n".join(lines) + "\n"


def html(
    document: dict[str, Any],
    *,
    bundle: Bundle | None = None,
    searches: Sequence[Found] = (),
    photo_root: Path | None = None,
) -> str:
    """A page with charts, and nothing loaded from anywhere: no script, no font, no image file.

    With `bundle`, a section on its towers. With `searches`, their first hits as thumbnails;
    relative paths are looked up below `photo_root`, and photos that are gone leave their name.
    MissingExtra if matplotlib is not installed.
    """
    style = resources.files("mcad_mobile.bench").joinpath("report.css").read_text("utf-8")
    name = escape(document["bundle"]["name"])
    sections = [
        _tiles(document),
        _section("What it finds", hits_html(searches, photo_root)) if searches else "",
        _charts(document),
        _section("Against the targets", _verdict_table(document)),
        _section("Latency", _latency_table(document)),
        "" if bundle is None else _bundle_section(bundle),
        _section("How it was measured", _definitions(_conditions(document))),
        _scope(document),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: {escape(_headline(document))}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p>{name}</p>
<h1>{escape(_headline(document))}</h1>
<p>{escape(_circumstances(document))}</p>
</header>
{"".join(sections)}
<footer>Made by mcad-mobile {escape(document["tools"].get("mcad-mobile", ""))} on
{escape(document["created"])}. Schema {escape(document["schema"])}.</footer>
</main>
</body>
</html>
"""


def _headline(document: dict[str, Any]) -> str:
    targets = document["targets"]
    return (
        f"A search takes {targets['search']['measured_ms']:.1f}\u00a0ms "
        f"and {targets['memory']['measured_mib']:.0f}\u00a0MiB"
    )


def _circumstances(document: dict[str, Any]) -> str:
    device, threads = document["device"], document["conditions"]["threads"]
    photos = document["index"]["photos"]
    return (
        f"{photos:,} photos, {_counted(threads, 'thread')}, on {device['cpu']} ({device['kind']})."
    )


def _verdict_rows(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    memory, search = document["targets"]["memory"], document["targets"]["search"]
    return [
        (
            "Search, median",
            f"{search['limit_ms']:g} ms",
            f"{search['measured_ms']:.2f} ms",
            _verdict(search),
        ),
        (
            "Memory, peak PSS",
            f"{memory['limit_mib']:g} MiB",
            f"{memory['measured_mib']:.1f} MiB",
            _verdict(memory),
        ),
    ]


def _verdict(target: dict[str, Any]) -> str:
    return "pass" if target["pass"] else "fail"


def _latency_rows(document: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """(stage, cells) of the stages that were measured."""
    names = {**STAGE_NAMES, **_PHOTO_STAGES}
    latency = document["latency_ms"]
    return [
        (stage, (name, *(f"{latency[stage][p]:.2f}" for p in _PERCENTILES)))
        for stage, name in names.items()
        if stage in latency
    ]


def _memory_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    memory = document["memory_mib"]
    rows = [(s["step"], f"{s['pss']:.1f}", f"{s['rss']:.1f}") for s in memory["steps"]]
    return [*rows, ("peak", f"{memory['peak_pss']:.1f}", f"{memory['peak_rss']:.1f}")]


def _conditions(document: dict[str, Any]) -> list[tuple[str, str]]:
    device, how = document["device"], document["conditions"]
    runtime = document["runtime"]
    indexing = document["indexing"]
    return [
        ("Device", f"{device['cpu']}, {_counted(device['cores'], 'core')}, {device['arch']}"),
        ("System", f"{device['os']}, kernel {device['kernel']}"),
        (
            "Threads",
            f"{how['threads']}, pinned to core "
            f"{', '.join(map(str, how['pinned_cores']))} of {device['cores']}",
        ),
        (
            "Searches",
            f"{how['searches']} timed after {how['warm_up_searches']} to warm up, "
            f"{how['results_per_search']} results each, {how['page_cache']} page cache",
        ),
        ("Index", f"{document['index']['photos']:,} photos: {document['index']['source']}"),
        (
            "Towers",
            "; ".join(
                f"{tower} {rung['runtime']} {rung['precision']}" for tower, rung in runtime.items()
            ),
        ),
        (
            "Indexing",
            f"{indexing['photos_per_s']:g} photos a second, decoding included "
            f"({indexing['photos']} photos: {indexing['source']}); "
            f"peak {document['memory_mib']['indexing']['peak_pss']:.0f} MiB",
        ),
        ("Versions", ", ".join(f"{name} {v}" for name, v in document["tools"].items())),
    ]


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns after the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _tiles(document: dict[str, Any]) -> str:
    p99 = document["latency_ms"]["total"]["p99"]
    rss = document["memory_mib"]["peak_rss"]
    beside = (f"p99 {p99:.2f} ms", f"RSS {rss:.1f} MiB")
    tiles = map(_tile, _verdict_rows(document), _shares(document), beside)
    return f'<section class="grid tiles">{"".join(tiles)}</section>\n'


def _shares(document: dict[str, Any]) -> tuple[float, float]:
    """Measured as a percentage of the limit: of the search, of the memory."""
    search, memory = document["targets"]["search"], document["targets"]["memory"]
    return (
        100 * search["measured_ms"] / search["limit_ms"],
        100 * memory["measured_mib"] / memory["limit_mib"],
    )


def _tile(row: tuple[str, str, str, str], share: float, beside: str) -> str:
    name, limit, measured, verdict = row
    value, unit = measured.split()
    return f"""<div class="card tile">
<div class="row"><h3>{name}</h3><span class="verdict {verdict}">{verdict}</span></div>
<div class="big">{value} <small>{unit}</small></div>
<div class="meter {verdict}"><i style="width:{min(share, 100):.1f}%"></i></div>
<p class="note">{share:.0f} % of the limit of {limit}; {beside}</p>
</div>"""


def _charts(document: dict[str, Any]) -> str:
    return f"""<section class="grid charts">
<figure class="card"><h3>Where the memory goes</h3>
<p class="note">PSS in MiB; dark is what each step added</p>
{memory_chart(document)}</figure>
<figure class="card"><h3>Where the time goes</h3>
<p class="note">Medians in ms; marks at p90 and p99 of a whole search</p>
{latency_chart(document)}</figure>
</section>
"""


def _verdict_table(document: dict[str, Any]) -> str:
    rows = [
        f'<tr>{_cells(cells)}<td class="n verdict {verdict}">{verdict}</td></tr>'
        for *cells, verdict in _verdict_rows(document)
    ]
    head = '<th>Target</th><th class="n">Limit</th><th class="n">Measured</th><th class="n"></th>'
    return _table(head, rows)


def _latency_table(document: dict[str, Any]) -> str:
    rows = [
        f"<tr{' class=sum' if stage == 'total' else ''}>{_cells(cells)}</tr>"
        for stage, cells in _latency_rows(document)
    ]
    head = "".join(f'<th class="n">{p}, ms</th>' for p in _PERCENTILES)
    return _table(f"<th>Stage</th>{head}", rows)


def _cells(cells: Sequence[str], numbers_from: int = 1) -> str:
    return "".join(
        f'<td class="n">{escape(cell)}</td>'
        if place >= numbers_from
        else f"<td>{escape(cell)}</td>"
        for place, cell in enumerate(cells)
    )


def _bundle_section(bundle: Bundle) -> str:
    head = "".join(
        f'<th class="n">{name}</th>' if place > 2 else f"<th>{name}</th>"
        for place, name in enumerate(
            ("Tower", "Runtime", "Precision", "Size, MiB", "NPU nodes", "Cosine mean", "min")
        )
    )
    rows: list[str] = []
    notes: list[str] = []
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            parity = rung.parity
            cells = (
                name,
                rung.runtime,
                rung.precision,
                f"{rung.bytes / 2**20:.1f}",
                f"{rung.npu_nodes} of {rung.total_nodes}",
                "not measured" if parity is None else f"{parity.cosine_mean:.4f}",
                "" if parity is None else f"{parity.cosine_min:.4f}",
            )
            rows.append(f"<tr>{_cells(cells, numbers_from=3)}</tr>")
            notes += rung.notes
    facts = [
        ("Target", " ".join(f"{value}" for value in bundle.target.values())),
        ("Student", f"{bundle.student.get('name', '')}, {bundle.dim} dimensions"),
        ("Exported", f"{bundle.created}, {', '.join(f'{n} {v}' for n, v in bundle.tools.items())}"),
    ]
    listed = "".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(notes))
    return _section(
        "The bundle",
        f"{_definitions(facts)}{_table(head, rows)}"
        '<p class="note">Cosine: exported against float embeddings of the same real inputs.</p>'
        + (f"<ul class=note>{listed}</ul>" if listed else ""),
    )


def _scope(document: dict[str, Any]) -> str:
    def listed(title: str, items: Sequence[str]) -> str:
        inside = "".join(f"<li>{escape(item)}</li>" for item in items)
        return f"<div><h2>{title}</h2><ul>{inside}</ul></div>"

    return (
        '<section class="grid">'
        + listed("What was measured", document["measured"])
        + listed("What was not", document["not_measured"])
        + "</section>"
    )


def _table(head: str, rows: Iterable[str]) -> str:
    return f'<div class="card scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>{inside}</section>\n"


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{inside}</dl>"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
