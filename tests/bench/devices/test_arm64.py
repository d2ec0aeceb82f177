"""Processors that qemu-user plays: the same embeddings as here, and never a time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mcad_mobile.base import machine
from mcad_mobile.bench import measurement
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.devices.host import EmulatorDevice
from mcad_mobile.bench.measurement import Workload
from mcad_mobile.cli.command import app
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError
from tests.support.adbd import Adbd, adbd, on_device
from tests.support.paths import ROOT
from tests.support.phones import quick, use

FACTS = """
import json
from mcad_mobile.base import machine
from mcad_mobile.base.machine import device_facts
print(json.dumps({**device_facts(), "summary": machine.summary()}))
"""


def facts(python: Sequence[object]) -> dict[str, Any]:
    """What this project sees of the machine when `python` runs it."""
    command = [*map(str, python), "-c", FACTS]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_emulated_arm64_is_known_as_one(arm64: Path) -> None:
    python = next((arm64 / "usr" / "bin").glob("python3.*[0-9]"))
    at = ("-L", arm64, "-E", f"PYTHONHOME={arm64}/usr")
    found = facts(["qemu-aarch64", "-cpu", "cortex-a76", *at, python])
    assert found["arch"] == found["cpu"] == "aarch64"  # and not this computer's processor
    assert found["emulator"] == "qemu-aarch64"
    assert found["summary"] == "aarch64, emulated by qemu-aarch64"
    assert found["instruction_sets"] == []


def test_emulated_processor_of_this_kind_is_known_as_one(qemu_x86: str) -> None:
    found = facts([qemu_x86, "-cpu", "Nehalem", Path(sys.executable).resolve()])
    assert found["emulator"] == "qemu-x86_64"


def test_real_processor_is_no_emulated_one() -> None:
    assert "emulator" not in facts([sys.executable])


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "emulator", lambda: "qemu-aarch64")


@pytest.mark.usefixtures("emulated")
def test_bench_on_an_emulated_computer_is_of_embeddings_alone(bundle: Bundle) -> None:
    shown = CliRunner().invoke(app, ["bench", "-b", str(bundle.directory), "--json"])
    assert shown.exit_code == 0, shown.output
    document = json.loads(shown.stdout)
    assert document["device"]["emulator"] == "qemu-aarch64"
    assert {document["ladder"][name][0]["status"] for name in ("image", "text")} == {"pass"}
    assert document["latency_ms"] == document["samples_ms"] == {}
    assert document["memory_mib"]["peak_pss"] is None
    assert document["targets"]["search"]["pass"] is None
    assert any("emulated time" in item for item in document["not_measured"])


@pytest.mark.usefixtures("emulated")
def test_emulated_computer_is_not_timed_from_python_either(bundle: Bundle) -> None:
    with pytest.raises(BenchError, match="emulated by qemu-aarch64"):
        measurement.bench(bundle, Workload(synthetic=100))


@pytest.mark.usefixtures("emulated")
def test_index_and_search_on_an_emulated_computer_tell_no_time_as_real(
    bundle: Bundle, tmp_path: Path
) -> None:
    at = ["-b", str(bundle.directory), "--index", str(tmp_path / "index")]
    photos = str(packaged_photos()[0].parent)
    output = CliRunner().invoke(app, ["index", photos, *at]).stdout
    assert "emulated by qemu-aarch64" in output and "photos/s" not in output
    again = CliRunner().invoke(app, ["index", photos, *at, "--json"])
    assert json.loads(again.stdout)["photos_per_s"] is None
    found = CliRunner().invoke(app, ["search", "a cat", *at, "--json"])
    assert json.loads(found.stdout)["simulated"] is True


def test_emulator_that_is_not_set_up_says_how(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="not set up") as caught:
        measurement.bench_towers(bundle, EmulatorDevice(root=tmp_path))
    assert "scripts/setup-root.sh arm64" in caught.value.hint


@pytest.mark.slow
def test_emulated_towers_give_the_same_embeddings_and_no_time(arm64: Path, bundle: Bundle) -> None:
    (document,), failures = measurement.bench_towers(bundle, EmulatorDevice(root=arm64))
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
    linked = subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=False, timeout=60
    )
    loader = re.search(r"(/\S*/ld-linux\S*)", linked.stdout)
    if loader is None:
        return str(on_device(program))
    folders = {str(on_device(path).parent) for path in re.findall(r"=> (/\S+)", linked.stdout)}
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
    document = measurement.bench(bundle, quick(), AdbDevice())
    assert document["device"]["arch"] == "aarch64"
    assert document["device"]["emulator"] == "qemu-aarch64"
    assert document["ladder"]["text"][0]["cosine_min"] > 0.99999
    assert document["latency_ms"] == {}
    assert document["targets"]["memory"]["pass"] is None
