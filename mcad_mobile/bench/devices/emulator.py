"""An arm64 processor emulated by qemu-user, to compare a phone's kernels with the float embeddings.
Emulation is about 300 times slower, so nothing is timed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from mcad_mobile.base.package import PACKAGE
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.device import Parts, Spec
from mcad_mobile.bench.devices.host import HostLauncher, emulated_part
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError

_QEMU = "qemu-aarch64"


def default_root() -> Path:
    """The folder in which `scripts/setup-root.sh arm64` installs an arm64 Python by default."""
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
        self, bundle: Bundle, runtime: str | None = None, progress: Progress = silent
    ) -> Parts:
        """See TowerDevice. BenchError if the emulator is not set up, or no rung of a tower gives
        the right embeddings."""
        spec = Spec(bundle, Path(), (), (), runtime=runtime)
        command = tuple(self.command("-m", "mcad_mobile.bench.runner"))
        launcher = HostLauncher(spec, Path(), self.timeout_s, command)
        device = {
            "kind": "emulator",
            "cpu": f"emulated Arm {self.processor}",
            "cores": 1,
            "arch": "aarch64",
            "os": "Debian packages for arm64",
            "kernel": "of this computer",
        }
        return [emulated_part(launcher, device, _QEMU, progress)], []

    def command(self, *arguments: str) -> list[str]:
        """The command that runs the emulated Python with these arguments. BenchError: the emulator
        is not set up."""
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
