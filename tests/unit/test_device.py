"""Memory that training frees is there for its next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from mcad_mobile.distill.device import keep_freed_memory
if {keep}:
    keep_freed_memory()
torch.ones(1 << 21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(1 << 21)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


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
    assert faults[1] < faults[0] / 10
