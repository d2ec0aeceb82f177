"""Charts of a mcad-bench/1 document, as SVG that takes its colours and type from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcad_mobile.errors import require

STAGES = ("tokenize", "text", "scan", "rescore")
STAGE_NAMES = {
    "tokenize": "Tokenize",
    "text": "Text tower",
    "scan": "Scan the index",
    "rescore": "Re-score the best",
    "total": "Whole search",
}

# Colours that no chart would use by accident: each becomes a CSS variable of the page, so that
# one drawing serves light and dark.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--pale)",
    "#060606": "var(--limit)",
}
_INK, _MUTED, _LINE, _ACCENT, _PALE, _LIMIT = _COLOURS

_WIDTH_IN = 4.7  # at 72 units an inch: text keeps a readable size on a phone's width
_ROW_IN = 0.42
_FONT = 9.2


@dataclass(frozen=True)
class _Row:
    """A bar from `start` to `end`; `ticks` are marks beyond it."""

    label: str
    start: float
    end: float
    value: str
    ticks: tuple[tuple[str, float], ...] = ()


def memory_chart(document: dict[str, Any]) -> str:
    """PSS at each step, MiB: what each step added to the one before, and the limit."""
    rows, before = [], 0.0
    for step in document["memory_mib"]["steps"]:
        rows.append(_Row(_capitalized(step["step"]), before, step["pss"], f"{step['pss']:.1f}"))
        before = step["pss"]
    peak = document["memory_mib"]["peak_pss"]
    rows.append(_Row("Peak", 0.0, peak, f"{peak:.1f} MiB"))
    limit = document["targets"]["memory"]["limit_mib"]
    return _draw(rows, limit, f"{limit:g} MiB", "Memory (PSS) at each step, in MiB")


def latency_chart(document: dict[str, Any]) -> str:
    """Median ms of each stage, one after the other, the whole search with p90 and p99, and the
    limit."""
    latency = document["latency_ms"]
    rows, start = [], 0.0
    for stage in STAGES:
        median = latency[stage]["p50"]
        rows.append(_Row(STAGE_NAMES[stage], start, start + median, f"{median:.2f}"))
        start += median
    total = latency["total"]
    ticks = (("p90", total["p90"]), ("p99", total["p99"]))
    rows.append(_Row(STAGE_NAMES["total"], 0.0, total["p50"], f"{total['p50']:.2f} ms", ticks))
    limit = document["targets"]["search"]["limit_ms"]
    return _draw(rows, limit, f"{limit:g} ms", "Median latency of each stage, in ms")


def _draw(rows: Sequence[_Row], limit: float, limit_name: str, title: str) -> str:
    """Rows from top to bottom, each with its label above its bar."""
    matplotlib = require("matplotlib", "report")
    figures = require("matplotlib.figure", "report")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.family": "DejaVu Sans",
        "font.size": _FONT,
    }
    furthest = max(max(row.end, *(at for _, at in row.ticks), 0.0) for row in rows)
    right = max(limit * 1.12, furthest * 1.28)  # room for the value beside the longest bar
    with matplotlib.rc_context(settings):
        height = _ROW_IN * len(rows) + 0.3
        figure = figures.Figure(figsize=(_WIDTH_IN, height))
        axes = figure.add_axes((0.005, 0.0, 0.99, 1 - 0.3 / height))
        axes.set(xlim=(0, right), ylim=(len(rows), 0))
        axes.axis("off")
        for number, row in enumerate(rows):
            _draw_row(axes, number, row, right, last=number == len(rows) - 1)
        axes.plot([limit, limit], [0, len(rows)], color=_LIMIT, linewidth=1, dashes=(3, 2.5))
        axes.text(limit, -0.12, limit_name, color=_LIMIT, ha="center", va="bottom", clip_on=False)
        out = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return _for_page(out.getvalue(), title)


def _draw_row(axes: Any, number: int, row: _Row, right: float, *, last: bool) -> None:
    bar, thickness = number + 0.68, 0.3
    axes.plot([0, right], [bar, bar], color=_LINE, linewidth=0.7, zorder=0)
    if row.start:
        axes.barh(bar, row.start, height=thickness, color=_PALE)
    axes.barh(bar, row.end - row.start, left=row.start, height=thickness, color=_ACCENT)
    for _, at in row.ticks:
        axes.plot([at, at], [bar - 0.2, bar + 0.2], color=_INK, linewidth=1)
    weight = "bold" if last else "normal"
    axes.text(0, number + 0.42, row.label, color=_INK, va="bottom", weight=weight)
    furthest = max([row.end, *(at for _, at in row.ticks)])
    axes.text(furthest + right * 0.015, bar, row.value, color=_INK, va="center", weight=weight)


def _for_page(svg: str, title: str) -> str:
    """Only the <svg> element, with the page's colours and font, as wide as its place allows."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r"\sid=\"(figure|axes|patch|text|line2d|PathCollection)_\d+\"", "", svg)
    svg = svg.replace("'DejaVu Sans'", "inherit").replace("xlink:href", "href")
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg.strip()


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
