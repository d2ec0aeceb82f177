"""Facts about this machine that measurements depend on. No numpy: old processors cannot load it."""

from __future__ import annotations

import os
import platform
from typing import Any

from mcad_mobile.base import machine


def device_facts() -> dict[str, Any]:
    """Return the document's "device" for this host; None where the system does not report a fact.
    An emulated processor's /proc/cpuinfo is not read, since it may describe another one."""
    emulator = machine.emulator()
    cpuinfo = "" if emulator else machine.cpuinfo()
    return {
        "kind": "host",
        "cpu": machine.model(cpuinfo) if cpuinfo else platform.processor() or platform.machine(),
        **({"emulator": emulator} if emulator else {}),
        "instruction_sets": machine.instruction_sets(cpuinfo),
        "cores": os.cpu_count() or 1,
        "arch": platform.machine(),
        "memory_mib": _memory_mib(),
        "os": _os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_1m": _load_average(),
    }


def _memory_mib() -> int | None:
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (OSError, ValueError):
        return None
    return found if found > 0 else None


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # some C libraries read it from /proc, some have none
        return None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
