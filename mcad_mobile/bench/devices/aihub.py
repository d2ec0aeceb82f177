"""Phones in Qualcomm AI Hub: what the towers take there, each alone. No search, no index."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.aihub.client import AiHub, CloudDevice, Dataset
from mcad_mobile.aihub.jobs import (
    TARGET_RUNTIMES,
    Job,
    Ledger,
    Runner,
    describe,
)
from mcad_mobile.bench.devices.aihub_results import Descent, cloud_document
from mcad_mobile.bench.devices.base import Progress
from mcad_mobile.bundle import TOWERS, Bundle, Rung, TowerName
from mcad_mobile.errors import BenchError
from mcad_mobile.runtimes.base import one_by_one
from mcad_mobile.targets import find_target


@dataclass(frozen=True)
class AiHubDevice:
    """Phones by name, or by chipset ("snapdragon-8-elite"). `ledger` remembers what was submitted;
    `compile_to` compiles the bundle's float ONNX model for each phone there, instead of running
    the files of the bundle. `force` runs context binaries on chips that they were not made for."""

    names: tuple[str, ...]
    ledger: Path
    compile_to: str | None = None
    force: bool = False
    poll_s: float = 10.0

    def dry_run(self, bundle: Bundle, runtime: str | None = None) -> list[dict[str, Any]]:
        """The jobs that measure_towers() would submit first, without asking AI Hub: names are not
        checked, and every rung is taken to run and to pass."""
        descents = self._descents(bundle, runtime, [CloudDevice(name) for name in self.names])
        return describe([self._job(bundle, descent, descent.rungs[0][0]) for descent in descents])

    def measure_towers(
        self,
        bundle: Bundle,
        runtime: str | None = None,
        progress: Progress = lambda step: None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """A mcad-bench/1 part for each device on which a rung of a tower passed, and why other
        towers have no numbers. AiHubError if AI Hub cannot be used at all, BenchError if the bundle
        has nothing to run."""
        hub = AiHub()
        progress("asking AI Hub for its devices")
        devices = list(dict.fromkeys(hub.device(name) for name in self.names))
        descents = self._descents(bundle, runtime, devices)
        with tempfile.TemporaryDirectory(prefix="mcad-aihub-") as scratch:
            ledger = Ledger(self.ledger, hub.api_url)
            runner = Runner(hub, ledger, Path(scratch), poll_s=self.poll_s, progress=progress)
            # All devices side by side, each tower one rung further down than the time before.
            while planned := [
                (descent, self._job(bundle, descent, number))
                for descent in descents
                if (number := descent.next_rung()) is not None
            ]:
                outcomes = runner.run([job for _, job in planned])
                for (descent, job), outcome in zip(planned, outcomes, strict=True):
                    progress(f"reading the results of {descent.device.name}")
                    descent.judge(hub, job, outcome)
        documents = []
        for device in devices:
            mine = {d.tower: d for d in descents if d.device == device}
            if any(descent.measured for descent in mine.values()):
                documents.append(cloud_document(device, mine))
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
        """The ladder from the top: number of a rung, and why it cannot run there, or ""."""
        ladder = list(enumerate(bundle.tower(name).rungs))
        if self.compile_to:
            rungs = [
                (number, "")
                for number, rung in ladder
                if (rung.runtime, rung.precision) == ("onnx", "fp32")
            ]
            if not rungs:
                raise BenchError(
                    f"{bundle.directory} has no float ONNX model of the {name} tower to compile "
                    "from.",
                    "Use a bundle of `mcad-mobile export --target cpu`.",
                )
            return rungs
        rungs = [
            (number, "" if self.force else _other_chip(bundle, rung, device))
            for number, rung in ladder
            if runtime in (None, rung.runtime)
        ]
        if not rungs:
            raise BenchError(
                f"{bundle.directory} has no rung of runtime {runtime!r} of the {name} tower.",
                "Leave --runtime out, or compile there: --compile qnn.",
            )
        return rungs

    def _job(self, bundle: Bundle, descent: Descent, number: int) -> Job:
        """A rung's files as the bundle ships them, or to be compiled there, on the golden
        inputs."""
        rung = bundle.tower(descent.tower).rungs[number]
        options = None
        if self.compile_to is not None:
            options = f"--target_runtime {TARGET_RUNTIMES[self.compile_to]}"
        return Job(
            f"{bundle.name} {descent.tower}",
            descent.device,
            tuple(bundle.path(record) for record in rung.files),
            _golden(bundle, descent.tower, rung),
            options,
        )


def _other_chip(bundle: Bundle, rung: Rung, device: CloudDevice) -> str:
    """Why a compiled rung is not for this device, or "". A chip that is not in our table is
    tried."""
    if rung.runtime == "neuropilot":
        return "it is compiled for a Dimensity, and Qualcomm's cloud has none"
    if rung.runtime != "qnn" or device.target is None:
        return ""
    made_for = find_target(bundle.target.id)
    if device.target.id == made_for.id:
        return ""
    return (
        f"its context binary was made for {made_for.chip}, {device.name} has {device.target.chip}"
    )


def _golden(bundle: Bundle, name: TowerName, rung: Rung) -> Dataset:
    """The golden inputs as the rung's file takes them: one array a sample."""
    records = bundle.tower(name).golden.inputs
    inputs = {spec: np.load(bundle.path(records[spec])) for spec in records}
    samples = one_by_one(inputs)
    if rung.runtime == "litert":
        from mcad_mobile.runtimes.litert import signature_arguments

        samples = [signature_arguments(sample, rung.inputs) for sample in samples]
    return {key: [sample[key] for sample in samples] for key in samples[0]}
