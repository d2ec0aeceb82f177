"""Results as Markdown; several results side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mcad_mobile.base.standard_output import counted, escape_unprintable
from mcad_mobile.bench.report.rows import (
    NOT_MEASURED,
    PERCENTILES,
    Row,
    conditions,
    device_name,
    headline,
    ladder_rows,
    latency_rows,
    memory_rows,
    repeat_rows,
    summary,
    tower_memory_rows,
    verdict,
    verdict_rows,
)

HEAD = (
    "Result",
    "Targets",
    "Device",
    "Photos",
    "Search p50, ms",
    "p99",
    "Peak PSS, MiB",
    "Text tower, ms",
    "Image tower, ms",
)


def labels(documents: Sequence[dict[str, Any]]) -> list[str]:
    """Unique labels: the bundle's name and, as far as needed, device, towers, photos, and the times
    of export and measurement; a number if all of these are equal."""
    names = [str(document["bundle"]["name"]) for document in documents]
    for details in zip(*map(_details, documents), strict=True):
        if len(set(names)) == len(names):
            return names
        if len(set(details)) > 1:
            names = [", ".join(filter(None, pair)) for pair in zip(names, details, strict=True)]
    unique = len(set(names)) == len(names)
    return names if unique else [f"{n}. {name}" for n, name in enumerate(names, start=1)]


def _details(document: dict[str, Any]) -> tuple[str, ...]:
    """What a label may add to the bundle's name, in this order."""
    rungs = document["runtime"].values()
    photos = document["index"].get("photos")
    # "2026-11-25T18:04:05+00:00" -> "2026-11-25 18:04:05"
    exported, measured = (
        created[:19].replace("T", " ")
        for created in (document["bundle"]["created"], document["created"])
    )
    return (
        device_name(document),
        " and ".join(dict.fromkeys(f"{rung['runtime']} {rung['precision']}" for rung in rungs)),
        counted(photos, "photo") if photos else "",
        f"exported {exported}",
        f"measured {measured}",
    )


def comparison_rows(documents: Sequence[dict[str, Any]]) -> list[Row]:
    """A row per result, with the ratios of its times and memory to those of the first result."""
    rows: list[Row] = []
    first = _compared(documents[0])
    for number, (label, document) in enumerate(zip(labels(documents), documents, strict=True)):
        photos = document["index"].get("photos")
        found = {verdict(document["targets"][name]) for name in ("search", "memory")}
        rows.append(
            (
                label,
                next(worst for worst in (NOT_MEASURED, "fail", "pass") if worst in found),
                device_name(document),
                f"{photos:,}" if photos else "-",
                *(
                    "-" if value is None else _ratio(value, first[name] if number else None, name)
                    for name, value in _compared(document).items()
                ),
            )
        )
    return rows


def _compared(document: dict[str, Any]) -> dict[str, float | None]:
    """The figures of a row, in the order of HEAD; None for those that were not measured."""
    latency = document["latency_ms"]
    total, text, image = (latency.get(stage, {}) for stage in ("total", "text", "image"))
    return {
        "p50": total.get("p50"),
        "p99": total.get("p99"),
        "peak": document["memory_mib"]["peak_pss"],
        "text": text.get("p50"),
        "image": image.get("p50"),
    }


def cautions(documents: Sequence[dict[str, Any]]) -> list[str]:
    """Why figures of these results do not compare directly."""
    reasons = []
    photos = {d["index"].get("photos") for d in documents} - {None}
    if len(photos) > 1:
        sizes = ", ".join(f"{count:,}" for count in sorted(photos))
        reasons.append(f"They searched indexes of different sizes: {sizes} photos.")
    students = {d["bundle"]["student"]["sha256"] for d in documents}
    if len(students) > 1:
        reasons.append("They are of different students: time compares, recall may differ.")
    if len({d["conditions"]["threads"] for d in documents} - {None}) > 1:
        reasons.append("They used different numbers of threads.")
    if any(d["device"].get("emulator") for d in documents):
        reasons.append("An emulated processor has no time of its own.")
    return reasons


def _ratio(value: float, first: float | None, name: str) -> str:
    figure = f"{value:.1f}" if name == "peak" else f"{value:.2f}"
    return f"{figure} ({value / first:.2f}x)" if first else figure


def markdown(*documents: dict[str, Any]) -> str:
    """A short report of each document, after a comparison if there are several."""
    parts = [_result(document) for document in documents]
    if len(documents) > 1:
        lines = [
            "# Results side by side",
            "",
            *_table(HEAD, comparison_rows(documents)),
            "",
            *(f"- {caution}" for caution in cautions(documents)),
        ]
        parts.insert(0, "\n".join(lines).rstrip() + "\n")
    return escape_unprintable("\n".join(parts))


def _result(document: dict[str, Any]) -> str:
    repeats = repeat_rows(document)
    lines = [
        f"# {document['bundle']['name']}: {headline(document)}",
        "",
        summary(document),
        "",
        *_table(("", "Limit", "Measured", ""), verdict_rows(document)),
        "",
    ]
    for head, rows in (
        (("Latency, ms", *PERCENTILES), latency_rows(document)),
        (("Memory, MiB", "PSS", "RSS"), memory_rows(document)),
        (("Memory of a tower, MiB", "Peak, loading", "Peak, running"), tower_memory_rows(document)),
        (
            ("Tower", "Rung", "Self-test", "Worst cosine to its export", "Nodes ran on"),
            ladder_rows(document),
        ),
        (("", "Median, ms", "", "Temperature", "Battery"), repeats if len(repeats) > 1 else []),
    ):
        if rows:
            lines += [*_table(head, rows), ""]
    lines += [
        *(f"- {name}: {value}" for name, value in conditions(document)),
        "",
        "Not measured:",
        "",
        *(f"- {item}" for item in document["not_measured"]),
    ]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table whose columns after the first are right-aligned."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *escaped)]
