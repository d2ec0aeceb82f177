"""What a measurement is made of: memory of a process, percentiles, facts about this machine.

Imports nothing heavy: the first thing that a measured process loads must not weigh on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcad_mobile.base import machine
from mcad_mobile.errors import BenchError, MemoryNotTold

PERCENTILES = (50, 90, 99)
_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Memory:
    """Of one process, in MiB. `rss` counts every resident page whole; `pss` divides a page that
    several processes map by their number. Phones account by PSS, so PSS is what is judged."""

    pss: float
    rss: float


def memory(pid: int | None = None) -> Memory:
    """Memory of a process now; of this one without `pid`.

    Source: /proc/PID/smaps_rollup (Linux 4.14 and later; Android 10 and later). MemoryNotTold
    where the system has no such file, ProcessLookupError if the process has ended.
    """
    path = Path("/proc") / ("self" if pid is None else str(pid)) / "smaps_rollup"
    try:
        return parse_smaps_rollup(path.read_text("ascii"))
    except FileNotFoundError as error:
        if pid is not None and Path("/proc/self/smaps_rollup").exists():
            raise ProcessLookupError(f"process {pid} has ended") from error
        raise MemoryNotTold(
            f"{path} does not exist, so memory cannot be measured.",
            "Measure it on Linux, or on a phone with --device adb.",
        ) from error


def parse_smaps_rollup(text: str) -> Memory:
    """The kernel's "Pss:   1234 kB" lines -> MiB. An ended process has none: ProcessLookupError."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        pss, rss = (int(fields[name].split()[0]) / _KIB_PER_MIB for name in ("Pss", "Rss"))
    except KeyError as error:
        raise ProcessLookupError("smaps_rollup is empty: the process has ended") from error
    return Memory(pss, rss)


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


def pin(threads: int) -> list[int]:
    """Pin this process to its `threads` last allowed cores and return them: the last ones are
    the fast ones of a phone, and seldom take the interrupts of a server. Where a system pins none
    (macOS), return none. BenchError if there are fewer."""
    pins = hasattr(os, "sched_setaffinity")
    allowed = sorted(os.sched_getaffinity(0)) if pins else list(range(os.cpu_count() or 1))
    if not 1 <= threads <= len(allowed):
        raise BenchError(
            f"{threads} threads were asked for; this process may use {len(allowed)} cores.",
            f"Use --threads 1 to {len(allowed)}.",
        )
    if not pins:
        return []
    cores = allowed[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


def device_facts() -> dict[str, Any]:
    """What the numbers depend on, of this host: CPU and its instruction sets, cores, architecture,
    memory (MiB), OS; null where a system does not tell. `emulator`, where one plays the processor:
    what /proc/cpuinfo tells then may be another's."""
    import platform

    emulator = machine.emulator()
    told = "" if emulator else machine.cpuinfo()
    return {
        "kind": "host",
        "cpu": machine.model(told) if told else platform.processor() or platform.machine(),
        **({"emulator": emulator} if emulator else {}),
        "instruction_sets": machine.instruction_sets(told),
        "cores": os.cpu_count() or 1,
        "arch": platform.machine(),
        "memory_mib": _memory_mib(),
        "os": _os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_1m": _load_average(),
    }


def waited_s() -> float | None:
    """Seconds that this thread was ready to run and had no core, since it began; None where that
    is not told. Source: /proc/thread-self/schedstat, second field, ns (Linux, sched-stats.rst)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


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
