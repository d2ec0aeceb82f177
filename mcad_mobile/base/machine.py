"""The machine: its processor, the cores that this process may use, and memory. No numpy, which old
processors cannot load."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mcad_mobile.errors import BenchError, MemoryUnavailable

_M_MMAP_THRESHOLD = -3  # malloc.h
# Instruction sets that affect a tower's speed: Linux's names and common ones
_INSTRUCTION_SETS = {
    "sse4_1": "SSE4.1",
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx512_bf16": "bf16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "SVE",
}


def instruction_sets(cpuinfo: str) -> list[str]:
    """Return the instruction sets in our table that /proc/cpuinfo lists for every core."""
    cores = []
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            cores.append(set(value.split()))
    common = set.intersection(*cores) if cores else set()
    return [name for flag, name in _INSTRUCTION_SETS.items() if flag in common]


def model(cpuinfo: str) -> str:
    """Return the processor's name in /proc/cpuinfo; arm64 kernels print part numbers only."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "CPU part"):
            return value.strip()
    return "unknown"


def cpuinfo() -> str:
    """Read /proc/cpuinfo; "" where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return ""


@functools.cache  # every search asks
def emulator() -> str:
    """Return the program that emulates this process's processor ("qemu-aarch64"), or ""."""
    # qemu-user makes /proc/self/exe name the emulated program. A name relative to a folder
    # reaches the kernel unchanged (linux-user/syscall.c, readlinkat), which names qemu itself.
    with suppress(OSError):
        folder = os.open("/proc/self", os.O_RDONLY)
        try:
            return emulator_among(os.readlink("exe", dir_fd=folder))
        finally:
            os.close(folder)
    return ""


def emulator_among(program: str) -> str:
    """Return the name of the program at this path if it emulates processors, else ""."""
    name = PurePath(program).name
    return name if name.startswith("qemu-") else ""


def name() -> str:
    """Return the name of this machine's processor, or of the program that emulates it."""
    import platform  # a measured process does not need it

    if by := emulator():
        return f"{platform.machine()}, emulated by {by}"
    info = cpuinfo()
    return model(info) if info else platform.processor() or "unknown"


def summary() -> str:
    """Describe this machine's processor in a line: "Intel Xeon, x86_64: SSE4.1, AVX2"."""
    import platform

    if emulator():
        return name()
    sets = ", ".join(instruction_sets(cpuinfo())) or "not reported"
    return f"{name()}, {platform.machine()}: {sets}"


def allowed_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may use: those of its affinity, but at most its
    container's CPU quota (`quota`: its cpu.max), rounded up; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    try:
        share, period = quota.read_text("ascii").split()
        return min(cores, math.ceil(int(share) / int(period)))
    except (OSError, ValueError):  # no control groups, or no limit
        return cores


def lower_priority() -> None:
    """Give this thread a lower priority than the process's others. Only Linux has a niceness
    per thread (setpriority(2)); elsewhere this does nothing."""
    if sys.platform == "linux":
        os.nice(5)


def pin(threads: int) -> list[int]:
    """Pin this process to its last `threads` allowed cores, on phones the fast ones, and return
    them; [] where pinning is unsupported (macOS). BenchError if there are fewer."""
    pins = hasattr(os, "sched_setaffinity")
    allowed = sorted(os.sched_getaffinity(0)) if pins else list(range(os.cpu_count() or 1))
    if not 1 <= threads <= len(allowed):
        raise BenchError(
            f"{threads} threads were asked for; this process may use {len(allowed)} cores.",
            f"Use from 1 to {len(allowed)} threads.",
        )
    if not pins:
        return []
    cores = allowed[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


def core_wait_s(counts: Path = Path("/proc/thread-self/schedstat")) -> float | None:
    """Return the seconds that this thread was ready to run but had no core: the second number of
    `counts`, in ns; None where they are not counted."""
    try:
        return int(counts.read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True)
class Memory:
    """A process's memory in MiB. `pss`, the figure that phones use, divides each shared page by
    the number of processes that map it."""

    pss: float
    rss: float


def process_memory(pid: int | None = None) -> Memory:
    """Return a process's current memory, by default this one's. MemoryUnavailable if the system
    has no smaps_rollup, ProcessLookupError if the process has ended."""
    path = Path("/proc") / ("self" if pid is None else str(pid)) / "smaps_rollup"
    try:
        return parse_smaps_rollup(path.read_text("ascii"))
    except FileNotFoundError as error:
        if pid is not None and Path("/proc/self/smaps_rollup").exists():
            raise ProcessLookupError(f"process {pid} has ended") from error
        raise MemoryUnavailable(
            f"{path} does not exist, so memory cannot be measured.",
            "Measure it on Linux, or on a phone over adb.",
        ) from error


def parse_smaps_rollup(text: str) -> Memory:
    """Convert the kernel's "Pss:   1234 kB" lines to MiB. ProcessLookupError without them: the
    process has ended."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        pss, rss = (int(fields[name].split()[0]) / 1024 for name in ("Pss", "Rss"))
    except KeyError as error:
        raise ProcessLookupError("smaps_rollup is empty: the process has ended") from error
    return Memory(pss, rss)


def device_facts() -> dict[str, Any]:
    """Return the document's "device" for this host; None where the system does not report a fact.
    An emulated processor's /proc/cpuinfo is not read, since it may describe another one."""
    import platform

    by = emulator()
    info = "" if by else cpuinfo()
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    return {
        "kind": "host",
        "cpu": model(info) if info else platform.processor() or platform.machine(),
        **({"emulator": by} if by else {}),
        "instruction_sets": instruction_sets(info),
        "cores": os.cpu_count() or 1,
        "arch": platform.machine(),
        "memory_mib": _memory_mib(),
        "os": system,
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


def return_large_blocks() -> None:
    """Give blocks of 4 MiB or more back to the system when they are freed. Else glibc raises this
    limit, and keeps the memory of the largest photo."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
