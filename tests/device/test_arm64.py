"""The arm64 build of ONNX Runtime under qemu-user: the same embeddings, and never a time."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from adbd import Adbd, adbd, on_device
from phones import quick, use

from mcad_mobile.bench import run
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.devices.emulator import EmulatorDevice
from mcad_mobile.bundle import Bundle
from mcad_mobile.errors import BenchError


def test_emulator_that_is_not_set_up_says_how(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="not set up") as caught:
        run.bench_towers(bundle, EmulatorDevice(root=tmp_path))
    assert "scripts/setup-root.sh arm64" in caught.value.hint


@pytest.mark.slow
def test_emulated_towers_give_the_same_embeddings_and_no_time(arm64: Path, bundle: Bundle) -> None:
    (document,), failures = run.bench_towers(bundle, EmulatorDevice(root=arm64))
    assert failures == []
    assert document["device"]["arch"] == "aarch64"
    assert document["device"]["emulator"] == "qemu-aarch64"
    for name in ("image", "text"):
        assert document["ladder"][name][0]["status"] == "pass"
        assert document["ladder"][name][0]["cosine_min"] > 0.99999
    assert document["latency_ms"] == document["samples_ms"] == {}
    assert document["memory_mib"]["peak_pss"] is None
    assert document["targets"]["search"]["pass"] is None
    assert any("emulated time" in item for item in document["not_measured"])


def _emulator() -> str:
    """How the device's shell runs this computer's qemu, which Debian 12 links to its libraries."""
    program = shutil.which("qemu-aarch64")
    assert program is not None
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, timeout=60)
    loader = re.search(r"(/\S*/ld-linux\S*)", told.stdout)
    if loader is None:
        return str(on_device(program))
    folders = {str(on_device(path).parent) for path in re.findall(r"=> (/\S+)", told.stdout)}
    return f"{on_device(loader[1])} --library-path {':'.join(folders)} {on_device(program)}"


@pytest.fixture
def arm64_board(
    arm64: Path, device_system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Adbd]:
    """A board whose python3 and uname are an arm64 system's."""
    with adbd(device_system, tmp_path / "adbd") as device:
        use(device, monkeypatch)
        python = next((arm64 / "usr" / "bin").glob("python3.*[0-9]"))
        device.stand_in(
            "python3",
            f"exec {_emulator()} -cpu cortex-a76 -L {on_device(arm64)} "
            f'-E PYTHONHOME={on_device(arm64)}/usr {on_device(python)} "$@"',
        )
        device.stand_in("uname", "echo aarch64")
        yield device


@pytest.mark.slow
def test_arm64_board_over_adb_is_found_out_to_be_emulated(
    arm64_board: Adbd, bundle: Bundle
) -> None:
    """The lean runner goes to the board as it would to a real one; its time does not count."""
    document = run.bench(bundle, device=AdbDevice(), **quick())
    assert document["device"]["arch"] == "aarch64"
    assert document["device"]["emulator"] == "qemu-aarch64"
    assert document["ladder"]["text"][0]["cosine_min"] > 0.99999
    assert document["latency_ms"] == {}
    assert document["targets"]["memory"]["pass"] is None
