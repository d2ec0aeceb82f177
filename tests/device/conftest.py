"""Devices for the tests of this folder, and a small bundle with an index."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import qai_hub.util.session as client_session
from adbd import VENV, Adbd, adbd
from aihub_cloud import Cloud
from pytest_socket import enable_socket, socket_allow_hosts
from tiny_bundle import make_tiny_bundle

from mcad_mobile.bench import samples
from mcad_mobile.bundle import Bundle

PHONE = {
    "ro.build.version.sdk": "35",
    "ro.build.version.release": "15",
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-S931B",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.soc.model": "SM8750",
    "ro.build.fingerprint": "samsung/pa1qxxx/pa1q:15/AP3A/S931B:user/release-keys",
}
# The Java runner's stand-in: the Python one, by the same command line and contract.
APP_PROCESS = f"""
for spec; do :; done
echo "$CLASSPATH|$LD_LIBRARY_PATH|$*" > $(dirname "$spec")/scratch/called
unset LD_LIBRARY_PATH
exec {VENV}/python -m mcad_mobile.bench.runner "$spec"
"""


@pytest.fixture(autouse=True)
def small_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PHOTO_SIZE", (160, 120))
    monkeypatch.setattr("mcad_mobile.bench.run._DECODED_PHOTOS", 3)


@pytest.fixture(scope="session", autouse=True)
def needs_root_and_adbd() -> None:
    """Namespaces take root; where it is not there, these tests skip, but never in CI."""
    missing = [tool for tool in ("adb", "adbd", "unshare", "nsenter") if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        why = f"missing: {', '.join(missing)}" if missing else "not root"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}, and under CI=true nothing may be skipped")
        pytest.skip(f"{why}: scripts/setup-system.sh installs what is needed")


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


def as_phone(device: Adbd, **props: str) -> None:
    """Android's programs on the device's PATH."""
    listed = "\n".join(f"[{key}]: [{value}]" for key, value in {**PHONE, **props}.items())
    device.stand_in("getprop", f"cat <<'END'\n{listed}\nEND")
    device.stand_in("app_process", APP_PROCESS)
    thermal(device, "Thermal Status: 0")


def thermal(device: Adbd, status: str) -> None:
    """What dumpsys says of heat, now; `status` may be a shell command that echoes it."""
    echo = status if status.startswith("sh ") else f"echo '{status}'"
    device.stand_in(
        "dumpsys",
        f"if [ $1 = battery ]; then echo '  level: 81'; echo '  temperature: 301'; else {echo}\n"
        "echo 'Temperature{mValue=34.5, mType=3, mName=skin, mStatus=0}'; fi",
    )


def as_board(device: Adbd) -> None:
    """A Linux board with our libraries in its Python."""
    device.stand_in("python3", f'exec {VENV}/python "$@"')


@pytest.fixture(scope="module")
def runner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out like a built Java runner; the stand-in of app_process does not open it."""
    folder = tmp_path_factory.mktemp("runner")
    (folder / "runner.jar").write_bytes(b"not a jar, but hashed and pushed like one")
    (folder / "lib" / "arm64-v8a").mkdir(parents=True)
    (folder / "lib" / "arm64-v8a" / "libonnxruntime.so").write_bytes(b"\x7fELF" + bytes(5000))
    return folder


@pytest.fixture(scope="module")
def _board(tmp_path_factory: pytest.TempPathFactory, fake_cores: Path) -> Iterator[Adbd]:
    with adbd(tmp_path_factory.mktemp("board") / "adbd", cores=fake_cores) as device:
        as_board(device)
        yield device


@pytest.fixture(scope="module")
def _phone(tmp_path_factory: pytest.TempPathFactory, fake_cores: Path) -> Iterator[Adbd]:
    with adbd(tmp_path_factory.mktemp("phone") / "adbd", cores=fake_cores) as device:
        yield device


@pytest.fixture
def board(_board: Adbd, monkeypatch: pytest.MonkeyPatch) -> Adbd:
    use(_board, monkeypatch)
    as_board(_board)
    return _board


@pytest.fixture
def phone(_phone: Adbd, monkeypatch: pytest.MonkeyPatch) -> Adbd:
    use(_phone, monkeypatch)
    as_phone(_phone)
    return _phone


def use(device: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `adb` that is found from now on sees this device."""
    monkeypatch.setenv("PATH", f"{device.tools}:{os.environ['PATH']}")


def quick(**more: Any) -> dict[str, Any]:
    """Arguments of bench() for a measurement of seconds."""
    return {"synthetic": 500, "searches": 10, "cool_down_s": 0.0, **more}


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
