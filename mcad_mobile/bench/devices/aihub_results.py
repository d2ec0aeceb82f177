"""What AI Hub's jobs say, as a device's part of a mcad-bench/1 document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.aihub.client import AiHub, CloudDevice
from mcad_mobile.aihub.jobs import TARGET_RUNTIMES, Job, Outcome
from mcad_mobile.bench.ladder import judge_ladder
from mcad_mobile.bench.measure import percentiles
from mcad_mobile.bundle import TOWERS, Bundle, Rung, TowerName
from mcad_mobile.errors import BenchError
from mcad_mobile.versions import tool_versions

_US_PER_MS = 1e3
_BYTES_PER_MIB = 2**20
# What AI Hub compiles a float model to: an NPU's float is half precision.
_COMPILED_PRECISION = {"qnn": "fp16", "litert": "fp32", "onnx": "fp32"}
_STAGES = {"first_load": "load", "inference": "run"}


@dataclass(frozen=True)
class Planned:
    """One tower on one device. `skipped`: rungs above it that cannot run there, and why."""

    tower: TowerName
    number: int
    rung: Rung
    job: Job
    skipped: tuple[tuple[int, str], ...] = ()


def cloud_document(
    hub: AiHub, bundle: Bundle, device: CloudDevice, mine: Sequence[tuple[Planned, Outcome]]
) -> dict[str, Any]:
    """A device's part of the mcad-bench/1 document; a tower with wrong vectors has no numbers."""
    profiles = {planned.tower: hub.profile(outcome.inference) for planned, outcome in mine}
    ladder = _ladder(hub, bundle, mine, profiles)
    passed = [name for name in TOWERS if ladder[name][-1]["status"] == "pass"]
    if not passed:
        told = "; ".join(f"{name} tower: {ladder[name][-1]['why']}" for name in TOWERS)
        raise BenchError(
            f"{device.name} gives wrong embeddings, so that no number counts: {told}.",
            "Export again, with another precision or more calibration samples.",
        )
    samples = {name: _times(profiles[name]) for name in passed}
    return {
        "device": {
            "kind": "aihub",
            "model": device.name,
            "soc": device.target.chip if device.target else device.chipset,
            "cpu": f"{device.name} ({device.chipset or 'chip not told'})",
            "os": f"Android {device.os}",
        },
        "tools": tool_versions(("qai-hub",)),
        "conditions": {
            "threads": None,
            "pinned_cores": [],
            "iterations": {name: len(times) for name, times in samples.items()},
            "repeats": [],
        },
        "ladder": ladder,
        "runtime": {
            planned.tower: {
                "runtime": ladder[planned.tower][-1]["runtime"],
                "precision": ladder[planned.tower][-1]["precision"],
                "bytes": sum(file.stat().st_size for file in planned.job.files),
                "nodes": ladder[planned.tower][-1]["nodes"],
            }
            for planned, _ in mine
        },
        "jobs": {
            planned.tower: {
                "compile": outcome.compile or None,
                "inference": outcome.inference,
                "url": hub.url(outcome.inference),
            }
            for planned, outcome in mine
        },
        "index": {"photos": None, "bytes_per_photo": None},
        "memory_mib": {
            "peak_pss": None,
            "peak_rss": None,
            "steps": [],
            "towers": {name: _memory(profiles[name]) for name in passed},
        },
        "samples_ms": samples,
        "latency_ms": {name: percentiles(times) for name, times in samples.items()},
        "indexing": {"unsupported": "AI Hub runs models, not programs"},
        "measured": [
            "Each tower alone on a real phone in Qualcomm's cloud, by AI Hub's own profiler: time "
            "of an inference, memory as the range that it reports, the unit that ran each layer",
            "Embeddings of the bundle's golden inputs, against the float student's",
        ],
        "not_measured": [
            "A search: tokenizing, scanning and re-scoring run on the CPU of a phone, and AI Hub "
            "runs models alone",
            "Running memory of a process that searches",
            "Heat, and what other apps do meanwhile",
        ],
    }


def _ladder(
    hub: AiHub,
    bundle: Bundle,
    mine: Sequence[tuple[Planned, Outcome]],
    profiles: dict[TowerName, dict[str, Any]],
) -> dict[TowerName, list[dict[str, Any]]]:
    checked: dict[str, list[dict[str, Any]]] = {}
    for planned, outcome in mine:
        skipped = [{"rung": number, "loaded": False, "why": why} for number, why in planned.skipped]
        ran = {
            "rung": planned.number,
            "loaded": True,
            "provider": "Qualcomm AI Hub",
            "nodes": _nodes(profiles[planned.tower]),
            "embeddings": _embeddings(hub, planned, outcome),
        }
        checked[planned.tower] = [*skipped, ran]
    ladder = judge_ladder(bundle, {"ladder": checked})
    for planned, _ in mine:
        options = planned.job.compile_options
        if options is not None:
            runtime = {name: ours for ours, name in TARGET_RUNTIMES.items()}[options.split()[-1]]
            ladder[planned.tower][-1] |= {
                "runtime": runtime,
                "precision": _COMPILED_PRECISION[runtime],
            }
    return ladder


def _embeddings(hub: AiHub, planned: Planned, outcome: Outcome) -> NDArray[np.float32]:
    stored = hub.output(outcome.inference)
    if planned.job.compile_options is None and planned.rung.runtime == "litert":
        from mcad_mobile.runtimes.litert import dequantize

        return dequantize(stored, planned.rung.outputs[0])
    return stored.astype(np.float32)


def _times(profile: dict[str, Any]) -> list[float]:
    """Of every inference, ms; of an old profile without them, the one that it estimates."""
    summary = profile["execution_summary"]
    every = summary.get("all_inference_times") or [summary["estimated_inference_time"]]
    return [time / _US_PER_MS for time in every]


def _memory(profile: dict[str, Any]) -> dict[str, list[float] | None]:
    """Peak of the process while it loads and while it runs, each a range in MiB."""
    summary = profile["execution_summary"]
    found: dict[str, list[float] | None] = {}
    for theirs, ours in _STAGES.items():
        bounds = summary.get(f"{theirs}_memory_peak_range")
        told = isinstance(bounds, (tuple, list))
        found[f"{ours}_peak"] = [b / _BYTES_PER_MIB for b in bounds] if told else None
    return found


def _nodes(profile: dict[str, Any]) -> dict[str, int]:
    units = [layer["compute_unit"].lower() for layer in profile["execution_detail"]]
    return {unit: units.count(unit) for unit in ("npu", "gpu", "cpu")}
