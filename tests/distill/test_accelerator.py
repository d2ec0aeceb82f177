"""Memory that training frees is there for its next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Blocks that malloc maps, of 64 MB. Some versions of glibc use some places in turn: past them.
FAULTS = """
import resource, torch
from mcad_mobile.distill.accelerator import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(12):
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_the_kernel_need_not_clear_the_same_pages_again_for_every_step():
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS.format(keep=keep)],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            ).stdout
        )
        for keep in (False, True)
    ]
    assert faults[1] < 10 < faults[0]
