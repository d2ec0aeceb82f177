"""What the charts of mcad-bench/1 documents show, and a sentence that describes each to screen
readers. charts.svg.jinja draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mcad_mobile.bench.report.markdown import labels
from mcad_mobile.bench.report.rows import NOT_MEASURED, PERCENTILES, STAGE_NAMES

if TYPE_CHECKING:
    from mcad_mobile.export.export_report import PrecisionRecord

Chart = dict[str, Any]  # "kind" is the macro that draws it

_WIDTH = 335
_BINS = 90
_LONGEST = 54  # characters above a bar, beside its figure
_MOST_WEIGHTS = 40
_SPACINGS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 1e9)  # of an axis, ms


def _across(most: float, width: float = _WIDTH) -> Callable[[float], float]:
    return lambda value: float(width * value / most)


def result_charts(document: dict[str, Any]) -> list[Chart]:
    """Memory and latency of one result, as far as they were measured."""
    return [
        *([_memory_chart(document)] if document["memory_mib"]["steps"] else []),
        *([_latency_chart(document)] if document["latency_ms"] else []),
    ]


def _memory_chart(document: dict[str, Any]) -> Chart:
    steps, limit = document["memory_mib"]["steps"], document["targets"]["memory"]["limit_mib"]
    peak = document["memory_mib"]["peak_pss"]
    listed = ", ".join(f"{step['step']} {step['pss']:.1f}" for step in steps)
    top = max(limit, peak, *(step["rss"] for step in steps)) * 1.1

    def y(value: float) -> float:
        return float(204 * (1 - value / top))

    above_peak = y(peak) - 4
    for line in sorted((y(steps[-1]["rss"]), y(limit)), reverse=True):
        if above_peak - 11 <= line <= above_peak + 2:  # it would cross the figure
            above_peak = line - 2
    return {
        "kind": "memory",
        "title": "Where the memory goes",
        "note": "MiB from step to step",
        "alternative": f"Memory in MiB, PSS from step to step: {listed}; peak {peak:.1f}; limit "
        f"{limit:g}.",
        "height": 245,
        "y": y,
        "steps": steps,
        "peak": peak,
        "above_peak": above_peak,
        "limit": limit,
    }


def _latency_chart(document: dict[str, Any]) -> Chart:
    latency, samples = document["latency_ms"], document["samples_ms"]
    whole = "total" in latency
    shown = [s for s in STAGE_NAMES if s in latency and not (whole and s in ("decode", "image"))]
    limit = document["targets"]["search"]["limit_ms"] if whole else None
    right = max(limit or 0.0, *(latency[stage]["p99"] for stage in shown)) * 1.08
    listed = "; ".join(
        f"{STAGE_NAMES[s].lower()} " + ", ".join(f"{p} {latency[s][p]:.2f}" for p in PERCENTILES)
        for s in shown
    )
    stages = []
    for stage in shown:
        counts, _ = np.histogram(samples.get(stage, ()), bins=_BINS, range=(0, right))
        heights = (counts / counts.max()).tolist() if counts.any() else []
        named = {"name": STAGE_NAMES[stage], "whole": stage == "total", "heights": heights}
        stages.append({**latency[stage], **named})
    return {
        "kind": "latency",
        "title": "Where the time goes",
        "note": "Distribution of each stage, ms, and its median",
        "alternative": f"Milliseconds by stage: {listed}"
        + (f"; limit of the median {limit:g}." if limit else "."),
        "height": 58 + 40 * len(shown),
        "x": _across(right),
        "stages": stages,
        "width": right / _BINS,
        "limit": limit,
        "ticks": np.arange(0, right, next(s for s in _SPACINGS if right / s <= 9)).tolist(),
    }


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
    return {
        "kind": "sensitivity",
        "title": f"What 4 bits cost the {tower} tower",
        "note": "Cosine lost when only this weight has 4 bits, beside its size; dark: stored in 4 "
        "bits",
        "alternative": f"Cosine that the {tower} tower loses with one weight in 4 bits: {losses}.",
        "height": 14 * (len(weights) + 1),
        "x": _across(max(max(weight.loss for weight in weights), 1e-6), 125),
        "weights": [(_shortened(f"{w.name}, {w.numbers:,}"), w.loss, w.bits) for w in weights],
    }


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
    """`style` formats values and ends with the unit."""
    figures = [NOT_MEASURED if value is None else style.format(value) for value in values]
    listed = "; ".join(map(" ".join, zip(names, figures, strict=True)))
    limit_text = f"limit {limit:g} {style.split()[-1]}" if limit else ""
    return {
        "kind": "bars",
        "title": head[0],
        "note": head[1],
        "alternative": "; ".join(filter(None, (f"{head[0]}: {listed}", limit_text))) + ".",
        "height": 22 + 32 * len(names),
        "x": _across(max(limit or 0.0, *(x or 0.0 for x in (*values, *marks))) * 1.12),
        "bars": list(zip(names, figures, values, marks, strict=True)),
        "limit": limit,
        "limit_text": limit_text,
    }
