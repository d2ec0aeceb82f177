"""An arm64 processor by qemu-user: do a phone's kernels give the right embeddings? For parity only:
it is about 300 times slower than a processor, and its time and memory are no device's."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcad_mobile.base.package import PACKAGE
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.devices.base import Places, Spec
from mcad_mobile.bench.repeats import Health
from mcad_mobile.bench.self_test import parity_only
from mcad_mobile.bench.session import Session
from mcad_mobile.bench.watch import Watched, watch
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError

_QEMU = "qemu-aarch64"


def default_root() -> Path:
    """Where `scripts/setup-root.sh arm64` puts an arm64 Python, unless told."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mcad-mobile" / "arm64"


@dataclass(frozen=True)
class EmulatorDevice:
    """`root` holds an arm64 system whose Python has our libraries; `processor` is one of qemu's, by
    default Armv8.2 with dot product, as in phones since 2018."""

    root: Path = field(default_factory=default_root)
    processor: str = "cortex-a76"
    timeout_s: float = 1800.0

    def measure_towers(
        self,
        bundle: Bundle,
        runtime: str | None = None,
        progress: Progress = silent,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """See TowerDevice. BenchError if the emulator is not set up, or no rung of a tower gives
        the right embeddings."""
        spec = Spec(bundle, Path(), (), (), runtime=runtime)
        command = self.command("-m", "mcad_mobile.bench.runner")
        launcher = EmulatorLauncher(spec, command, self.timeout_s)
        ladder, tools = Session(launcher, spec, progress).check()
        device = {
            "kind": "emulator",
            "cpu": f"emulated Arm {self.processor}",
            "cores": 1,
            "arch": "aarch64",
            "os": "Debian packages for arm64",
            "kernel": "of this computer",
        }
        about = {"device": device, "tools": tools}
        return [parity_only(spec, about, ladder, emulator=_QEMU)], []

    def command(self, *arguments: str) -> list[str]:
        """That runs its Python with these arguments. BenchError if the emulator is not set up."""
        qemu = shutil.which(_QEMU)
        python = next(iter(sorted((self.root / "usr" / "bin").glob("python3.*[0-9]"))), None)
        if qemu is None or python is None:
            missing = _QEMU if qemu is None else f"an arm64 Python in {self.root}"
            raise BenchError(
                f"The emulator is not set up: {missing} is missing.",
                "On Debian or Ubuntu: apt install qemu-user, then, in a checkout of mcad-mobile, "
                "scripts/setup-root.sh arm64.",
            )
        package = PACKAGE.parent
        environment = ["-E", f"PYTHONPATH={package}", "-E", f"PYTHONHOME={self.root / 'usr'}"]
        emulated = [qemu, "-cpu", self.processor, "-L", str(self.root), *environment, str(python)]
        return [*emulated, *arguments]


@dataclass(frozen=True)
class EmulatorLauncher:
    spec: Spec
    command: list[str]
    timeout_s: float

    @property
    def places(self) -> Places:
        return Places(str(self.spec.bundle.directory.resolve()), "", (), "")

    def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
        given = json.dumps(document)
        return watch(self.command, given, timeout_s=self.timeout_s, progress=progress)

    def health(self) -> Health:
        return Health()
