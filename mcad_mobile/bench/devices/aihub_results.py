"""What AI Hub's jobs say, as a device's part of a mcad-bench/1 document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.aihub.client import AiHub, CloudDevice
from mcad_mobile.aihub.jobs import TARGET_RUNTIMES, Job, Outcome
from mcad_mobile.bench.ladder import judge_rung
from mcad_mobile.bench.measure import percentiles
from mcad_mobile.bundle import TOWERS, Bundle, TowerName
from mcad_mobile.errors import AiHubError
from mcad_mobile.versions import tool_versions

_US_PER_MS = 1e3
_BYTES_PER_MIB = 2**20
# What AI Hub compiles a float model to: an NPU's float is half precision.
_COMPILED_PRECISION = {"qnn": "fp16", "litert": "fp32", "onnx": "fp32"}
_STAGES = {"first_load": "load", "inference": "run"}


@dataclass(frozen=True)
class Measured:
    """The rung of a tower that passed: its entry in the ladder, its size, and what AI Hub says."""

    rung: dict[str, Any]
    bytes: int
    jobs: dict[str, str | None]
    profile: dict[str, Any]


class Descent:
    """A tower on its way down the ladder of one device, until a rung passes.

    `rungs`: number of a rung and why it cannot run there, or "". `tried`: what became of those so
    far, as judge_rung says it. `measured`: the one that passed.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: CloudDevice,
        tower: TowerName,
        rungs: Sequence[tuple[int, str]],
    ) -> None:
        self.device = device
        self.tower = tower
        self.rungs = rungs
        self.tried: list[dict[str, Any]] = []
        self.measured: Measured | None = None
        self._bundle = bundle
        self._unread = ""

    @property
    def failure(self) -> str:
        """Why nothing is measured: what AI Hub would not give, or what became of each rung."""
        told = self._unread or (
            "; ".join(
                f"{rung['runtime']} {rung['precision']}: {rung['why']}" for rung in self.tried
            )
            + ". Export for its chip or with another precision, or compile there: --compile qnn."
        )
        return f"{self.device.name}, {self.tower} tower: {told}"

    def next_rung(self) -> int | None:
        """The number of the rung to run now; None if one has passed or none is left."""
        if self.measured or self._unread:
            return None
        for number, why in self.rungs[len(self.tried) :]:
            if not why:
                return number
            self._skip(number, why)
        return None

    def judge(self, hub: AiHub, job: Job, outcome: Outcome) -> None:
        """Record what became of the rung that next_rung() gave. A failed job and wrong embeddings
        lead to the next one; results that AI Hub does not give lead nowhere, since they say nothing
        about the rung."""
        number, _ = self.rungs[len(self.tried)]
        if outcome.failure:
            self._skip(number, outcome.failure, job)
            return
        try:
            profile = hub.profile(outcome.inference)
            ran = {
                "rung": number,
                "loaded": True,
                "provider": "Qualcomm AI Hub",
                "nodes": _nodes(profile),
                "embeddings": self._embeddings(hub, number, job, outcome),
            }
            url = hub.url(outcome.inference)
        except AiHubError as error:
            self._unread = f"{error.what} {error.hint}"
            return
        judged = self._record(judge_rung(self._bundle, self.tower, ran), job)
        if judged["status"] == "pass":
            size = sum(file.stat().st_size for file in job.files)
            jobs = {
                "compile": outcome.compile or None,
                "inference": outcome.inference,
                "url": url,
            }
            self.measured = Measured(judged, size, jobs, profile)

    def _skip(self, number: int, why: str, job: Job | None = None) -> None:
        skipped = {"rung": number, "loaded": False, "why": why}
        self._record(judge_rung(self._bundle, self.tower, skipped), job)

    def _record(self, judged: dict[str, Any], job: Job | None) -> dict[str, Any]:
        if job is not None and job.compile_options is not None:
            judged |= _compiled(job.compile_options)
        self.tried.append(judged)
        return judged

    def _embeddings(
        self, hub: AiHub, number: int, job: Job, outcome: Outcome
    ) -> NDArray[np.float32]:
        stored = hub.output(outcome.inference)
        rung = self._bundle.tower(self.tower).rungs[number]
        if job.compile_options is None and rung.runtime == "litert":
            from mcad_mobile.runtimes.litert import dequantize

            return dequantize(stored, rung.outputs[0])
        return stored.astype(np.float32)


def cloud_document(device: CloudDevice, towers: Mapping[TowerName, Descent]) -> dict[str, Any]:
    """A device's part of the mcad-bench/1 document; a tower of which no rung passed has no
    numbers."""
    passed = {name: towers[name].measured for name in TOWERS}
    measured = {name: found for name, found in passed.items() if found is not None}
    samples = {name: _times(found.profile) for name, found in measured.items()}
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
        "ladder": {name: towers[name].tried for name in TOWERS},
        "runtime": {
            name: {
                "runtime": found.rung["runtime"],
                "precision": found.rung["precision"],
                "bytes": found.bytes,
                "nodes": found.rung["nodes"],
            }
            for name, found in measured.items()
        },
        "jobs": {name: found.jobs for name, found in measured.items()},
        "index": {"photos": None, "bytes_per_photo": None},
        "memory_mib": {
            "peak_pss": None,
            "peak_rss": None,
            "steps": [],
            "towers": {name: _memory(found.profile) for name, found in measured.items()},
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


def _compiled(options: str) -> dict[str, str]:
    """What a model runs as that AI Hub compiled: not what the bundle's rung is."""
    theirs = options.split()[-1]
    (runtime,) = (ours for ours, name in TARGET_RUNTIMES.items() if name == theirs)
    return {"runtime": runtime, "precision": _COMPILED_PRECISION[runtime]}


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
