"""Stand-ins that make an adbd look like a phone or a board."""

from __future__ import annotations

import os

import pytest

from mcad_mobile.bench.measurement import Workload
from tests.support.adbd import CHECKOUT, PYTHON, Adbd

PHONE = {
    "ro.build.version.sdk": "35",
    "ro.build.version.release": "15",
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-S931B",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.soc.model": "SM8750",
    "ro.build.fingerprint": "samsung/pa1qxxx/pa1q:15/AP3A/S931B:user/release-keys",
}
# Stands in for the Java runner: the Python one, with the same command line and contract.
APP_PROCESS = f"""
for spec; do :; done
echo "$CLASSPATH|$LD_LIBRARY_PATH|$*" > $(dirname "$spec")/scratch/called
unset LD_LIBRARY_PATH
export PYTHONPATH={CHECKOUT} PYTHONDONTWRITEBYTECODE=1
exec {PYTHON} -m mcad_mobile.bench.runner "$spec"
"""


def as_phone(device: Adbd, **props: str) -> None:
    """Put Android's programs on the device's PATH."""
    listed = "\n".join(f"[{key}]: [{value}]" for key, value in {**PHONE, **props}.items())
    device.stand_in("getprop", f"cat <<'END'\n{listed}\nEND")
    device.stand_in("app_process", APP_PROCESS)
    thermal(device, "Thermal Status: 0")


def thermal(device: Adbd, status: str) -> None:
    """Set what dumpsys reports about heat; `status` may be a shell command that echoes it."""
    echo = status if status.startswith("sh ") else f"echo '{status}'"
    device.stand_in(
        "dumpsys",
        f"if [ $1 = battery ]; then echo '  level: 81'; echo '  temperature: 301'; else {echo}\n"
        "echo 'Temperature{mValue=34.5, mType=3, mName=skin, mStatus=0}'; fi",
    )


def use(device: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the `adb` of this device first on PATH."""
    monkeypatch.setenv("PATH", f"{device.tools}:{os.environ['PATH']}")


def quick(repeats: int | None = None) -> Workload:
    """Return a workload that takes seconds."""
    return Workload(
        synthetic=500,
        searches=10,
        repeats=repeats,
        cool_down_s=0.0,
        decoded_photos=3,
        photo_size=(160, 120),
    )
