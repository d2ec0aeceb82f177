"""Which devices adb sees, and which of them to use."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from mcad_mobile.bench.devices.adb_shell import AdbShell
from mcad_mobile.errors import BenchError

_COMMAND_S = 60.0


@dataclass(frozen=True)
class Attached:
    """A line of `adb devices -l`. `state` is "device" when it can be used."""

    serial: str
    state: str
    about: str = ""


def parse_devices(listing: str) -> list[Attached]:
    """What `adb devices -l` prints. "no permissions" is a state of two words."""
    found = []
    for line in listing.splitlines():
        match = re.match(r"(\S+)\s+(no permissions|\S+)\s*(.*)", line)
        if match and not line.startswith(("List of", "*")):
            found.append(Attached(*match.groups()))
    return found


def pick(devices: Iterable[Attached], serial: str | None) -> Attached:
    """The device to use. BenchError: none, several, not the one asked for, or not ready, each
    with what to do about it."""
    attached = list(devices)
    listed = "".join(f"\n    adb:{d.serial}  {d.state}  {d.about}".rstrip() for d in attached)
    if serial is not None:
        for device in attached:
            if device.serial == serial:
                return _ready(device)
        raise BenchError(
            f"No device {serial!r} is attached. adb sees:{listed or ' none.'}",
            "Check the cable and the serial, or `adb connect HOST:PORT` first.",
        )
    if not attached:
        raise BenchError(
            "No device is attached: adb sees none.",
            "Connect a phone with USB debugging turned on (Settings, Developer options), or "
            "`adb connect HOST:PORT`.",
        )
    if len(attached) > 1:
        ready = [device for device in attached if device.state == "device"]
        if len(ready) != 1:
            raise BenchError(
                f"{len(attached)} devices are attached:{listed}",
                "Name one of them: --device adb:SERIAL.",
            )
        return ready[0]
    return _ready(attached[0])


_WHAT_TO_DO = {
    "unauthorized": "Unlock the phone and allow USB debugging from this computer in the dialog.",
    "authorizing": "Wait a moment, and allow USB debugging in the phone's dialog.",
    "offline": "Reconnect the cable, or: adb reconnect offline.",
    "no permissions": "Let your user open USB devices (udev rules, group plugdev), then reconnect.",
    "recovery": "Boot the phone into Android.",
    "sideload": "Boot the phone into Android.",
    "bootloader": "Boot the phone into Android: fastboot reboot.",
}


def _ready(device: Attached) -> Attached:
    if device.state == "device":
        return device
    raise BenchError(
        f"Device {device.serial} is {device.state}.",
        _WHAT_TO_DO.get(device.state, "Reconnect it, and look at `adb devices -l`."),
    )


def connect(serial: str | None = None) -> AdbShell:
    """The attached device, or the one with `serial`. BenchError says what stands in the way."""
    adb = shutil.which("adb")
    if adb is None:
        raise BenchError(
            "adb is not installed.",
            "Install it: `apt install adb`, or Android's platform tools.",
        )
    _run_adb([adb, "start-server"])
    listing = _run_adb([adb, "devices", "-l"])
    return AdbShell(adb, pick(parse_devices(listing), serial).serial)


def _run_adb(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"`{shlex.join(command)}` did not end in {_COMMAND_S:.0f} s.",
            "Restart the server: adb kill-server.",
        ) from error
    if done.returncode:
        raise BenchError(
            f"`{shlex.join(command)}` failed: {(done.stderr or done.stdout).strip()}",
            "Restart the server (adb kill-server), and try again.",
        )
    return done.stdout
