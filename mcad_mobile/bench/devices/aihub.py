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
from mcad_mobile.bench.devices.aihub_results import Planned, cloud_document
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
        """The jobs that measure() would submit, without asking AI Hub: names are not checked,
        and every rung is taken to run."""
        devices = [CloudDevice(name) for name in self.names]
        return describe([planned.job for planned in self._plan(bundle, runtime, devices)])

    def measure_towers(
        self,
        bundle: Bundle,
        runtime: str | None = None,
        progress: Progress = lambda step: None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """A mcad-bench/1 part for each device whose jobs all went well, and why the others did
        not. AiHubError if AI Hub cannot be used at all."""
        hub = AiHub()
        progress("asking AI Hub for its devices")
        devices = [hub.device(name) for name in self.names]
        planned = self._plan(bundle, runtime, devices)
        with tempfile.TemporaryDirectory(prefix="mcad-aihub-") as scratch:
            ledger = Ledger(self.ledger, hub.api_url)
            runner = Runner(hub, ledger, Path(scratch), poll_s=self.poll_s, progress=progress)
            outcomes = runner.run([one.job for one in planned])
        documents, failures = [], []
        for device in devices:
            mine = [
                (one, outcome)
                for one, outcome in zip(planned, outcomes, strict=True)
                if one.job.device == device
            ]
            failed = [f"{device.name}, {p.tower} tower: {o.failure}" for p, o in mine if o.failure]
            if failed:
                failures += failed
            else:
                progress(f"reading the results of {device.name}")
                documents.append(cloud_document(hub, bundle, device, mine))
        return documents, failures

    def _plan(
        self, bundle: Bundle, runtime: str | None, devices: Sequence[CloudDevice]
    ) -> list[Planned]:
        return [
            self._compiled(bundle, name, device)
            if self.compile_to
            else self._shipped(bundle, name, device, runtime)
            for device in devices
            for name in TOWERS
        ]

    def _shipped(
        self, bundle: Bundle, name: TowerName, device: CloudDevice, runtime: str | None
    ) -> Planned:
        """The first rung that can run on the device, as the bundle ships it."""
        skipped: list[tuple[int, str]] = []
        for number, rung in enumerate(bundle.tower(name).rungs):
            if runtime not in (None, rung.runtime):
                continue
            why = None if self.force else _other_chip(bundle, rung, device)
            if why is None:
                files = tuple(bundle.path(record) for record in rung.files)
                job = Job(_label(bundle, name), device, files, _golden(bundle, name, rung))
                return Planned(name, number, rung, job, tuple(skipped))
            skipped.append((number, why))
        told = "; ".join(why for _, why in skipped) or f"it has none of runtime {runtime!r}"
        raise BenchError(
            f"No rung of the {name} tower of {bundle.directory} runs on {device.name}: {told}.",
            "Export for that chip, or compile there: --compile qnn.",
        )

    def _compiled(self, bundle: Bundle, name: TowerName, device: CloudDevice) -> Planned:
        """The float ONNX model, compiled there."""
        assert self.compile_to is not None
        for number, rung in enumerate(bundle.tower(name).rungs):
            if (rung.runtime, rung.precision) == ("onnx", "fp32"):
                files = tuple(bundle.path(record) for record in rung.files)
                options = f"--target_runtime {TARGET_RUNTIMES[self.compile_to]}"
                data = _golden(bundle, name, rung)
                job = Job(_label(bundle, name), device, files, data, options)
                return Planned(name, number, rung, job)
        raise BenchError(
            f"{bundle.directory} has no float ONNX model of the {name} tower to compile from.",
            "Use a bundle of `mcad-mobile export --target cpu`.",
        )


def _label(bundle: Bundle, name: TowerName) -> str:
    return f"{bundle.name} {name}"


def _other_chip(bundle: Bundle, rung: Rung, device: CloudDevice) -> str | None:
    """Why a compiled rung is not for this device. A chip that is not in our table is tried."""
    if rung.runtime != "qnn" or device.target is None:
        return None
    made_for = find_target(bundle.target["id"])
    if device.target.id == made_for.id:
        return None
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
