"""Cores: how many this process may use, which it is pinned to, and how long it waits for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mcad_mobile.base import machine
from mcad_mobile.base.machine import allowed_cores, pin
from mcad_mobile.errors import BenchError
from tests.support.processes import run_python


def test_the_affinity_counts() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from mcad_mobile.base.machine import allowed_cores; print(allowed_cores())"
    assert run_python("-c", code, check=True).stdout.strip() == "1"


@pytest.mark.parametrize(
    ("quota", "share"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 999), ("", 999)],
)
def test_a_containers_share_counts(quota: str, share: int, tmp_path: Path) -> None:
    allowed = len(os.sched_getaffinity(0))
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    assert allowed_cores(file) == min(allowed, share)
    assert allowed_cores(tmp_path / "none") == allowed


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
    cores = os.cpu_count() or 1
    assert (allowed_cores(Path("none")), pin(cores)) == (cores, [])
    with pytest.raises(BenchError, match=f"may use {cores} cores") as raised:
        pin(cores + 1)
    assert raised.value.hint == f"Use from 1 to {cores} threads."


def test_a_thread_gives_way_to_others() -> None:
    code = "import os; from mcad_mobile.base.machine import lower_priority; lower_priority(); "
    done = run_python("-c", code + "print(os.nice(0))", check=True)
    assert int(done.stdout) == min(os.nice(0) + 5, 19)


def test_a_processor_is_described_by_its_name_and_what_makes_towers_fast() -> None:
    flags = "sse4_1 avx2 avx512f avx512_vnni avx_vnni avx512_bf16 amx_int8 amx_bf16"
    intel = f"processor\t: 0\nmodel name\t: Intel Xeon\nflags\t\t: {flags} fpu\n"
    arm = "CPU part\t: 0xd40\nFeatures\t: asimd asimddp i8mm bf16 sve\n"
    for cpuinfo, name, sets in (
        (intel, "Intel Xeon", "SSE4.1 AVX2 AVX-512 AVX-512_VNNI AVX_VNNI bf16 AMX_int8 AMX_bf16"),
        (intel + "flags : avx2 fpu\n", "Intel Xeon", "AVX2"),
        (arm, "0xd40", "NEON dot_product i8mm bf16 SVE"),
        ("Hardware : Qualcomm\n", "Qualcomm", ""),
        ("processor : 0\n", "unknown", ""),
    ):
        assert machine.model(cpuinfo) == name
        found = machine.instruction_sets(cpuinfo)
        assert found == [part.replace("_", " ") for part in sets.split()]
    assert machine.summary().startswith(machine.name())
    programs = {"/usr/bin/qemu-aarch64": "qemu-aarch64", "/opt/qemu-user/python3.11": ""}
    assert {path: machine.emulator_among(path) for path in programs} == programs


@pytest.mark.parametrize(("text", "seconds"), [("1 2500000000 3", 2.5), ("1", None), ("", None)])
def test_the_wait_for_a_core_is_read(text: str, seconds: float | None, tmp_path: Path) -> None:
    (tmp_path / "schedstat").write_text(text)
    assert machine.core_wait_s(tmp_path / "schedstat") == seconds
