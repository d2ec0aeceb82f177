"""Several results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcad_mobile.bench.report.rows import NOT_MEASURED, Row, device_name, verdict

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
    """What to call each: the bundle's name and, where that is not enough, what else tells them
    apart, in this order: device, towers, photos, when it was exported, when measured. A number
    where nothing does."""
    told = [str(document["bundle"]["name"]) for document in documents]
    for tell in (device_name, _towers, _photos, _exported, _measured):
        if len(set(told)) == len(told):
            return told
        more = [tell(document) for document in documents]
        if len(set(more)) > 1:
            told = [", ".join(filter(None, pair)) for pair in zip(told, more, strict=True)]
    if len(set(told)) == len(told):
        return told
    return [f"{number}. {name}" for number, name in enumerate(told, start=1)]


def _towers(document: dict[str, Any]) -> str:
    rungs = document["runtime"].values()
    return " and ".join(dict.fromkeys(f"{rung['runtime']} {rung['precision']}" for rung in rungs))


def _photos(document: dict[str, Any]) -> str:
    photos = document["index"].get("photos")
    return f"{photos:,} photos" if photos else ""


def _exported(document: dict[str, Any]) -> str:
    return f"exported {_moment(document['bundle']['created'])}"


def _measured(document: dict[str, Any]) -> str:
    return f"measured {_moment(document['created'])}"


def _moment(written: str) -> str:
    """ "2026-11-25T18:04:05+00:00" -> "2026-11-25 18:04:05"."""
    return written[:19].replace("T", " ")


def comparison_rows(documents: Sequence[dict[str, Any]]) -> list[Row]:
    """A row a result; times and memory after the first with their ratio to the first's."""
    rows: list[Row] = []
    for number, (label, document) in enumerate(zip(labels(documents), documents, strict=True)):
        first = documents[0] if number else None
        photos = document["index"].get("photos")
        rows.append(
            (
                label,
                _verdicts(document),
                device_name(document),
                f"{photos:,}" if photos else "-",
                _cell(document, first, "total", "p50"),
                _cell(document, first, "total", "p99"),
                _ratio(
                    document["memory_mib"]["peak_pss"],
                    None if first is None else first["memory_mib"]["peak_pss"],
                    ".1f",
                ),
                _cell(document, first, "text", "p50"),
                _cell(document, first, "image", "p50"),
            )
        )
    return rows


def cautions(documents: Sequence[dict[str, Any]]) -> list[str]:
    """Why numbers of these results do not compare directly."""
    said = []
    photos = {d["index"].get("photos") for d in documents} - {None}
    if len(photos) > 1:
        told = ", ".join(f"{count:,}" for count in sorted(photos))
        said.append(f"They searched indexes of different sizes: {told} photos.")
    students = {d["bundle"]["student"]["sha256"] for d in documents}
    if len(students) > 1:
        said.append("They are of different students: time compares, recall may differ.")
    if len({d["conditions"]["threads"] for d in documents} - {None}) > 1:
        said.append("They used different numbers of threads.")
    if any(d["device"].get("emulator") for d in documents):
        said.append("An emulated processor has no time of its own.")
    return said


def _cell(
    document: dict[str, Any], first: dict[str, Any] | None, stage: str, percentile: str
) -> str:
    value = document["latency_ms"].get(stage, {}).get(percentile)
    other = None if first is None else first["latency_ms"].get(stage, {}).get(percentile)
    return _ratio(value, other, ".2f")


def _ratio(value: float | None, first: float | None, how: str) -> str:
    if value is None:
        return "-"
    return f"{value:{how}} ({value / first:.2f}x)" if first else f"{value:{how}}"


def _verdicts(document: dict[str, Any]) -> str:
    found = [verdict(document["targets"][name]) for name in ("search", "memory")]
    if NOT_MEASURED in found:
        return NOT_MEASURED
    return "pass" if set(found) == {"pass"} else "fail"
