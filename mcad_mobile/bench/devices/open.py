"""`--device` by its name."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.bench.devices.base import Device
from mcad_mobile.errors import BenchError


def open_device(name: str, *, force: bool = False, runner: Path | None = None) -> Device:
    """ "host", "adb" or "adb:SERIAL". BenchError for another name. `force` and `runner` are for
    adb: see AdbDevice."""
    kind, _, which = name.partition(":")
    if name == "host":
        from mcad_mobile.bench.devices.host import HostDevice

        return HostDevice()
    if kind == "adb":
        from mcad_mobile.bench.devices.adb import AdbDevice

        return AdbDevice(serial=which or None, force=force, runner=runner)
    raise BenchError(
        f"No device is called {name!r}.",
        "Use host, adb, or adb:SERIAL (`adb devices` lists them).",
    )
