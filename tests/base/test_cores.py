"""Cores: how many this process may use, which it is pinned to, and how long it waits for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcad_mobile.base import machine
from mcad_mobile.base.machine import allowed_cores, pin
from mcad_mobile.errors import BenchError


def test_the_affinity_counts() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from mcad_mobile.base.machine import allowed_cores; print(allowed_cores())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("150000 100000", 2), ("50000 100000", 1), ("800000 100000", 4), ("max 100000", 4), ("", 4)],
)
def test_a_containers_share_counts(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 7})
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    assert allowed_cores(file) == cores
    assert allowed_cores(tmp_path / "none") == 4


def test_pin_refuses_more_threads_than_cores_and_says_how_many_there_are() -> None:
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(BenchError, match=f"may use {cores} cores"):
        pin(cores + 1)
    with pytest.raises(BenchError, match="0 threads"):
        pin(0)


def test_pin_takes_the_last_cores() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        assert pin(1) == [max(allowed)]
        assert os.sched_getaffinity(0) == {max(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)


def test_where_nothing_can_be_pinned_all_cores_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert (allowed_cores(Path("none")), pin(3)) == (3, [])
    with pytest.raises(BenchError, match="may use 3 cores") as raised:
        pin(4)
    assert raised.value.hint == "Use from 1 to 3 threads."
    niced: list[int] = []
    monkeypatch.setattr(os, "nice", niced.append)
    for system, expected in (("darwin", []), ("linux", [5])):
        monkeypatch.setattr(machine.sys, "platform", system)
        machine.lower_priority()
        assert niced == expected


def test_a_processor_is_described_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = "sse4_1 avx2 avx512f avx512_vnni avx_vnni avx512_bf16 amx_int8 amx_bf16"
    intel = f"processor\t: 0\nmodel name\t: Intel Xeon\nflags\t\t: {flags} fpu\n"
    arm = "CPU part\t: 0xd40\nFeatures\t: asimd asimddp i8mm bf16 sve\n"
    told = {
        intel: "Intel Xeon, aarch64: SSE4.1, AVX2, AVX-512, AVX-512 VNNI, AVX VNNI, bf16, "
        "AMX int8, AMX bf16",
        intel + "flags : avx2 fpu\n": "Intel Xeon, aarch64: AVX2",
        arm: "0xd40, aarch64: NEON, dot product, i8mm, bf16, SVE",
        "Hardware : Qualcomm\n": "Qualcomm, aarch64: not reported",
        "processor : 0\n": "unknown, aarch64: not reported",
        "": "a chip, aarch64: not reported",
    }
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("platform.processor", lambda: "a chip")
    monkeypatch.setattr(machine, "emulator", lambda: "")
    for cpuinfo, line in told.items():
        monkeypatch.setattr(machine, "cpuinfo", lambda cpuinfo=cpuinfo: cpuinfo)
        assert machine.summary() == line
    monkeypatch.setattr(machine, "emulator", lambda: "qemu-aarch64")
    assert machine.summary() == machine.name() == "aarch64, emulated by qemu-aarch64"
    programs = {"/usr/bin/qemu-aarch64": "qemu-aarch64", "/opt/qemu-user/python3.11": ""}
    assert {path: machine.emulator_among(path) for path in programs} == programs
    file = tmp_path / "schedstat"
    monkeypatch.setattr(machine, "Path", lambda path: file)
    for text, seconds in (("1 2500000000 3", 2.5), ("1", None), ("", None)):
        file.write_text(text)
        assert machine.core_wait_s() == seconds


def test_waiting_for_a_core_is_seen() -> None:
    """Two processes on one core: each waits for about half of the time."""
    code = (
        "import os, sys, time\n"
        "from mcad_mobile.base.machine import core_wait_s\n"
        "os.sched_setaffinity(0, {int(sys.argv[1])})\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "started = time.perf_counter()\n"
        "while time.process_time() < 1.0: pass\n"
        "print(core_wait_s() / (time.perf_counter() - started))\n"
    )
    core = str(max(os.sched_getaffinity(0)))
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", code, core],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in pair:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in pair:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    shares = [float(process.communicate(timeout=60)[0]) for process in pair]
    assert max(shares) > 0.2
