"""A phone or a development board over adb."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcad_mobile.base.machine import emulator_among
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.devices.adb_facts import Facts, read_facts, read_health
from mcad_mobile.bench.devices.adb_runners import DeviceRunner, java_runner, python_runner
from mcad_mobile.bench.devices.adb_shell import ROOT, RUN, AdbShell, connect
from mcad_mobile.bench.devices.base import Places, Spec
from mcad_mobile.bench.devices.host import NEVER_MEASURED, counts
from mcad_mobile.bench.repeats import Health
from mcad_mobile.bench.self_test import parity_only
from mcad_mobile.bench.session import Session
from mcad_mobile.bench.watch import Watched, watch
from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BenchError, DeviceLost
from mcad_mobile.export.targets import find_target


@dataclass(frozen=True)
class AdbDevice:
    """The attached device, or the one with `serial`. `force` measures a bundle that was made for
    another chip; `runner` is a folder with a built Java runner, `aars` are Android archives whose
    libraries go into the one that is built; `timeout_s` bounds each process.
    """

    serial: str | None = None
    force: bool = False
    runner: Path | None = None
    aars: tuple[Path, ...] = ()
    timeout_s: float = 1800.0
    name: str = "adb"
    repeats: int = 3
    cool_down_s: float = 15.0

    def check(self, bundle: Bundle) -> None:
        """See Device.check: no device, several, one that is not ready, or another chip."""
        self._connect(bundle)

    def _connect(self, bundle: Bundle) -> tuple[AdbShell, Facts]:
        shell = connect(self.serial)
        facts = read_facts(shell)
        if not self.force:
            check_chip(bundle, facts)
        if not facts.android and (self.runner or self.aars):
            raise BenchError(
                f"{facts.model or 'The device'} runs {facts.os}, which takes no Java runner.",
                "Leave --runner and --aar out: a board is measured by its own Python.",
            )
        return shell, facts

    def measure(self, spec: Spec, progress: Progress = silent) -> dict[str, Any]:
        """See Device.measure. A process that turns out to be emulated is not timed: its document
        has parity only."""
        shell, facts = self._connect(spec.bundle)
        shell.clean()
        with tempfile.TemporaryDirectory(prefix="mcad-bench-") as scratch:
            runner = self._runner(shell, facts, spec, Path(scratch), progress)
            try:
                pushed = shell.push({**_payload(spec), **runner.files}, progress)
                return self._measure(shell, facts, runner, spec, pushed, progress)
            finally:
                with contextlib.suppress(DeviceLost):  # that error is on its way already
                    shell.clean()

    def _runner(
        self, shell: AdbShell, facts: Facts, spec: Spec, scratch: Path, progress: Progress
    ) -> DeviceRunner:
        if facts.android:
            return java_runner(facts, self.runner, self.aars, progress)
        runtimes = [rung.runtime for rung in spec.bundle.text.rungs]
        return python_runner(shell, facts, scratch, runtimes)

    def _measure(
        self,
        shell: AdbShell,
        facts: Facts,
        runner: DeviceRunner,
        spec: Spec,
        pushed: list[str],
        progress: Progress,
    ) -> dict[str, Any]:
        cores = _allowed(shell, facts.fastest_cores(spec.threads))
        launcher = AdbLauncher(
            shell, spec, runner.command, cores, self.timeout_s, emulator=facts.emulator
        )
        session = Session(launcher, spec, progress)
        ladder, tools = session.check()
        about = {"device": {**facts.to_json(), "pushed_files": len(pushed)}, "tools": tools}
        if launcher.emulator:
            return parity_only(spec, about, ladder, emulator=launcher.emulator)
        if runner.cannot_search:
            raise BenchError(
                runner.cannot_search, "Install a C compiler on the board: cc, as of gcc or clang."
            )
        measured = session.measure(ladder)
        return {
            **about,
            **measured,
            "measured": [
                "Memory of a process that only searches, at each step. PSS divides a page among "
                "the processes that map it; RSS counts it whole",
                *counts(spec, measured),
            ],
            "not_measured": [
                *_left_out(measured, fastest=bool(cores)),
                "The Android app: this is a process of the shell user, without an interface"
                if facts.android
                else "Other load: the board did nothing else meanwhile, as far as we know",
                *NEVER_MEASURED,
            ],
        }


@dataclass
class AdbLauncher:
    """Runners on the device, one at a time; `emulator` becomes the name of the program that
    emulates their processor, if one is seen."""

    shell: AdbShell
    spec: Spec
    command: str
    cores: list[int]
    timeout_s: float
    emulator: str = field(default="")

    @property
    def places(self) -> Places:
        return Places(
            bundle=f"{ROOT}/bundle",
            index=f"{ROOT}/index",
            photos=tuple(f"{ROOT}/{name}" for name in _photos(self.spec)),
            scratch=f"{RUN}/scratch",
        )

    def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
        """BenchError if the runner fails, DeviceLost if the device went away meanwhile."""
        self.shell.run(f"rm -rf {RUN} && mkdir -p {RUN}/scratch")
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as given:
            json.dump(document, given)
            given.flush()
            self.shell.push_file(Path(given.name), f"{RUN}/spec.json")
        pinned = f"taskset {core_mask(self.cores)} " if self.cores else ""
        script = f"cd {RUN} && echo $$ > pid && exec {pinned}{self.command} {RUN}/spec.json"
        with self.shell.probe() as probe:
            try:
                return watch(
                    self.shell.command(script),
                    timeout_s=self.timeout_s,
                    sample=probe.memory,
                    progress=progress,
                )
            except BenchError as error:
                if self.shell.state() == "device":
                    raise
                raise self.shell.broken(f"did not finish `{document['mode']}`") from error
            finally:
                self.emulator = emulator_among(probe.program) or self.emulator

    def health(self) -> Health:
        return read_health(self.shell)


def check_chip(bundle: Bundle, facts: Facts) -> None:
    """BenchError if the bundle was made for another chip than the device has, be it one of our
    table or not. A device that does not say which chip it has, or an emulator, which has none, is
    not refused: rungs that do not load, or give wrong embeddings, are left out by the self-test
    anyway."""
    made_for = find_target(bundle.target.id)
    there = facts.targets
    if made_for.family == "cpu" or made_for in there or facts.emulator or not facts.soc:
        return
    chip = " or ".join(f"{target.id} ({target.chip})" for target in there) or facts.soc
    export_for = there[0].id if there else "cpu"
    raise BenchError(
        f"{bundle.directory} was made for {made_for.id} ({made_for.chip}); "
        f"{facts.model or 'this device'} has {chip}.",
        f"mcad-mobile export --target {export_for} --out DIR, or --force to measure the rungs that "
        "run anyway.",
    )


def core_mask(cores: list[int]) -> str:
    """[4, 7] -> "90": what taskset takes, on Android and Linux alike."""
    return f"{sum(1 << core for core in cores):x}"


def _allowed(shell: AdbShell, cores: list[int]) -> list[int]:
    """`cores`, if a process may be pinned to them; none otherwise."""
    if not cores or shell.ask(f"taskset {core_mask(cores)} true")[0]:
        return []
    return cores


def _payload(spec: Spec) -> dict[str, Path]:
    """What goes to the device besides the runner: path under ROOT -> local file."""
    bundle = spec.bundle
    files = {f"bundle/{MANIFEST}": bundle.directory / MANIFEST}
    files |= {f"bundle/{record.path}": bundle.path(record) for record in bundle.files()}
    for path in sorted(spec.index.iterdir()):
        if path.is_file() and path.stat().st_size and path.suffix != ".tmp":  # not the lock
            files[f"index/{path.name}"] = path
    return files | _photos(spec)


def _photos(spec: Spec) -> dict[str, Path]:
    """Numbered: names of people's photos stay here."""
    return {
        f"photos/photo-{number:03d}{path.suffix.lower()}": path
        for number, path in enumerate(spec.photos)
    }


def _left_out(measured: dict[str, Any], *, fastest: bool) -> list[str]:
    """`fastest` says whether the fastest cores were known, and pinned from outside."""
    told = []
    pinned = ", ".join(map(str, measured["conditions"]["pinned_cores"]))
    if not fastest and pinned:
        told.append(
            f"The fastest cores: the device tells no clocks, or has no taskset; core {pinned}, the "
            "last that the runner may use, was pinned instead"
        )
    elif not fastest:
        told.append("Pinned cores: the device tells no clocks or allows no pinning")
    if not measured["memory_mib"]["samples"]:
        told.append("Memory from outside the process: the device does not let it be read")
    if "unsupported" in measured["indexing"]:
        told.append(f"Indexing: {measured['indexing']['unsupported']}")
    return told
