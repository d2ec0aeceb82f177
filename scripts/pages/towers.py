"""Sections of docs/benchmarks.md on towers and students."""

from __future__ import annotations

import json

import arm64_instructions
import kernels as kernels_result
import main_job as jobs
import peers as tower_peers
import students as published

from pages.results import RESULTS, made_with, with_instructions


def students() -> list[str]:
    """Published students with random weights, once they have been measured."""
    if not published.RESULT.is_file():
        return []
    result = published.stored()
    measured = result["students"].values()
    machines = sorted({with_instructions(found["device"]) for found in measured})
    made = sorted(
        {made_with(one["date"], one["device"]["os"], one["versions"]) for one in measured}
    )
    return [
        "## Published students",
        "",
        "Architectures of open_clip and transformers with random weights, saved as checkpoints and",
        f"exported for `cpu`, on {'; '.join(machines)}.",
        "Time, memory, bytes and cosine to the float tower are real with them; recall is not",
        "measured. Text towers: four texts one at a time, one thread, each row a process of its",
        "own; bold is what a bundle ships, and ratios are to it. *library*: the text tower as the",
        "library exports it, always 77 tokens long (SigLIP 2: 64), in ONNX Runtime. MobileCLIP2",
        "and SigLIP 2 were trained to see their padding, and read as many in all rows; texts of",
        "the others are as long as they are in ours. Whole search: `bench --synthetic "
        f"{published.PHOTOS}`.",
        "PSS divides what other processes of the machine map too, RSS does not.",
        "",
        published.table(result),
        "",
        published.verdict(result),
        "Why MobileCLIP2-S0 cannot be within 8 ms on one thread here: its padding",
        '([targets.md](targets.md), "What was tried and left").',
        "",
        *published.default_table(result),
        *made,
        "Re-run: `benchmarks/students.py`.",
        "",
    ]


def kernels() -> list[str]:
    """One bundle with and without VNNI, once it has been measured."""
    if not kernels_result.RESULT.is_file():
        return []
    result = json.loads(kernels_result.RESULT.read_text("utf-8"))
    return [
        "## Processors with and without VNNI",
        "",
        f"One `cpu` bundle of the default student on {result['device']['cpu']} "
        f"({', '.join(result['device']['instruction_sets'])}),",
        "and with instruction sets hidden from it: the kernels are those that such a processor",
        "gets, the speed is this one's. Bold: what the engine takes there; `index` takes the",
        "fastest way that is right where the fast 8-bit kernels are wrong. One thread; ways are",
        "timed in turn, in one process. mR is of the student before the one that ships.",
        "",
        kernels_result.as_markdown(result),
        "",
        made_with(result["date"], result["device"]["os"], result["versions"]),
        "Re-run: `benchmarks/kernels.py`.",
        "",
    ]


def main_job() -> list[str]:
    """The main job, on each processor that was at hand."""
    return [
        "## The main job",
        "",
        *(
            line
            for job in reversed(jobs.stored())
            for line in (
                jobs.table(job),
                "",
                made_with(job["date"], job["device"]["os"], job["versions"]),
                "",
            )
        ),
        "Peak PSS and RSS are of the process that searches. Each processor as it was last at",
        "hand. Re-run: `benchmarks/main_job.py`.",
        "",
    ]


def peers() -> list[str]:
    """Both towers in every runtime."""
    machines = jobs.stored(RESULTS / "peers.json")
    return [
        "## The towers and their peers",
        "",
        "The default student's towers in every runtime, one input at a time, one thread, on each",
        "processor that was at hand; and two other architectures with random weights, which do",
        "for time and memory. Bold: what a `cpu` bundle ships first, and what ratios are to.",
        "Cosine: the worst of the golden inputs, against the float student. Texts are given",
        "without padding wherever a runtime takes any number of tokens; LiteRT takes 32. A",
        "`cpu-litert` bundle has LiteRT int8 and ONNX int8 for photos, and `index` takes what is",
        "faster where it runs.",
        "",
        *(
            line
            for towers in reversed(machines)
            for line in (
                f"On {towers['device']['cpu']}:",
                "",
                tower_peers.table(towers),
                "",
                tower_peers.verdict(towers),
                "",
                made_with(towers["date"], towers["device"]["os"], towers["versions"]),
                "",
            )
        ),
        "Re-run: `benchmarks/peers.py`.",
        "",
        *_arm64(),
    ]


def _arm64() -> list[str]:
    """Instructions of an arm64 processor, once they have been counted."""
    if not arm64_instructions.RESULT.is_file():
        return []
    result = json.loads(arm64_instructions.RESULT.read_text("utf-8"))
    return [
        "On arm64, instructions of a runtime's library for one photo (those of libraries that it",
        "calls are left out), counted by an emulator. They are no times: a processor runs several",
        "at once, and waits for memory.",
        "",
        arm64_instructions.table(result),
        "",
        made_with(result["date"], result["emulator"], result["versions"]),
        "Re-run: `benchmarks/arm64_instructions.py`.",
        "",
    ]
