"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mcad_mobile.bench.report.compare import HEAD, cautions, comparison_rows
from mcad_mobile.bench.report.rows import (
    PERCENTILES,
    circumstances,
    conditions,
    headline,
    judgement,
    ladder_rows,
    latency_rows,
    memory_rows,
    repeat_rows,
    tower_memory_rows,
    verdict_rows,
)


def markdown(*documents: dict[str, Any]) -> str:
    """A short report of each, after a comparison of all if they are several."""
    parts = [_one(document) for document in documents]
    if len(documents) > 1:
        lines = [
            "# Results side by side",
            "",
            *_table(HEAD, comparison_rows(documents)),
            "",
            *(f"- {caution}" for caution in cautions(documents)),
        ]
        parts.insert(0, "\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def _one(document: dict[str, Any]) -> str:
    lines = [
        f"# {document['bundle']['name']}: {headline(document)}",
        "",
        f"{judgement(document)} {circumstances(document)}",
        "",
        *_table(("", "Limit", "Measured", ""), verdict_rows(document)),
        "",
    ]
    for head, rows in (
        (("Latency, ms", *PERCENTILES), [row for _, row in latency_rows(document)]),
        (("Memory, MiB", "PSS", "RSS"), memory_rows(document)),
        (("Memory of a tower, MiB", "Peak, loading", "Peak, running"), tower_memory_rows(document)),
        (("Tower", "Rung", "Self-test", "Worst cosine", "Nodes ran on"), ladder_rows(document)),
        (("", "Median, ms", "", "Temperature", "Battery"), _several(repeat_rows(document))),
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


def _several(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One run says nothing that is not said already."""
    return rows if len(rows) > 1 else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns after the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *escaped)]
