"""Open the device that `--device` names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.base import machine
from mcad_mobile.bench.device import Device, TowerDevice
from mcad_mobile.errors import BenchError


@dataclass(frozen=True)
class DeviceOptions:
    """Options of the devices that use them: see AdbDevice and AiHubDevice."""

    ledger: Path
    compile_to: str | None = None
    force: bool = False
    runner: Path | None = None
    aars: tuple[Path, ...] = ()


def open_device(name: str, options: DeviceOptions) -> Device:
    """Open "host", "adb" or "adb:SERIAL". BenchError: there is no such device."""
    kind, _, serial = name.partition(":")
    if name == "host":
        from mcad_mobile.bench.devices.host import HostDevice

        return HostDevice()
    if kind == "adb":
        from mcad_mobile.bench.devices.adb import AdbDevice

        return AdbDevice(serial or None, options.force, options.runner, options.aars)
    raise BenchError(
        f"No device is called {name!r}.",
        "Use host, adb, adb:SERIAL (`adb devices` lists them), aihub:PHONE, or emulator.",
    )


def open_tower_device(name: str, options: DeviceOptions) -> TowerDevice | None:
    """Open "emulator", "aihub:PHONE,PHONE", or "host" if its processor is emulated. Return None for
    the name of a device that runs whole searches."""
    kind, _, names = name.partition(":")
    if name == "host" and machine.emulator():
        from mcad_mobile.bench.devices.host import EmulatedHost

        return EmulatedHost()
    if name == "emulator":
        from mcad_mobile.bench.devices.emulator import EmulatorDevice

        return EmulatorDevice()
    if kind != "aihub":
        return None
    from mcad_mobile.bench.devices.aihub import AiHubDevice

    phones = tuple(filter(None, (phone.strip() for phone in names.split(","))))
    if not phones:
        raise BenchError(
            "No phone of AI Hub is named.",
            'Name one or more: --device aihub:"Samsung Galaxy S25" '
            "(`qai-hub list-devices` lists them).",
        )
    return AiHubDevice(phones, options.ledger, options.compile_to, options.force)
