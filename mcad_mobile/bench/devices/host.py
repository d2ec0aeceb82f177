"""This machine as a device, each part measured in a lean process of its own; and an arm64 processor
that qemu-user emulates here, to compare a phone's kernels with the float embeddings."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcad_mobile.base import PACKAGE, machine
from mcad_mobile.base.files import cache_directory
from mcad_mobile.base.machine import device_facts
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.device_protocol import MEMORY_SEARCHES, Parts, Spec
from mcad_mobile.bench.document import Health
from mcad_mobile.bench.self_test import parity_only
from mcad_mobile.bench.session import Session
from mcad_mobile.bench.watch import Watched, watch
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError

_MEMORY = (
    "Memory of a process that only searches, at each step. PSS divides a page among the "
    "processes that map it, the bench itself among them; RSS counts it whole"
)
_NO_MEMORY = "Memory: this system does not report a process's memory, as Linux does in /proc"
NEVER_MEASURED = (
    "The first search after a restart, which reads the index from storage",
    "Energy",
)
_QEMU = "qemu-aarch64"


@dataclass(frozen=True)
class HostDevice:
    """This machine; `timeout_s` bounds each measured process."""

    timeout_s: float = 900.0
    repeats: int = 1
    cool_down_s: float = 0.0

    def check(self, bundle: Bundle) -> None:
        """Raise BenchError if the processor is emulated."""
        if by := machine.emulator():
            raise BenchError(
                f"This computer's processor is emulated by {by}, and emulated time is no device's.",
                "`mcad-mobile bench --device host` compares embeddings alone here.",
            )

    def measure(self, spec: Spec, progress: Progress = silent) -> dict[str, Any]:
        """See Device.measure. The memory peak is the searching process's; indexing has its own."""
        device = device_facts()
        with tempfile.TemporaryDirectory(prefix="mcad-bench-") as scratch:
            session = Session(HostLauncher(spec, Path(scratch), self.timeout_s), spec, progress)
            ladder, tools = session.check()
            measured = session.measure(ladder)
        return {"device": device, "tools": tools, **measured, **told(spec, measured)}


def told(spec: Spec, measured: dict[str, Any]) -> dict[str, list[str]]:
    """The document's "measured" and "not_measured"."""
    memory_known = measured["memory_mib"]["peak_pss"] is not None
    return {
        "measured": [*([_MEMORY] if memory_known else []), *measured_parts(spec, measured)],
        "not_measured": [
            "A phone: these are this machine's numbers, on its CPU",
            "NPU latency: there is no NPU here, and simulated time is never a latency",
            *([] if memory_known else [_NO_MEMORY]),
            *NEVER_MEASURED,
        ],
    }


@dataclass(frozen=True)
class EmulatedHost:
    """This machine with an emulated processor: embeddings are compared, and nothing is timed."""

    timeout_s: float = 1800.0

    def measure_towers(
        self, bundle: Bundle, runtime: str | None = None, progress: Progress = silent
    ) -> Parts:
        """See TowerDevice. BenchError if no rung of a tower gives the right embeddings."""
        launcher = HostLauncher(Spec(bundle, runtime=runtime), Path(), self.timeout_s)
        return _compare_embeddings(launcher, device_facts(), machine.emulator(), progress)


def default_root() -> Path:
    """The folder in which `scripts/setup-root.sh arm64` installs an arm64 Python by default."""
    return cache_directory() / "arm64"


@dataclass(frozen=True)
class EmulatorDevice:
    """`root` holds an arm64 system whose Python has our libraries; `processor` is one of qemu's, by
    default Armv8.2 with dot product, as in phones since 2018. Emulation is about 300 times slower,
    so nothing is timed."""

    root: Path = field(default_factory=default_root)
    processor: str = "cortex-a76"
    timeout_s: float = 1800.0

    def measure_towers(
        self, bundle: Bundle, runtime: str | None = None, progress: Progress = silent
    ) -> Parts:
        """See TowerDevice. BenchError if the emulator is not set up, or no rung of a tower gives
        the right embeddings."""
        command = tuple(self.command("-P", "-m", "mcad_mobile.bench.runner"))
        launcher = HostLauncher(Spec(bundle, runtime=runtime), Path(), self.timeout_s, command)
        device = {
            "kind": "emulator",
            "cpu": f"emulated Arm {self.processor}",
            "cores": 1,
            "arch": "aarch64",
            "os": "Debian packages for arm64",
            "kernel": "of this computer",
        }
        return _compare_embeddings(launcher, device, _QEMU, progress)

    def command(self, *arguments: str) -> list[str]:
        """The command that runs the emulated Python with these arguments. BenchError: the emulator
        is not set up."""
        qemu = shutil.which(_QEMU)
        python = min((self.root / "usr" / "bin").glob("python3.*[0-9]"), default=None)
        if qemu is None or python is None:
            missing = _QEMU if qemu is None else f"an arm64 Python in {self.root}"
            raise BenchError(
                f"The emulator is not set up: {missing} is missing.",
                "On Debian or Ubuntu: apt install qemu-user, then, in a checkout of mcad-mobile, "
                "scripts/setup-root.sh arm64.",
            )
        environment = ["-E", f"PYTHONPATH={PACKAGE.parent}"]
        environment += ["-E", f"PYTHONHOME={self.root / 'usr'}"]
        emulated = [qemu, "-cpu", self.processor, "-L", str(self.root), *environment, str(python)]
        return [*emulated, *arguments]


def _compare_embeddings(
    launcher: HostLauncher, device: dict[str, Any], emulator: str, progress: Progress
) -> Parts:
    ladder, tools = Session(launcher, launcher.spec, progress).check()
    fields = {"device": device, "tools": tools}
    return [parity_only(launcher.spec, fields, ladder, emulator=emulator)], []


def measured_parts(spec: Spec, measured: dict[str, Any]) -> list[str]:
    """Sentences on what was timed, and how often."""
    runs = sum(repeat["counted"] for repeat in measured["conditions"]["repeats"])
    times = "" if runs == 1 else f", in each of {runs} runs"
    parts = [
        f"Latency of {spec.searches} searches{times}, stage by stage, after {MEMORY_SEARCHES} to "
        "warm up"
    ]
    samples = measured["memory_mib"]["samples"]
    if samples:
        parts.append(f"Memory was also sampled from outside the process, {samples} times")
    if "photos" in measured["indexing"]:
        parts.append(
            f"Decoding, image tower and index build of {measured['indexing']['photos']} photos, "
            "in a process of its own"
        )
    if "reading" in measured:
        parts.append(
            f"Decoding {measured['reading']['photos']} photos and reading their text, in a third"
        )
    return parts


def _child_environment() -> dict[str, str]:
    """This process's environment, with this package on the child's path."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@dataclass(frozen=True)
class HostLauncher:
    """Runners as child processes of this one."""

    spec: Spec
    scratch: Path
    timeout_s: float
    # -P: do not import a numpy.py from the user's folder.
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "mcad_mobile.bench.runner")
    environment: dict[str, str] = field(default_factory=_child_environment)

    @property
    def places(self) -> dict[str, Any]:
        return {
            "bundle": str(self.spec.bundle.directory.resolve()),
            "index": str(self.spec.index.resolve()),
            "photos": [str(photo.resolve()) for photo in self.spec.photos],
            "videos": [str(video.resolve()) for video in self.spec.videos],
            "scratch": str(self.scratch),
        }

    def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
        return watch(
            self.command,
            json.dumps(document),
            timeout_s=self.timeout_s,
            progress=progress,
            environment=self.environment,
        )

    def health(self) -> Health:
        return Health()
