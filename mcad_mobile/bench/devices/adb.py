"""A phone or a development board over adb, measured by the Java runner or by the board's Python."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import shlex
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.android.java_runner import runner_files
from mcad_mobile.base import PACKAGE
from mcad_mobile.base.documents import decode
from mcad_mobile.base.machine import emulator_among
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices.adb_facts import Facts, read_facts, read_health
from mcad_mobile.bench.devices.adb_shell import NOTE_PROCESS, ROOT, RUN, AdbShell, connect
from mcad_mobile.bench.devices.host import NEVER_MEASURED, measured_parts
from mcad_mobile.bench.document import Health
from mcad_mobile.bench.self_test import parity_only
from mcad_mobile.bench.session import Session
from mcad_mobile.bench.watch import Watched, watch
from mcad_mobile.engine.bundle import MANIFEST, Bundle, Rung
from mcad_mobile.engine.native import LIBRARY, LIBRARY_VARIABLE
from mcad_mobile.engine.native.android import COMPILE
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.errors import BenchError, DeviceLost
from mcad_mobile.targets import find_target

_RUNNER = f"{ROOT}/runner"
_PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
_OLDEST_PYTHON = (3, 11)
_ZIP_DATE = (2020, 1, 1, 0, 0, 0)  # always the same, so that an unchanged zip is not pushed again
# The parts of this package that the measured process imports; they need no torch.
_LEAN = (
    *("__init__.py", "errors.py", "base/*.py", "data/*.py", "engine/*.py"),
    *("bench/__init__.py", "bench/runner.py"),
)
_COMPILE = f"cc {COMPILE} -shared"
_MODULES = {"numpy": "numpy", "msgspec": "msgspec", "PIL": "pillow"}


@dataclass(frozen=True)
class AdbDevice:
    """The attached device, or the device with `serial`.

    `force` measures a bundle that was made for another chip. `runner` is a folder with a built Java
    runner; without it, one is built here, with the libraries of the Android archives `aars`.
    `timeout_s` bounds each process.
    """

    serial: str | None = None
    force: bool = False
    runner: Path | None = None
    aars: tuple[Path, ...] = ()
    timeout_s: float = 1800.0
    repeats: int = 3
    cool_down_s: float = 15.0

    def check(self, bundle: Bundle) -> None:
        """See Device.check: no device, several devices, one that is not ready, or another chip."""
        self._connect(bundle)

    def _connect(self, bundle: Bundle) -> tuple[AdbShell, Facts]:
        shell = connect(self.serial)
        facts = read_facts(shell)
        if not self.force:
            check_chip(bundle, facts)
        if facts.system != "android" and (self.runner or self.aars):
            raise BenchError(
                f"{facts.model or 'The device'} runs {facts.os}, which takes no Java runner.",
                "Leave --runner, --aar and --npu out: a board is measured by its own Python.",
            )
        return shell, facts

    def measure(self, spec: Spec, progress: Progress = silent) -> dict[str, Any]:
        """See Device.measure. An emulated process is not timed: its document has parity only."""
        shell, facts = self._connect(spec.bundle)
        shell.clean()
        with tempfile.TemporaryDirectory(prefix="mcad-bench-") as scratch:
            if facts.system == "android":
                runner = _java_runner(facts.abi, self.runner, self.aars, progress)
            else:
                runner = _python_runner(shell, facts, Path(scratch), spec)
            try:
                pushed = shell.push({**_payload(spec), **runner.files}, progress)
                device = {**msgspec.to_builtins(facts), "pushed_files": len(pushed)}
                return self._measure(shell, facts, device, runner, spec, progress)
            finally:
                with contextlib.suppress(DeviceLost):  # that error is being raised already
                    shell.clean()

    def _measure(
        self,
        shell: AdbShell,
        facts: Facts,
        device: dict[str, Any],
        runner: _Runner,
        spec: Spec,
        progress: Progress,
    ) -> dict[str, Any]:
        cores = facts.fastest_cores(spec.threads)
        if cores and shell.ask(f"taskset {_core_mask(cores)} true")[0]:
            cores = []  # the device does not allow pinning
        launcher = _Launcher(
            shell, spec, runner.command, cores, self.timeout_s, facts.emulator or ""
        )
        session = Session(launcher, spec, progress)
        ladder, tools = session.check()
        fields = {"device": device, "tools": tools}
        if launcher.emulator:
            return parity_only(spec, fields, ladder, emulator=launcher.emulator)
        if runner.cannot_search:
            raise BenchError(
                runner.cannot_search, "Install a C compiler on the board: cc, as of gcc or clang."
            )
        measured = session.measure(ladder)
        return {
            **fields,
            **measured,
            "measured": [
                "Memory of a process that only searches, at each step. PSS divides a page among "
                "the processes that map it; RSS counts it whole",
                *measured_parts(spec, measured),
            ],
            "not_measured": [
                *left_out(measured, fastest=bool(cores)),
                "The Android app: this is a process of the shell user, without an interface"
                if facts.system == "android"
                else "Other load: the board did nothing else meanwhile, as far as we know",
                *NEVER_MEASURED,
            ],
        }


@dataclass
class _Launcher:
    """Starts runners on the device, one at a time. `emulator` is the program that emulates their
    processor, once one was seen."""

    shell: AdbShell
    spec: Spec
    command: str
    cores: list[int]
    timeout_s: float
    emulator: str

    @property
    def places(self) -> dict[str, Any]:
        photos = [f"{ROOT}/{name}" for name in _photos(self.spec)]
        places = {"bundle": f"{ROOT}/bundle", "index": f"{ROOT}/index", "scratch": f"{RUN}/scratch"}
        return {**places, "photos": photos}

    def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
        """See Launcher. DeviceLost: the device disconnected."""
        self.shell.run(f"rm -rf {RUN} && mkdir -p {RUN}/scratch")
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            self.shell.push_file(Path(file.name), f"{RUN}/spec.json")
        pinned = f"taskset {_core_mask(self.cores)} " if self.cores else ""
        script = f"cd {RUN} && {NOTE_PROCESS} && exec {pinned}{self.command} {RUN}/spec.json"
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
                raise self.shell.error(f"did not finish `{document['mode']}`") from error
            finally:
                self.emulator = emulator_among(probe.program) or self.emulator

    def health(self) -> Health:
        return read_health(self.shell)


def check_chip(bundle: Bundle, facts: Facts) -> None:
    """Raise BenchError if the bundle was made for another chip. Unknown chips and emulators pass:
    the self-test leaves out rungs that do not run."""
    made_for = find_target(bundle.target.id)
    targets = facts.targets
    fitting = (name for chip in bundle.chips for name in (chip.chip, *(chip.fits or ())))
    fits = not {made_for.chip, *fitting}.isdisjoint(target.chip for target in targets)
    if not made_for.has_npu or fits or facts.emulator or not facts.soc:
        return
    chip = " or ".join(f"{target.id} ({target.chip})" for target in targets) or facts.soc
    export_for = targets[0].id if targets else "cpu"
    raise BenchError(
        f"{bundle.directory} was made for {made_for.id} ({made_for.chip}); "
        f"{facts.model or 'this device'} has {chip}.",
        f"mcad-mobile export --target {export_for} --out DIR, or --force to measure the rungs that "
        "run anyway.",
    )


def _core_mask(cores: list[int]) -> str:
    """[4, 7] -> "90", the argument of taskset on Android and Linux."""
    return f"{sum(1 << core for core in cores):x}"


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
    """Number the photos, so that any file name can be sent."""
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
            f"The fastest cores: the device does not report its clocks or has no taskset, so core "
            f"{pinned}, the last that the runner may use, was pinned"
        )
    elif not fastest:
        sentences.append(
            "Pinned cores: the device does not report its clocks or does not allow pinning"
        )
    if not measured["memory_mib"]["samples"]:
        sentences.append("Memory from outside the process: the device does not let it be read")
    if "unsupported" in measured["indexing"]:
        sentences.append(f"Indexing: {measured['indexing']['unsupported']}")
    return sentences


@dataclass(frozen=True)
class _Runner:
    """`files` go to the device (path under ROOT -> local file); `command` with the path of a spec
    runs there. `cannot_search` says why it cannot search, or is ""."""

    files: dict[str, Path]
    command: str
    cannot_search: str = ""


def _java_runner(
    abi: str, folder: Path | None, aars: Sequence[Path], progress: Progress
) -> _Runner:
    """Return the runner of android_demo/runner, from `folder` or built here."""
    if folder:
        local = _prebuilt(folder, abi)
    else:
        progress(f"building the runner for {abi}")
        local = runner_files(abi, aars, progress)
    lib = f"{_RUNNER}/lib"
    command = [
        "env",
        f"CLASSPATH={_RUNNER}/runner.jar",
        f"LD_LIBRARY_PATH={lib}",
        "ORT_DISABLE_TELEMETRY=1",
        f"ADSP_LIBRARY_PATH={lib}",  # where the NPU's loader looks for its part of QNN
        "app_process",
        f"-Djava.library.path={lib}",
        f"-Donnxruntime.native.path={lib}",
        f"-Dmcad.search.library={lib}/libmcad_search.so",
        f"-Djava.io.tmpdir={RUN}/scratch",
        "/",
        "io.github.mcadmobile.runner.Main",
    ]
    return _Runner({f"runner/{name}": path for name, path in local.items()}, " ".join(command))


def _prebuilt(folder: Path, abi: str) -> dict[str, Path]:
    jar = folder / "runner.jar"
    libraries = sorted((folder / "lib" / abi).glob("*.so"))
    if not jar.is_file() or not libraries:
        missing = jar if not jar.is_file() else folder / "lib" / abi / "*.so"
        raise BenchError(
            f"{folder} holds no runner for {abi}: {missing} is missing.",
            "Leave --runner out to build it, or lay the folder out as docs/bench.md says.",
        )
    return {"runner.jar": jar, **{f"lib/{path.name}": path for path in libraries}}


def _python_runner(shell: AdbShell, facts: Facts, scratch: Path, spec: Spec) -> _Runner:
    """Zip the parts of this package that the board's own Python needs. BenchError: that Python
    lacks a library, or every runtime of the bundle."""
    python = _python(shell)
    _check_libraries(shell, python, spec.bundle.text.rungs)
    archive = scratch / "mcad_mobile.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(PACKAGE.rglob("*.py")):
            name = path.relative_to(PACKAGE).as_posix()
            if any(fnmatchcase(name, pattern) for pattern in _LEAN):
                entry = zipfile.ZipInfo(f"mcad_mobile/{name}", _ZIP_DATE)
                out.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    files = {f"runner/{archive.name}": archive}
    library, cannot_search = f"{_RUNNER}/{LIBRARY.name}", ""
    if facts.arch == platform.machine():
        files[f"runner/{LIBRARY.name}"] = LIBRARY
    else:
        library, cannot_search = _compiled_there(shell)
    command = (
        f"env PYTHONPATH={_RUNNER}/{archive.name} PYTHONDONTWRITEBYTECODE=1 "
        f"{LIBRARY_VARIABLE}={library} {python} -m mcad_mobile.bench.runner"
    )
    return _Runner(files, command, cannot_search)


def _compiled_there(shell: AdbShell) -> tuple[str, str]:
    """Compile the search kernels on a board whose processor is not this computer's. Return the
    library's path on the board, and why there is none, or ""."""
    folder = f"{ROOT}-kernels"  # not in ROOT, where only pushed files stay
    shell.run(f"rm -rf {folder} && mkdir -p {folder}")
    for source in sorted(LIBRARY.parent.glob("*.[ch]")):
        shell.push_file(source, f"{folder}/{source.name}")
    code, printed = shell.ask(f"cd {folder} && {_COMPILE} *.c -o {LIBRARY.name} -lm 2>&1")
    why = f"The search kernels could not be compiled on the board: {printed.strip()[-300:]}"
    return f"{folder}/{LIBRARY.name}", why if code else ""


def _python(shell: AdbShell) -> str:
    """The first Python on the board that is new enough."""
    seen = []
    for name in _PYTHONS:
        code, printed = shell.ask(f"{name} -c 'import sys; print(*sys.version_info[:2])'")
        version = re.search(r"\b(\d{1,3}) (\d{1,3})\s*$", printed)
        if code or version is None:
            continue
        if (int(version[1]), int(version[2])) >= _OLDEST_PYTHON:
            return name
        seen.append(f"{name} is {version[1]}.{version[2]}")
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    raise BenchError(
        f"The board has no Python {oldest} or later ({'; '.join(seen) or 'none at all'}).",
        f"Install one on the board, where adb's shell finds it as {' or '.join(_PYTHONS[:2])}.",
    )


def _check_libraries(shell: AdbShell, python: str, rungs: Sequence[Rung]) -> None:
    runtimes = [runtime for runtime in map(runtime_of, rungs) if runtime.runs_here]
    wanted = {runtime.library.split(".")[0]: runtime.package for runtime in runtimes}
    code = (
        "import importlib.util, json; "
        f"print(json.dumps([m for m in {[*_MODULES, *wanted]!r} if importlib.util.find_spec(m)]))"
    )
    printed = shell.run(f"{python} -c {shlex.quote(code)}")
    listed = printed.strip().rpartition("\n")[2].encode()
    hint = f"On the board, look at: {python} --version"
    found = set(decode(listed, list[str], f"The output of the board's {python}", BenchError, hint))
    missing = [package for module, package in _MODULES.items() if module not in found]
    if wanted and not found & set(wanted):
        missing += list(wanted.values())[:1]
    if missing:
        raise BenchError(
            f"The board's {python} lacks {', '.join(missing)}.",
            f"On the board: {python} -m pip install {' '.join(missing)}",
        )
