"""Devices for the tests of this folder, and a small bundle with an index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import qai_hub.util.session as client_session
from pytest_socket import enable_socket, socket_allow_hosts

from mcad_mobile.engine.bundle import Bundle
from tests.bench.devices.aihub_cloud import Cloud
from tests.support.adbd import Adbd, adbd, why_no_adbd
from tests.support.phones import as_phone, use
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.unpacked import unpacked_system


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def fake_cores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cores, the first the faster one, as on some boards; neither is capped."""
    folder = tmp_path_factory.mktemp("cores")
    for number, khz in ((0, 3_200_000), (1, 1_800_000)):
        clock = folder / f"cpu{number}" / "cpufreq"
        clock.mkdir(parents=True)
        (clock / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (clock / "scaling_max_freq").write_text(f"{khz}\n")
    return folder


@pytest.fixture(scope="module")
def runner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out like a built Java runner; the stand-in of app_process does not open it."""
    folder = tmp_path_factory.mktemp("runner")
    (folder / "runner.jar").write_bytes(b"not a jar, but hashed and pushed like one")
    (folder / "lib" / "arm64-v8a").mkdir(parents=True)
    (folder / "lib" / "arm64-v8a" / "libonnxruntime.so").write_bytes(b"\x7fELF" + bytes(5000))
    return folder


@pytest.fixture(scope="session")
def device_system() -> Path:
    """The files of a device: a Debian 13 with adbd, and with a Python that has our libraries."""
    missing = why_no_adbd()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and under CI=true nothing may be skipped")
    if missing:
        pytest.skip(f"{missing}: `scripts/setup-system.sh tests` installs what is needed")
    return unpacked_system("device")


@pytest.fixture(scope="module")
def _device(
    device_system: Path, tmp_path_factory: pytest.TempPathFactory, fake_cores: Path
) -> Iterator[Adbd]:
    with adbd(
        device_system, tmp_path_factory.mktemp("device") / "adbd", cores=fake_cores
    ) as device:
        yield device


@pytest.fixture
def board(_device: Adbd, monkeypatch: pytest.MonkeyPatch) -> Adbd:
    use(_device, monkeypatch)
    _device.bare()
    return _device


@pytest.fixture
def phone(_device: Adbd, monkeypatch: pytest.MonkeyPatch) -> Adbd:
    use(_device, monkeypatch)
    _device.bare()
    as_phone(_device)
    return _device


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Iterator[Cloud]:
    enable_socket()
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    # The client waits between tries; a test need not.
    monkeypatch.setattr(client_session, "MAX_WAIT", 0)
    running = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(running.configure(tmp_path / "client.ini")))
    yield running
    running.close()
