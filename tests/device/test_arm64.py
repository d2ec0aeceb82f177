"""The arm64 build of ONNX Runtime under qemu-user: the same embeddings, and never a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from adbd import Adbd, adbd
from phones import quick, use

from mcad_mobile.bench import run
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.devices.emulator import EmulatorDevice
from mcad_mobile.bundle import Bundle
from mcad_mobile.errors import BenchError


def test_emulator_that_is_not_set_up_says_how(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="not set up") as caught:
        run.bench_towers(bundle, EmulatorDevice(root=tmp_path))
    assert "scripts/setup-arm64.sh" in caught.value.hint


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


@pytest.fixture
def arm64_board(arm64: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adbd]:
    """A board whose python3 and uname are an arm64 system's."""
    with adbd(tmp_path / "adbd") as device:
        use(device, monkeypatch)
        python = next((arm64 / "usr" / "bin").glob("python3.*[0-9]"))
        device.stand_in(
            "python3",
            f"exec qemu-aarch64 -cpu cortex-a76 -L {arm64} "
            f"-E PYTHONPATH={arm64}/site-packages:$PYTHONPATH -E PYTHONHOME={arm64}/usr "
            f'{python} "$@"',
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
