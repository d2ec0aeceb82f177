"""What indexing.py and java_indexing.py stored, as tables, sentences and a picture.

python benchmarks/indexing_told.py      # writes docs/indexing.png
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from main_job import processor_of

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "indexing.json"
PICTURE = ROOT / "docs" / "indexing.png"
PEERS = ("rclip", "clip-retrieval", "PyTorch")
STAGES = {
    "read": "read",
    "stamp": "checksum",
    "decode": "decode",
    "resize": "resize",
    "tower": "tower",
    "write": "write",
}


def stored() -> dict[str, Any] | None:
    """None until it was measured."""
    return json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else None


def rates_table(result: dict[str, Any]) -> str:
    lines = [
        "| photos | processor | `index`, photos/s | decoding and tower alone allow | of that "
        "| of that, processor time | rclip | clip-retrieval | PyTorch | ahead of the best by "
        "| the same, processor time |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in result["kinds"]:
        systems = kind["systems"]
        rates = [systems.get(name, {}).get("photos_per_s") for name in PEERS]
        best = max(rate for rate in rates if rate)
        shown = " | ".join("reads none" if rate is None else f"{rate:.1f}" for rate in rates)
        times = [systems[name]["processor_ms"] for name in PEERS if name in systems]
        mine, spent = systems["ours"]["photos_per_s"], systems["ours"]["processor_ms"]
        lines.append(
            f"| {kind['kind']} | {processor_of(kind['device'])} | **{mine:.1f}** "
            f"| {kind['bound_photos_per_s']:.1f} | {kind['of_bound']:.2f} "
            f"| {kind['of_bound_processor']:.2f} | {shown} | {mine / best:.1f} "
            f"| {min(time for time in times if time) / spent:.1f} |"
        )
    return "\n".join(lines)


def stages_table(kinds: list[dict[str, Any]]) -> str:
    stages = [stage for stage in STAGES if stage in kinds[0]["stages_ms"]]
    where = "device" in kinds[0]
    lines = [
        f"| photos |{' processor |' * where} "
        f"{' | '.join(STAGES[stage] for stage in stages)} | all |",
        f"|---|{'---|' * (len(stages) + 1 + where)}",
    ]
    for kind in kinds:
        ms = kind["stages_ms"]
        each = " | ".join(f"{ms[stage]:.2f}" for stage in stages)
        processor = f" {processor_of(kind['device'])} |" if where else ""
        lines.append(f"| {kind['kind']} |{processor} {each} | {sum(ms.values()):.2f} |")
    return "\n".join(lines)


def memory_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| photos indexed | PSS before, MiB | most, MiB |", "|---|---|---|"]
    lines += [
        f"| {row['photos']:,} | {row['before_mib']:.1f} | {row['peak_pss_mib']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def told(result: dict[str, Any]) -> list[str]:
    """The section of docs/benchmarks.md."""
    last = max(result["kinds"], key=lambda kind: kind["date"])
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    dates = " and ".join(sorted({kind["date"] for kind in result["kinds"]}))
    device, loads = last["device"], [k["device"]["load_average_1m"] for k in result["kinds"]]
    lines = [
        "## Indexing",
        "",
        f"Photos a second on all {last['cores']} cores, medians of {last['rounds']} rounds;",
        f"the load average was {min(loads)} to {max(loads)} when they began. *Decoding and tower "
        "alone allow*: what the two",
        "take a photo, each measured alone on all cores. *Processor time*: the same of the seconds",
        "that all threads computed, which neighbours change less. All run the default student's",
        "image tower: `index` in 8 bits as shipped, the others in floats, each with what it brings",
        "to read, decode and store. rclip has its own model and takes no other by name: it was",
        "given this one's file. Of clip-retrieval, its reader, its mapper, its runner and its",
        "writer. PyTorch is the plain loop: open, transform, stack 32, embed.",
        "",
        rates_table(result),
        "",
        "`index` decoded the HEIC photos of these rows by FFmpeg, and resized by a kernel of its",
        "own on AMD EPYC; today libheif decodes HEIC, and Pillow resizes.",
        "Where the time goes, in ms of one thread's processor time a photo:",
        "",
        stages_table(result["kinds"]),
        "",
        "![Where the time of indexing goes, and how many photos a second](indexing.png)",
        "",
        f"{dates}, {device['os']}; {versions}. Re-run: `benchmarks/indexing.py`.",
        "",
    ]
    if "memory" in result:
        lines += [
            "Memory of the process that indexes, photos of 64 x 64 pixels, the default student:",
            "",
            memory_table(result["memory"]["rows"]),
            "",
            "What grows is the sample that an index chooses its settings on, of 4 million numbers",
            "at most; beyond it memory does not grow with the folder.",
            "",
        ]
    if "java" in result:
        java = result["java"]
        lines += [
            "The app's engine on a JVM of "
            f"{java['heap_mib']} MB of heap, one thread, ms a photo (wall time, load average",
            f"{java['device']['load_average_1m']}); each file is opened and read once. "
            "`javax.imageio` decodes at full size, where Android's",
            "decoder reduces as it decodes. A server's JVM, not a phone. Re-run:",
            "`python -m benchmarks.java_indexing`.",
            "",
            stages_table(java["kinds"]),
            "",
        ]
    return lines


def draw(result: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = result["kinds"]
    names = [f"{kind['kind']}\n{processor_of(kind['device'])}" for kind in kinds]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(14, 1.5 + 0.8 * len(kinds)), sharey=True, layout="constrained"
    )
    for row, kind in enumerate(kinds):
        ms = kind["stages_ms"]
        start, whole = 0.0, sum(ms.values())
        for number, stage in enumerate(STAGES):
            share = 100 * ms[stage] / whole
            left.barh(row, share, left=start, color=f"C{number}", label=STAGES[stage])
            if share > 6:
                left.text(
                    start + share / 2, row, f"{ms[stage]:.1f}", ha="center", va="center", color="w"
                )
            start += share
    left.set(title="Where the time goes: % of a photo's, and ms", xlim=(0, 100))
    left.set_yticks(range(len(kinds)), names)
    left.invert_yaxis()
    handles, labels = left.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    left.legend(once.values(), once.keys(), ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    shown = ("ours", *PEERS)
    for number, name in enumerate(shown):
        rates = [kind["systems"].get(name, {}).get("photos_per_s") or 0 for kind in kinds]
        at = [row + 0.2 * (number - 1.5) for row in range(len(kinds))]
        right.barh(at, rates, 0.19, label="mcad-mobile index" if name == "ours" else name)
    for row, kind in enumerate(kinds):
        bound = kind["bound_photos_per_s"]
        right.vlines(bound, row - 0.4, row + 0.4, "k", "--", label="bound" if row == 0 else None)
    right.set(title="Photos a second, all cores", xscale="log")
    right.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    figure.savefig(PICTURE, dpi=90)


if __name__ == "__main__":
    found = stored()
    assert found is not None, "run indexing.py first"
    draw(found)
