"""How many cores this process may use, which are often fewer than the machine has."""

from __future__ import annotations

import math
import os
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
