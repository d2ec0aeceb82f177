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
from mcad_mobile.bench.device import Places, Spec
from mcad_mobile.bench.devices.adb_facts import Facts, read_facts, read_health
from mcad_mobile.bench.devices.adb_runners import DeviceRunner, java_runner, python_runner
from mcad_mobile.bench.devices.adb_shell import ROOT, RUN, AdbShell, connect
from mcad_mobile.bench.devices.host import NEVER_MEASURED, measured_parts
from mcad_mobile.bench.repeats import Health
from mcad_mobile.bench.self_test import parity_only
from mcad_mobile.bench.session import Session
from mcad_mobile.bench.watch import Watched, watch
from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BenchError, DeviceLost
from mcad_mobile.export.targets import find_target


@dataclass(frozen=True)
class AdbDevice:
    """The attached device, or the device with `serial`.

    Args:
        force: Measure a bundle that was made for another chip.
        runner: A folder with a built Java runner.
        aars: Android archives whose libraries go into a runner that is built here.
        timeout_s: The longest time that each process may run.
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
        """See Device.check: there is no device, several, it is not ready, or has another chip."""
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
        """See Device.measure. An emulated process is not timed: its document has parity only."""
        shell, facts = self._connect(spec.bundle)
        shell.clean()
        with tempfile.TemporaryDirectory(prefix="mcad-bench-") as scratch:
            runner = self._runner(shell, facts, spec, Path(scratch), progress)
            try:
                pushed = shell.push({**_payload(spec), **runner.files}, progress)
                return self._measure(shell, facts, runner, spec, pushed, progress)
            finally:
                with contextlib.suppress(DeviceLost):  # that error is being raised already
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
                *measured_parts(spec, measured),
            ],
            "not_measured": [
                *left_out(measured, fastest=bool(cores)),
                "The Android app: this is a process of the shell user, without an interface"
                if facts.android
                else "Other load: the board did nothing else meanwhile, as far as we know",
                *NEVER_MEASURED,
            ],
        }


@dataclass
class AdbLauncher:
    """Starts runners on the device, one at a time. `emulator` is the program that emulates their
    processor, once it is seen."""

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
        """See Launcher. DeviceLost: the device went away meanwhile."""
        self.shell.run(f"rm -rf {RUN} && mkdir -p {RUN}/scratch")
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            self.shell.push_file(Path(file.name), f"{RUN}/spec.json")
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
    """Raise BenchError if the bundle was made for another chip than the device's. A device with an
    unknown chip, and an emulator, pass: the self-test leaves out rungs that do not run."""
    made_for = find_target(bundle.target.id)
    targets = facts.targets
    if made_for.family == "cpu" or made_for in targets or facts.emulator or not facts.soc:
        return
    chip = " or ".join(f"{target.id} ({target.chip})" for target in targets) or facts.soc
    export_for = targets[0].id if targets else "cpu"
    raise BenchError(
        f"{bundle.directory} was made for {made_for.id} ({made_for.chip}); "
        f"{facts.model or 'this device'} has {chip}.",
        f"mcad-mobile export --target {export_for} --out DIR, or --force to measure the rungs that "
        "run anyway.",
    )


def core_mask(cores: list[int]) -> str:
    """[4, 7] -> "90", the argument of taskset on Android and Linux."""
    return f"{sum(1 << core for core in cores):x}"


def _allowed(shell: AdbShell, cores: list[int]) -> list[int]:
    """Return `cores` if a process can be pinned to them, else none."""
    if not cores or shell.ask(f"taskset {core_mask(cores)} true")[0]:
        return []
    return cores


def _payload(spec: Spec) -> dict[str, Path]:
    """The files of bundle, index and photos for the device: path under ROOT -> local file."""
    bundle = spec.bundle
    files = {f"bundle/{MANIFEST}": bundle.directory / MANIFEST}
    files |= {f"bundle/{record.path}": bundle.path(record) for record in bundle.files()}
    for path in sorted(spec.index.iterdir()):
        if path.is_file() and path.stat().st_size and path.suffix != ".tmp":  # not the lock
            files[f"index/{path.name}"] = path
    return files | _photos(spec)


def _photos(spec: Spec) -> dict[str, Path]:
    """Photos under numbers, so that no file name leaves this computer."""
    return {
        f"photos/photo-{number:03d}{path.suffix.lower()}": path
        for number, path in enumerate(spec.photos)
    }


def left_out(measured: dict[str, Any], *, fastest: bool) -> list[str]:
    """Sentences on what was not measured. `fastest`: the fastest cores were known and pinned."""
    sentences = []
    pinned = ", ".join(map(str, measured["conditions"]["pinned_cores"]))
    if not fastest and pinned:
        sentences.append(
            f"The fastest cores: the device tells no clocks, or has no taskset; core {pinned}, the "
            "last that the runner may use, was pinned instead"
        )
    elif not fastest:
        sentences.append("Pinned cores: the device tells no clocks or allows no pinning")
    if not measured["memory_mib"]["samples"]:
        sentences.append("Memory from outside the process: the device does not let it be read")
    if "unsupported" in measured["indexing"]:
        sentences.append(f"Indexing: {measured['indexing']['unsupported']}")
    return sentences
