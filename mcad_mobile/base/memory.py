"""Memory of a process, as the kernel accounts for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.errors import MemoryUnavailable

_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Memory:
    """Of one process, in MiB. `rss` counts every resident page whole; `pss` divides a page that
    several processes map by their number. Phones account by PSS, so PSS is what is judged."""

    pss: float
    rss: float


def process_memory(pid: int | None = None) -> Memory:
    """Return the memory of a process now; of this one without `pid`.

    Source: /proc/PID/smaps_rollup (Linux 4.14 and later; Android 10 and later). MemoryUnavailable
    where the system has no such file, ProcessLookupError if the process has ended.
    """
    path = Path("/proc") / ("self" if pid is None else str(pid)) / "smaps_rollup"
    try:
        return parse_smaps_rollup(path.read_text("ascii"))
    except FileNotFoundError as error:
        if pid is not None and Path("/proc/self/smaps_rollup").exists():
            raise ProcessLookupError(f"process {pid} has ended") from error
        raise MemoryUnavailable(
            f"{path} does not exist, so memory cannot be measured.",
            "Measure it on Linux, or on a phone with --device adb.",
        ) from error


def parse_smaps_rollup(text: str) -> Memory:
    """Convert the kernel's "Pss:   1234 kB" lines to MiB. An ended process has none:
    ProcessLookupError."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        pss, rss = (int(fields[name].split()[0]) / _KIB_PER_MIB for name in ("Pss", "Rss"))
    except KeyError as error:
        raise ProcessLookupError("smaps_rollup is empty: the process has ended") from error
    return Memory(pss, rss)
