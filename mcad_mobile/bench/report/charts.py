"""Charts of mcad-bench/1 documents: SVG with the page's colours and font, and a sentence that
describes it to screen readers."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from mcad_mobile.bench.report.markdown import labels
from mcad_mobile.bench.report.rows import NOT_MEASURED, PERCENTILES, STAGE_NAMES, capitalized
from mcad_mobile.errors import require

if TYPE_CHECKING:
    from mcad_mobile.export.export_report import PrecisionRecord

# Each colour is replaced by a CSS variable of the page, so that one drawing serves light and dark.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--pale)",
    "#060606": "var(--limit)",
}
_INK, _MUTED, _LINE, _ACCENT, _PALE, _LIMIT = _COLOURS
_NOT_FOR_PAGES = re.compile(
    r"<(metadata|style)\b.*?</\1>"
    r'|\sxmlns(:\w+)?="[^"]*"'
    r'|\sid="(figure|axes|patch|text|line2d|PathCollection)_\d+"',
    re.DOTALL,
)

_WIDTH_IN = 4.7  # at 72 units per inch, so that text stays readable on a phone
_FONT = 9.2
_SMALL = 8.2
_NOTE: dict[str, Any] = {"color": _MUTED, "fontsize": _SMALL}
_BINS = 90
_LONGEST = 54  # characters above a bar, beside its figure
_ROW_IN = 0.19  # of a bar in a long list
_MOST_WEIGHTS = 40


@dataclass(frozen=True)
class Chart:
    """A drawing, its title, and a note on its marks."""

    title: str
    note: str
    svg: str


def result_charts(document: dict[str, Any]) -> list[Chart]:
    """Memory and latency of one result, as far as they were measured."""
    return [
        *([_memory_chart(document)] if document["memory_mib"]["steps"] else []),
        *([_latency_chart(document)] if document["latency_ms"] else []),
    ]


def _memory_chart(document: dict[str, Any]) -> Chart:
    """PSS from step to step, MiB, with RSS as a thin line above it, the peak, and the limit."""
    steps, limit = document["memory_mib"]["steps"], document["targets"]["memory"]["limit_mib"]
    peak = document["memory_mib"]["peak_pss"]
    pss, rss = ([step[kind] for step in steps] for kind in ("pss", "rss"))
    listed = ", ".join(f"{step['step']} {step['pss']:.1f}" for step in steps)
    alternative = (
        f"Memory in MiB, PSS from step to step: {listed}; peak {peak:.1f}; limit {limit:g}."
    )
    top = max(limit, peak, *rss) * 1.1
    height = 3.4
    text = 1.2 * top * _FONT / (72 * height)  # the height of a line of text, in MiB
    with _axes(height, alternative) as (axes, out):
        axes.set(xlim=(0, len(steps)), ylim=(-0.2 * top, top))
        axes.stairs(pss, fill=True, color=_PALE)
        axes.stairs(pss, color=_ACCENT, linewidth=1.8)
        axes.stairs(rss, baseline=None, color=_MUTED, linewidth=0.8)
        axes.plot([0, len(steps)], [0, 0], color=_LINE, linewidth=0.8)
        for number, step in enumerate(steps):
            middle = number + 0.5
            name = textwrap.fill(capitalized(step["step"]), 11)
            axes.text(middle, -0.03 * top, name, ha="center", va="top", **_NOTE)
            y = step["pss"] - 0.02 * top
            if y - text <= limit <= y + 0.2 * text:  # the limit's line would cross the figure
                y = limit - 0.2 * text
            axes.text(middle, y, f"{step['pss']:.1f}", color=_INK, ha="center", va="top")
        axes.text(0.06, rss[0] + 0.015 * top, "RSS", va="bottom", **_NOTE)
        inside = {"ha": "right", "va": "bottom", "fontsize": _SMALL}
        axes.text(len(steps) - 0.06, 0.02 * top, "PSS", color=_ACCENT, **inside)
        axes.plot([len(steps) - 0.96, len(steps)], [peak, peak], color=_INK, linewidth=2)
        above = peak + 0.02 * top
        for line in sorted((rss[-1], limit)):
            if above - 0.2 * text <= line <= above + text:
                above = line + 0.2 * text
        bold = {"color": _INK, "weight": "bold", "ha": "right", "va": "bottom"}
        axes.text(len(steps), above, f"peak {peak:.1f}", **bold)
        _limit(axes, [0, len(steps)], [limit, limit])
        axes.text(0.06, limit - 0.015 * top, f"limit {limit:g} MiB", color=_LIMIT, va="top")
    return Chart("Where the memory goes", "MiB from step to step", out[0])


def _latency_chart(document: dict[str, Any]) -> Chart:
    """Distributions of the stages' milliseconds on a shared axis, with marks at percentiles, and
    the limit if a whole search was measured."""
    latency, samples = document["latency_ms"], document["samples_ms"]
    whole = "total" in latency
    shown = [s for s in STAGE_NAMES if s in latency and not (whole and s in ("decode", "image"))]
    limit = document["targets"]["search"]["limit_ms"] if whole else None
    furthest = max(latency[stage]["p99"] for stage in shown)
    right = max(limit or 0.0, furthest) * 1.08
    alternative = "Milliseconds by stage: " + "; ".join(
        f"{STAGE_NAMES[s].lower()} " + ", ".join(f"{p} {latency[s][p]:.2f}" for p in PERCENTILES)
        for s in shown
    )
    if limit:
        alternative += f"; limit of the median {limit:g}"
    row, top = 0.56, 0.42
    with _axes(row * len(shown) + 0.8, f"{alternative}.") as (axes, out):
        axes.set(xlim=(0, right), ylim=(len(shown) + 0.38 / row, -top / row))
        for number, stage in enumerate(shown):
            _ridge(axes, number + 0.94, samples.get(stage), latency[stage], right)
            name = f"{STAGE_NAMES[stage]}  {latency[stage]['p50']:.2f} ms"
            weight = "bold" if stage == "total" else "normal"
            axes.text(0, number + 0.36, name, color=_INK, weight=weight)
        _named(axes, len(shown) + 0.03, latency[shown[-1]], right)
        bottom = len(shown) + 0.36
        spacings = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 1e9)
        spacing = next(spacing for spacing in spacings if right / spacing <= 9)
        for tick in (round(float(x), 3) for x in np.arange(0, right, spacing)):
            axes.text(tick, bottom, f"{tick:g}", ha="center", va="top", **_NOTE)
            axes.plot([tick, tick], [0, len(shown)], color=_LINE, linewidth=0.6, zorder=0)
        if limit:
            for number in range(len(shown)):  # along the distributions, and not through their names
                _limit(axes, [limit, limit], [number + 0.44, number + 1.0])
            axes.text(limit, -0.08, f"limit {limit:g} ms", color=_LIMIT, ha="center", va="bottom")
    return Chart("Where the time goes", "Distribution of each stage, ms, and its median", out[0])


def _ridge(
    axes: Any,
    base: float,
    samples: Sequence[float] | None,
    percentiles: dict[str, float],
    right: float,
) -> None:
    """A distribution; without samples, a bar up to the 99th percentile."""
    axes.plot([0, right], [base, base], color=_LINE, linewidth=0.7, zorder=0)
    if samples:
        heights, edges = np.histogram(samples, bins=_BINS, range=(0, right))
        scaled = base - 0.48 * heights / max(int(np.max(heights)), 1)
        axes.stairs(scaled, edges, baseline=base, fill=True, color=_ACCENT)
    else:
        axes.barh(base - 0.12, percentiles["p99"], height=0.24, color=_PALE)
    for name, width in (("p50", 1.8), ("p90", 1.0), ("p99", 1.0)):
        at = percentiles[name]
        axes.plot([at, at], [base + 0.07, base - 0.12], color=_INK, linewidth=width)


def _named(axes: Any, y: float, percentiles: dict[str, float], right: float) -> None:
    """Write the names of a row's marks below them, p90 only if there is room."""
    p50, p90, p99 = (percentiles[name] for name in PERCENTILES)
    gap = 0.008 * right
    at = [("p50", p50 + gap, "right"), ("p99", p99 - gap, "left")]
    if min(p90 - p50, p99 - p90) > 0.05 * right:
        at.append(("p90", p90, "center"))
    for name, x, side in at:
        axes.text(x, y, name, ha=side, va="top", **_NOTE)


def comparison_charts(documents: Sequence[dict[str, Any]]) -> list[Chart]:
    """Bars of several results' median search (with a mark at p99) and peak memory, and of each
    tower's median if a result has only towers. What no result measured has no chart."""
    latencies = [document["latency_ms"] for document in documents]
    targets = documents[0]["targets"]
    names = list(map(_shortened, labels(documents)))
    titles = {"total": "Median search"}
    if any(latency and "total" not in latency for latency in latencies):
        titles |= {"text": "Median of the text tower", "image": "Median of the image tower"}
    charts = []
    for stage, title in titles.items():
        medians, marks = (
            [latency.get(stage, {}).get(percentile) for latency in latencies]
            for percentile in ("p50", "p99")
        )
        limit = targets["search"]["limit_ms"] if stage == "total" else None
        if any(marks):
            charts.append(_bars(names, medians, marks, limit, (title, "ms"), "{:.2f} ms"))
    peaks = [document["memory_mib"]["peak_pss"] for document in documents]
    if any(peaks):
        limit, head = targets["memory"]["limit_mib"], ("Peak memory", "PSS, MiB")
        charts.append(_bars(names, peaks, [None] * len(peaks), limit, head, "{:.1f} MiB"))
    return charts


def sensitivity_chart(record: PrecisionRecord, tower: str) -> Chart:
    """The cosine to float that a tower loses with one weight in 4 bits, largest first. Weights with
    4 bits have full bars, those with more have pale ones."""
    weights = [weight for weight in record.weights if weight.tower == tower]
    weights = sorted(weights, key=lambda weight: -weight.loss)[:_MOST_WEIGHTS]
    losses = ", ".join(f"{w.name} {w.loss:.4f} ({w.bits} bits)" for w in weights)
    alternative = f"Cosine that the {tower} tower loses with one weight in 4 bits: {losses}."
    right = max(max(weight.loss for weight in weights), 1e-6) * 1.25
    with _axes((len(weights) + 1) * _ROW_IN, alternative) as (axes, out):
        axes.set(xlim=(-1.1 * right, right), ylim=(len(weights), -0.5))
        for row, weight in enumerate(weights):
            colour = _ACCENT if weight.bits == 4 else _PALE
            axes.barh(row, max(weight.loss, 0), height=0.62, color=colour)
            name = _shortened(f"{weight.name}, {weight.numbers:,}")
            beside = {"color": _INK, "fontsize": _SMALL, "ha": "right", "va": "center"}
            axes.text(-0.02 * right, row, name, **beside)
            end = max(weight.loss, 0) + 0.02 * right
            axes.text(end, row, f"{weight.loss:.4f}", va="center", **_NOTE)
        axes.plot([0, 0], [-0.5, len(weights) - 0.5], color=_LINE, linewidth=0.8)
    return Chart(
        f"What 4 bits cost the {tower} tower",
        "Cosine lost when only this weight has 4 bits, beside its size; dark: stored in 4 bits",
        out[0],
    )


def _shortened(name: str) -> str:
    """Cut the start of a name that is too long for a bar: names differ at their ends."""
    return name if len(name) <= _LONGEST else f"\u2026{name[-_LONGEST + 1 :]}"


def _bars(
    names: Sequence[str],
    values: Sequence[float | None],
    marks: Sequence[float | None],
    limit: float | None,
    head: tuple[str, str],
    style: str,
) -> Chart:
    """A bar per result, with a mark at its 99th percentile if it has one. `style` formats values
    and ends with the unit."""
    figures = [NOT_MEASURED if value is None else style.format(value) for value in values]
    listed = "; ".join(map(" ".join, zip(names, figures, strict=True)))
    right = max(limit or 0.0, *(x or 0.0 for x in (*values, *marks))) * 1.12
    limit_text = f"limit {limit:g} {style.split()[-1]}" if limit else ""
    alternative = "; ".join(filter(None, (f"{head[0]}: {listed}", limit_text)))
    row, top = 0.44, 0.3
    with _axes(row * len(names) + top, f"{alternative}.") as (axes, out):
        axes.set(xlim=(0, right), ylim=(len(names), -top / row))
        for number, (name, figure) in enumerate(zip(names, figures, strict=True)):
            value, mark, middle = values[number], marks[number], number + 0.7
            axes.text(0, number + 0.44, f"{name}  {figure}", color=_INK, va="bottom")
            axes.plot([0, right], [middle, middle], color=_LINE, linewidth=0.7, zorder=0)
            if value is not None:
                axes.barh(middle, value, height=0.3, color=_ACCENT)
            if mark is not None:
                axes.plot([mark] * 2, [middle - 0.2, middle + 0.2], color=_INK, linewidth=1)
                if not (limit and 0 <= limit - mark < 0.09 * right):  # else the limit crosses it
                    axes.text(mark + 0.012 * right, middle, "p99", va="center", **_NOTE)
            if limit:  # along the bars, and not through their names
                _limit(axes, [limit, limit], [number + 0.5, number + 0.9])
        if limit:
            axes.text(limit, -0.1, limit_text, color=_LIMIT, ha="center", va="bottom")
    return Chart(*head, out[0])


def _limit(axes: Any, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, color=_LIMIT, linewidth=1.1, dashes=(3, 2.5), zorder=3)


@contextmanager
def _axes(height: float, alternative: str) -> Iterator[tuple[Any, list[str]]]:
    """Yield axes without a frame over the whole figure, and a list that then holds the SVG."""
    matplotlib = require("matplotlib", "report")
    figures = require("matplotlib.figure", "report")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "mcad-mobile",
        "font.family": "DejaVu Sans",
        "font.size": _FONT,
    }
    finished: list[str] = []
    with matplotlib.rc_context(settings):
        figure = figures.Figure(figsize=(_WIDTH_IN, height))
        axes = figure.add_axes((0.005, 0.0, 0.99, 1.0))
        axes.axis("off")
        yield axes, finished
        drawn = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    finished.append(_for_page(drawn.getvalue(), alternative))


def _for_page(svg: str, alternative: str) -> str:
    """Return only the <svg> element, with the page's colours and font, as wide as its container."""
    svg = _NOT_FOR_PAGES.sub("", svg[svg.index("<svg") :]).replace("'DejaVu Sans'", "inherit")
    start, close, drawing = svg.partition(">")
    start = re.sub(r' (height|width)="[^"]*"', "", start.removeprefix("<svg"))
    svg = f'<svg role="img" aria-label="{escape(alternative)}"{start}{close}{drawing}'
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg.strip()
