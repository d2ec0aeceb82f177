"""How many cores this process may use, which are often fewer than the machine has, and who goes
first on them."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def allowed_cores(quota: Path = _QUOTA) -> int:
    """Return the cores of this process's affinity (taskset, a cpuset), but no more than a
    container's share of processor time allows, rounded up. At least 1.

    `quota` is cpu.max of the control group: microseconds, or "max", of each period.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    try:
        share, period = quota.read_text("ascii").split()
        return min(cores, max(math.ceil(int(share) / int(period)), 1))
    except (OSError, ValueError):  # no control groups, or no limit
        return cores


def step_back() -> None:
    """Let other threads of this process go before this one and those that it starts. On Linux, a
    thread has a niceness of its own (setpriority(2), C library/kernel differences); elsewhere
    nothing is done."""
    if sys.platform == "linux":
        os.nice(5)
