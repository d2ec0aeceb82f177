"""The section of docs/benchmarks.md on indexing."""

from __future__ import annotations

from typing import Any

from benchmarks.main_job import processor_of
from scripts.pages.results import stored

PEERS = ("rclip", "clip-retrieval", "PyTorch")
STAGES = {
    "read": "read",
    "stamp": "checksum",
    "decode": "decode",
    "resize": "resize",
    "tower": "tower",
    "write": "write",
}
RATES_HEAD = """\
| photos | processor | `index`, photos/s | bound | of the bound \
| of the bound, processor time | rclip | clip-retrieval | PyTorch | ahead of the best by \
| the same, processor time |
|---|---|---|---|---|---|---|---|---|---|---|"""


def indexing() -> list[str]:
    result = stored("indexing")
    kinds = result["kinds"]
    last = max(kinds, key=lambda kind: kind["date"])
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    dates = " and ".join(sorted({kind["date"] for kind in kinds}))
    loads = [kind["device"]["load_average_1m"] for kind in kinds]
    return [
        "## Indexing",
        f"Photos a second on all {last['cores']} cores, medians of {last['rounds']} rounds, with a "
        f"load average of {min(loads)} to {max(loads)}. The photos are "
        "packaged pictures, enlarged and with grain, so that a JPEG has as many bytes as a "
        "camera's. *Bound*: decoding and the tower, each measured alone on all cores. "
        "*Processor time* is that of all threads. Each system runs the default student's image "
        "tower, `index` in 8 bits, the others in float, with their own decoding and storage. "
        "PyTorch is a plain loop: open, transform, stack 32, embed.",
        "\n".join([RATES_HEAD, *map(_rates_row, kinds)]),
        "Where the time goes, in ms of one thread's processor time a photo:",
        _stages_table(kinds),
        f"Measured {dates}, {last['device']['os']}; {versions}. Re-run: `benchmarks/indexing.py`.",
        "Memory of the process that indexes, photos of 64 x 64 pixels, the default student:",
        _memory_table(result["memory"]["rows"]),
        "The sample on which an index tunes its search grows up to 4 million numbers; beyond it, "
        "memory does not grow with the folder.",
    ]


def _rates_row(kind: dict[str, Any]) -> str:
    systems = kind["systems"]
    rates = [systems.get(name, {}).get("photos_per_s") for name in PEERS]
    times = [systems[name]["processor_ms"] for name in PEERS if name in systems]
    ours = systems["ours"]
    cells = [
        kind["kind"],
        processor_of(kind["device"]),
        f"**{ours['photos_per_s']:.1f}**",
        f"{kind['bound_photos_per_s']:.1f}",
        f"{kind['of_bound']:.2f}",
        f"{kind['of_bound_processor']:.2f}",
        *("reads none" if rate is None else f"{rate:.1f}" for rate in rates),
        f"{ours['photos_per_s'] / max(rate for rate in rates if rate):.1f}",
        f"{min(time for time in times if time) / ours['processor_ms']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _stages_table(kinds: list[dict[str, Any]]) -> str:
    lines = [
        f"| photos | processor | {' | '.join(STAGES.values())} | all |",
        "|---" * (len(STAGES) + 3) + "|",
    ]
    for kind in kinds:
        ms = [kind["stages_ms"][stage] for stage in STAGES]
        cells = [kind["kind"], processor_of(kind["device"]), *(f"{x:.2f}" for x in (*ms, sum(ms)))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _memory_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| photos indexed | PSS before, MiB | peak, MiB |", "|---|---|---|"]
    lines += [
        f"| {row['photos']:,} | {row['before_mib']:.1f} | {row['peak_pss_mib']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)
