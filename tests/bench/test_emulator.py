"""The emulated phone: what is run, what it is said to be, and what is missing for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mcad_mobile.base import PACKAGE
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices.host import EmulatorDevice, HostLauncher
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where an arm64 system's Python would lie."""
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "python3.13").touch()
    return tmp_path


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In qemu's place: it notes how it is called, and this Python runs what the other would."""
    called, program = tmp_path / "called", tmp_path / "bin" / "qemu-aarch64"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {called}\nexec {sys.executable} -m '
        "mcad_mobile.bench.runner\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return called


def test_the_emulators_embeddings_are_compared(
    bundle: Bundle, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = stand_in(root, monkeypatch)
    ((document,), failures) = EmulatorDevice(root, "cortex-a53").measure_towers(bundle)
    assert failures == []
    assert document["device"] == {
        "kind": "emulator",
        "emulator": "qemu-aarch64",
        "cpu": "emulated Arm cortex-a53",
        "cores": 1,
        "arch": "aarch64",
        "os": "Debian packages for arm64",
        "kernel": "of this computer",
    }
    assert document["latency_ms"] == {}
    assert {rung["status"] for rungs in document["ladder"].values() for rung in rungs} == {"pass"}
    arguments = called.read_text().splitlines()
    assert arguments[:4] == ["-cpu", "cortex-a53", "-L", str(root)]
    assert f"PYTHONHOME={root / 'usr'}" in arguments
    python = str(root / "usr/bin/python3.13")
    assert arguments[-4:] == [python, "-P", "-m", "mcad_mobile.bench.runner"]


def test_the_emulator_tries_only_the_runtime_that_is_asked_for(
    bundle: Bundle, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(root, monkeypatch)
    device = EmulatorDevice(root, "cortex-a53")
    assert device.measure_towers(bundle, "onnx")[1] == []
    with pytest.raises(BenchError, match="has none of this runtime"):
        device.measure_towers(bundle, "litert")


def test_the_arm64_system_lies_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EmulatorDevice().root == tmp_path / "mcad-mobile" / "arm64"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert EmulatorDevice().root == Path("/home/someone/.cache/mcad-mobile/arm64")


def test_the_measured_process_finds_this_package_before_the_users_own(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    environment = HostLauncher(Spec(bundle), Path(), 60).environment
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(PACKAGE.parent), "/of/the/user"]


def test_a_missing_part_of_the_emulator_is_named(
    bundle: Bundle, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(root, monkeypatch)
    with pytest.raises(BenchError, match=r"an arm64 Python in .*/nothing is missing"):
        EmulatorDevice(root / "nothing").measure_towers(bundle)
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(BenchError, match="qemu-aarch64 is missing") as raised:
        EmulatorDevice(root).measure_towers(bundle)
    assert "scripts/setup-root.sh arm64" in raised.value.hint
