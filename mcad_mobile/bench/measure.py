"""Percentiles, and the facts about this machine that measurements depend on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mcad_mobile.base import machine
from mcad_mobile.errors import BenchError

PERCENTILES = (50, 90, 99)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """{"p50", "p90", "p99"} of `values` in their own unit, interpolated linearly between ranks
    (numpy's default). BenchError if there are none."""
    if not values:
        raise BenchError("There are no measurements to take percentiles of.")
    ordered = sorted(values)
    return {f"p{percent}": _at(ordered, percent) for percent in PERCENTILES}


def _at(ordered: Sequence[float], percent: int) -> float:
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def device_facts() -> dict[str, Any]:
    """Facts of this host: CPU, instruction sets, cores, architecture, memory (MiB), OS; None where
    the system does not report them. `emulator` is the program that emulates the processor;
    /proc/cpuinfo may then describe another one."""
    import platform

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
    import platform

    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
