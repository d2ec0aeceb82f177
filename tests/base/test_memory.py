"""Memory of a process, asked for from outside and from within."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcad_mobile.base.machine import Memory, parse_smaps_rollup, process_memory

ALLOCATE = """
import sys
from pathlib import Path
data = bytearray(b"x") * (int(sys.argv[1]) << 20)
print("ready", flush=True)
sys.stdin.readline()
"""


def memory_of_child(mebibytes: int) -> Memory:
    """Memory of a Python process that holds this much, asked for while it waits."""
    command = [sys.executable, "-c", ALLOCATE, str(mebibytes)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        found = process_memory(child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.wait(timeout=30) == 0
    return found


def test_memory_of_a_process_grows_by_what_it_allocates() -> None:
    empty, full = memory_of_child(0), memory_of_child(50)
    assert full.pss - empty.pss == pytest.approx(50, abs=3)
    assert full.rss - empty.rss == pytest.approx(50, abs=3)


def test_pss_is_never_above_rss() -> None:
    own = process_memory()
    assert 0 < own.pss <= own.rss


def test_smaps_rollup_is_read_in_mib() -> None:
    text = "5641-7ffd ---p 00000000 00:00 0    [rollup]\nRss:   2048 kB\nPss:   1536 kB\n"
    assert parse_smaps_rollup(text) == Memory(pss=1.5, rss=2.0)


def test_ended_process_is_told_apart_from_a_system_without_smaps() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait(timeout=30)
    with pytest.raises(ProcessLookupError):
        process_memory(child.pid)
    with pytest.raises(ProcessLookupError):
        parse_smaps_rollup("")
