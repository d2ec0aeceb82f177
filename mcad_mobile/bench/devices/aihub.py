"""Phones in Qualcomm AI Hub, which run and profile each tower alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.device_protocol import Parts
from mcad_mobile.bench.document import percentiles
from mcad_mobile.bench.self_test import judge_rung, nothing_timed
from mcad_mobile.engine.bundle import TOWERS, Bundle, Rung, TowerName
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.engine.towers.ladder import golden_inputs
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import AiHubError, BenchError
from mcad_mobile.export.aihub import (
    TARGET_RUNTIMES,
    AiHub,
    CloudDevice,
    Job,
    Outcome,
    Runner,
)
from mcad_mobile.targets import find_target

# The precision of a float model that AI Hub compiled: an NPU computes in half precision.
_COMPILED_PRECISION = {"qnn": "fp16", "litert": "fp32", "onnx": "fp32"}
_STAGES = {"first_load": "load", "inference": "run"}


@dataclass(frozen=True)
class Measured:
    """The rung of a tower that passed: its entry in the ladder, its size, and AI Hub's profile.
    The size of a model that AI Hub compiled is unknown."""

    rung: dict[str, Any]
    bytes: int | None
    jobs: dict[str, str | None]
    profile: dict[str, Any]


class Descent:
    """Tries the `rungs` of a tower on one device (numbers, and why they cannot run there, or "")
    until one passes and is `measured`; `tried` are the rungs judged so far."""

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
        """Why nothing is measured: AI Hub's error, or why each rung failed."""
        failed = (f"{rung['runtime']} {rung['precision']}: {rung['why']}" for rung in self.tried)
        reason = self._unread or (
            f"{'; '.join(failed)}. "
            "Export for its chip or with another precision, or compile there: --compile qnn."
        )
        return f"{self.device.name}, {self.tower} tower: {reason}"

    def next_rung(self) -> int | None:
        """The number of the rung to run now; None if a rung has passed or none is left."""
        if self.measured or self._unread:
            return None
        for number, why in self.rungs[len(self.tried) :]:
            if not why:
                return number
            self._skip(number, why)
        return None

    def record(self, hub: AiHub, job: Job, outcome: Outcome) -> None:
        """Record the outcome of next_rung(). Unreadable results end the descent, as the rung may be
        right; after a failed job or wrong embeddings, the next rung is tried."""
        number, _ = self.rungs[len(self.tried)]
        if outcome.failure:
            self._skip(number, outcome.failure, job)
            return
        try:
            profile = hub.profile(outcome.inference)
            units = [layer["compute_unit"].lower() for layer in profile["execution_detail"]]
            ran = {
                "rung": number,
                "loaded": True,
                "provider": "Qualcomm AI Hub",
                "nodes": {unit: units.count(unit) for unit in ("npu", "gpu", "cpu")},
                "embeddings": self._embeddings(hub, number, job, outcome),
            }
            url = hub.url(outcome.inference)
        except AiHubError as error:
            self._unread = f"{error.message} {error.hint}"
            return
        judged = self._record(judge_rung(self._bundle, self.tower, ran), job)
        if judged["status"] == "pass":
            sent = sum(file.stat().st_size for file in job.files)
            size = sent if job.compile_options is None else None
            jobs = {"compile": outcome.compile or None, "inference": outcome.inference, "url": url}
            self.measured = Measured(judged, size, jobs, profile)

    def _skip(self, number: int, why: str, job: Job | None = None) -> None:
        skipped = {"rung": number, "loaded": False, "why": why}
        self._record(judge_rung(self._bundle, self.tower, skipped), job)

    def _record(self, judged: dict[str, Any], job: Job | None) -> dict[str, Any]:
        if job is not None and job.compile_options is not None:
            # AI Hub compiled another model than the bundle's rung.
            theirs = job.compile_options.split()[-1]
            (runtime,) = (ours for ours, name in TARGET_RUNTIMES.items() if name == theirs)
            judged |= {"runtime": runtime, "precision": _COMPILED_PRECISION[runtime]}
        self.tried.append(judged)
        return judged

    def _embeddings(
        self, hub: AiHub, number: int, job: Job, outcome: Outcome
    ) -> NDArray[np.float32]:
        stored = hub.output(outcome.inference)
        rung = self._bundle.tower(self.tower).rungs[number]
        if job.compile_options is None:
            return runtime_of(rung).real_output(stored, rung.outputs[0])
        return stored.astype(np.float32)


def cloud_document(device: CloudDevice, towers: Mapping[TowerName, Descent]) -> dict[str, Any]:
    """A device's part of the mcad-bench/1 document, with figures of the towers that passed."""
    measured = {name: found for name in TOWERS if (found := towers[name].measured) is not None}
    samples = {name: _times(found.profile) for name, found in measured.items()}
    nothing = nothing_timed("AI Hub runs models, not programs")
    return {
        "device": {
            "kind": "aihub",
            "model": device.name,
            "soc": device.target.chip if device.target else device.chipset,
            "cpu": f"{device.name} ({device.chipset or 'unknown chip'})",
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
        **nothing,
        "memory_mib": {
            **nothing["memory_mib"],
            "towers": {name: _memory(found.profile) for name, found in measured.items()},
        },
        "samples_ms": samples,
        "latency_ms": {name: percentiles(times) for name, times in samples.items()},
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


def _times(profile: dict[str, Any]) -> list[float]:
    """Return the time of every inference in ms; an old profile has only one, an estimate."""
    summary = profile["execution_summary"]
    every = summary.get("all_inference_times") or [summary["estimated_inference_time"]]
    return [microseconds / 1e3 for microseconds in every]


def _memory(profile: dict[str, Any]) -> dict[str, list[float] | None]:
    """The process's peak memory while it loads and while it runs, each a range in MiB."""
    ranges = {
        f"{ours}_peak": profile["execution_summary"].get(f"{theirs}_memory_peak_range")
        for theirs, ours in _STAGES.items()
    }
    return {
        name: [size / 2**20 for size in bounds] if isinstance(bounds, (tuple, list)) else None
        for name, bounds in ranges.items()
    }


@dataclass(frozen=True)
class AiHubDevice:
    """Phones by name, or by chipset ("snapdragon-8-elite").

    `compile_to` compiles the bundle's float ONNX model in AI Hub for this runtime, instead of
    running the bundle's files; `force` runs context binaries on chips that they were not made for.
    """

    names: tuple[str, ...]
    compile_to: str | None = None
    force: bool = False
    poll_s: float = 10.0

    def measure_towers(
        self, bundle: Bundle, runtime: str | None = None, progress: Progress = silent
    ) -> Parts:
        """See TowerDevice. AiHubError: AI Hub cannot be used at all. BenchError: the bundle has
        nothing to run."""
        hub = AiHub()
        progress("asking AI Hub for its devices")
        devices = list(dict.fromkeys(hub.device(name) for name in self.names))
        descents = self._descents(bundle, runtime, devices)
        runner = Runner(hub, poll_s=self.poll_s, progress=progress)
        # All devices at once; in each round, each tower tries its next rung.
        while planned := [
            (descent, self._job(bundle, descent, number))
            for descent in descents
            if (number := descent.next_rung()) is not None
        ]:
            outcomes = runner.run([job for _, job in planned])
            for (descent, job), outcome in zip(planned, outcomes, strict=True):
                progress(f"reading the results of {descent.device.name}")
                descent.record(hub, job, outcome)
        documents = []
        for device in devices:
            of_device = {d.tower: d for d in descents if d.device == device}
            if any(descent.measured for descent in of_device.values()):
                documents.append(cloud_document(device, of_device))
        return documents, [descent.failure for descent in descents if not descent.measured]

    def _descents(
        self, bundle: Bundle, runtime: str | None, devices: Sequence[CloudDevice]
    ) -> list[Descent]:
        return [
            Descent(bundle, device, name, self._rungs(bundle, name, device, runtime))
            for device in devices
            for name in TOWERS
        ]

    def _rungs(
        self, bundle: Bundle, name: TowerName, device: CloudDevice, runtime: str | None
    ) -> list[tuple[int, str]]:
        """The rungs from the top: the number of each, and why it cannot run there, or ""."""
        ladder = list(enumerate(bundle.tower(name).rungs))
        if self.compile_to:
            rungs = [
                (number, "")
                for number, rung in ladder
                if runtime_of(rung).on_any_cpu and rung.precision == "fp32"
            ]
            missing = "float ONNX model to compile from"
            hint = "Use a bundle of `mcad-mobile export --target cpu`."
        else:
            rungs = [
                (number, "" if self.force else _other_chip(bundle, rung, device))
                for number, rung in ladder
                if runtime in (None, rung.runtime)
            ]
            missing = f"rung of runtime {runtime!r}"
            hint = "Leave --runtime out, or compile there: --compile qnn."
        if not rungs:
            raise BenchError(f"{bundle.directory} has no {missing} of the {name} tower.", hint)
        return rungs

    def _job(self, bundle: Bundle, descent: Descent, number: int) -> Job:
        """The job that runs a rung's files on the golden inputs, compiled there if asked for."""
        rung = bundle.tower(descent.tower).rungs[number]
        runtime, golden = runtime_of(rung), split_batch(golden_inputs(bundle, descent.tower))
        samples = [runtime.stored_inputs(sample, rung.inputs) for sample in golden]
        compiled = self.compile_to and f"--target_runtime {TARGET_RUNTIMES[self.compile_to]}"
        return Job(
            f"{bundle.name} {descent.tower}",
            descent.device,
            tuple(bundle.path(record) for record in rung.files),
            {key: [sample[key] for sample in samples] for key in samples[0]},
            compiled,
        )


def _other_chip(bundle: Bundle, rung: Rung, device: CloudDevice) -> str:
    """Why a compiled rung is not for this device, or "". Unknown chips are tried."""
    runtime = runtime_of(rung)
    if runtime.for_one_chip and runtime.name not in TARGET_RUNTIMES:
        return "it is compiled for another vendor's NPU, which Qualcomm's cloud does not run"
    if not runtime.for_one_chip or device.target is None:
        return ""
    made_for = bundle.chip(rung)
    chip = find_target(made_for.id).chip
    if device.target.chip in (chip, *(made_for.fits or ())):
        return ""
    return f"its context binary was made for {chip}, {device.name} has {device.target.chip}"
