"""bench over a real adbd and a real adb server: a Linux board, and an Android phone up to
app_process."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from mcad_mobile.base.machine import Memory
from mcad_mobile.base.progress import silent
from mcad_mobile.bench import measurement
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices import adb
from mcad_mobile.bench.devices.adb import AdbDevice, left_out
from mcad_mobile.bench.devices.adb_facts import Facts, read_health
from mcad_mobile.bench.devices.adb_shell import connect
from mcad_mobile.bench.devices.host import measured_parts
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.native import LIBRARY
from mcad_mobile.errors import BenchError, DeviceLost, RunnerCrashed
from tests.support.adbd import Adbd, on_device
from tests.support.phones import as_phone, quick

STAGES = {"tokenize", "text", "scan", "rescore", "total", "decode", "image"}


def test_board_fills_the_document(board: Adbd, bundle: Bundle) -> None:
    heard: list[str] = []
    document = measurement.bench(bundle, quick(repeats=2), AdbDevice(), progress=heard.append)
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == "mcad-bench/1"
    assert (document["device"]["kind"], document["device"]["system"]) == ("adb", "linux")
    assert document["index"]["photos"] == 500
    assert set(document["latency_ms"]) == set(document["samples_ms"]) == STAGES
    counted = sum(repeat["counted"] for repeat in document["conditions"]["repeats"])
    assert counted >= 1
    assert len(document["samples_ms"]["total"]) == 10 * counted
    assert document["targets"]["memory"]["measured_mib"] == document["memory_mib"]["peak_pss"] > 10
    assert document["ladder"]["text"][0]["status"] == "pass"
    assert document["ladder"]["text"][0]["cosine_min"] > 0.9999
    assert "text tower loaded" in heard
    assert any("sampled from outside" in line for line in document["measured"])
    assert not any("from outside" in line for line in document["not_measured"])
    # The first of the two cores is the faster one.
    assert document["device"]["core_max_mhz"] == {"0": 3200, "1": 1800}
    assert document["conditions"]["pinned_cores"] == [0]
    # Nothing is left running or lying in `run`.
    assert not (board.root / "run").exists()
    assert (board.root / "bundle" / "bundle.json").is_file()


def test_phone_says_what_it_is_and_runs_the_java_command_line(
    phone: Adbd, bundle: Bundle, runner_folder: Path
) -> None:
    phone.stand_in(
        "app_process",
        (phone.bin / "app_process")
        .read_text()
        .replace("exec ", f"cp $(dirname $spec)/scratch/called {on_device(phone.folder)}; exec "),
    )
    document = measurement.bench(bundle, quick(repeats=1), AdbDevice(runner=runner_folder))
    device = document["device"]
    assert device["cpu"] == "samsung SM-S931B (SM8750)"
    assert (device["os"], device["abi"]) == ("Android 15 (API 35)", "arm64-v8a")
    assert not any(phone.serial in str(value) for value in device.values())
    before = document["conditions"]["repeats"][0]["before"]
    assert before == {"thermal_status": 0, "temperature_c": 34.5, "battery_percent": 81}
    called = (phone.folder / "called").read_text().strip().split("|")
    root = "/data/local/tmp/mcad-mobile"
    assert called[:2] == [f"{root}/runner/runner.jar", f"{root}/runner/lib"]
    assert re.search(rf"/ io\.github\.mcadmobile\.runner\.Main {root}/run/spec\.json$", called[2])


def test_capped_clock_is_seen(phone: Adbd, bundle: Bundle, fake_cores: Path) -> None:
    clock = fake_cores / "cpu0" / "cpufreq" / "scaling_max_freq"
    clock.write_text("2100000\n")
    try:
        assert read_health(connect()).capped == {"0": 2100}
    finally:
        clock.write_text("3200000\n")


def test_android_emulator_gets_parity_only(
    phone: Adbd, bundle: Bundle, runner_folder: Path
) -> None:
    as_phone(phone, **{"ro.kernel.qemu": "1"})
    document = measurement.bench(bundle, quick(repeats=1), AdbDevice(runner=runner_folder))
    assert document["ladder"]["text"][0]["status"] == "pass"
    assert document["device"]["emulator"].startswith("Android Emulator")
    assert document["latency_ms"] == document["samples_ms"] == {}
    assert document["memory_mib"] == {"peak_pss": None, "peak_rss": None, "steps": []}
    assert document["targets"]["search"]["pass"] is None


def test_a_board_that_allows_no_pinning_says_so() -> None:
    measured = {
        "conditions": {"pinned_cores": []},
        "memory_mib": {"samples": 3},
        "indexing": {"photos": 2},
    }
    assert left_out(measured, fastest=False) == [
        "Pinned cores: the device does not report its clocks or does not allow pinning"
    ]
    assert left_out(measured, fastest=True) == []
    nothing = {"memory_mib": {"samples": 0}, "indexing": {"unsupported": "it has no decoder"}}
    nothing["conditions"] = {"pinned_cores": [7]}
    assert [text.partition(":")[0] for text in left_out(nothing, fastest=False)] == [
        *("The fastest cores", "Memory from outside the process", "Indexing"),
    ]


def test_what_was_timed_is_told_with_its_number(bundle: Bundle) -> None:
    spec = Spec(bundle, searches=30)

    def parts(counted: list[bool], samples: int, indexing: dict[str, Any]) -> list[str]:
        repeats = [{"counted": each} for each in counted]
        conditions, memory = {"repeats": repeats}, {"samples": samples}
        measured = {"conditions": conditions, "memory_mib": memory, "indexing": indexing}
        return measured_parts(spec, measured)

    (latency,) = parts([True, False], 0, {"unsupported": "no decoder"})
    assert latency.startswith("Latency of 30 searches, stage by stage, after 100 to warm up")
    latency, memory, index = parts([True, True], 8, {"photos": 5})
    assert latency.startswith("Latency of 30 searches, in each of 2 runs, stage by stage")
    assert memory.endswith("from outside the process, 8 times") and "build of 5 photos" in index


class TableShell:
    """A device that answers from a table: what a script has in it, and the code and text it gives.
    It keeps what was pushed, and the order of what was done."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.done: list[str] = []
        self.files: dict[str, Path] = {}

    def ask(self, script: str) -> tuple[int, str]:
        words = script.split()
        return next((a for name, a in self.answers.items() if name in words), (127, ""))

    def run(self, script: str) -> str:
        return self.answers["find.spec"][1] if "find_spec" in script else ""

    def clean(self) -> None:
        self.done.append("clean")

    def push(self, files: dict[str, Path], progress: object) -> list[str]:
        self.done.append("push")
        self.files = files
        return [*files]

    def push_file(self, path: Path, place: str) -> None:
        self.done.append(place.rpartition("/")[2])


@pytest.fixture
def measured_on(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Any], Any]]:
    """Measures on a device of a table, where a session has figures; returns the document, and what
    starts the runner."""
    (tmp_path / "index").mkdir()
    for name, content in (("a.mcs", b"rows"), ("lock", b""), ("manifest.tmp", b"half")):
        (tmp_path / "index" / name).write_bytes(content)
    photos = (tmp_path / "My Holiday.JPG", tmp_path / "b.png")
    rungs = [replace(bundle.text.rungs[0], runtime=name) for name in ("litert", "onnx")]
    laddered = replace(bundle, text=replace(bundle.text, rungs=tuple(rungs)))
    clocks = {"0": 1800, "5": 3000, "6": 3300}
    launchers: list[Any] = []

    class Figures:
        def __init__(self, launcher: Any, spec: Spec, progress: object) -> None:
            launchers.append(launcher)
            self.pinned = launcher.cores

        def check(self) -> tuple[dict[str, Any], dict[str, str]]:
            return {}, {"numpy": "2"}

        def measure(self, ladder: object) -> dict[str, Any]:
            return {
                "conditions": {"pinned_cores": self.pinned, "repeats": [{"counted": True}]},
                "memory_mib": {"samples": 5},
                "indexing": {"photos": 2},
            }

    def measure(shell: TableShell, device: AdbDevice, **facts: Any) -> tuple[dict[str, Any], Any]:
        about = {"kind": "adb", "cpu": "c", "model": "m", "soc": "", "abi": "arm64-v8a", "os": "o"}
        about |= {"arch": platform.machine()}
        monkeypatch.setattr(adb, "connect", lambda serial: shell)
        monkeypatch.setattr(
            adb, "read_facts", lambda _: Facts(**{**about, "core_max_mhz": clocks, **facts})
        )
        monkeypatch.setattr(adb, "Session", Figures)
        spec = Spec(laddered, tmp_path / "index", (), photos, threads=2)
        return device.measure(spec), launchers[-1]

    return measure


def test_a_board_is_measured_by_the_first_python_that_is_new_enough(
    measured_on: Callable[..., Any],
) -> None:
    modules = '["numpy", "msgspec", "PIL", "onnxruntime"]'
    shell = TableShell(
        python3=(0, "3 10\n"), python3_11=(0, "3 11\n"), find_spec=(0, modules), taskset=(0, "")
    )
    document, launcher = measured_on(shell, AdbDevice(), system="linux")
    assert launcher.command.endswith(" python3.11 -m mcad_mobile.bench.runner")
    assert launcher.cores == [5, 6]
    assert shell.done == ["clean", "push", "clean"]
    pushed = {name for name in shell.files if name.startswith(("index/", "photos/", "runner/"))}
    assert pushed == {
        *("index/a.mcs", "photos/photo-000.jpg", "photos/photo-001.png"),
        *("runner/mcad_mobile.zip", f"runner/{LIBRARY.name}"),
    }
    assert document["device"]["pushed_files"] == len(shell.files)
    assert not any(text.startswith("Pinned cores") for text in document["not_measured"])
    shell.answers["taskset"] = (1, "not allowed")
    document, launcher = measured_on(shell, AdbDevice(), system="linux")
    assert launcher.cores == [] and document["not_measured"][0].startswith("Pinned cores")
    # Kernels of another processor are compiled there, or nothing is searched.
    shell.answers["cc"] = (0, "")
    _, launcher = measured_on(shell, AdbDevice(), system="linux", arch="riscv64")
    assert f"-kernels/{LIBRARY.name} python3.11" in launcher.command
    assert f"runner/{LIBRARY.name}" not in shell.files and "scan.c" in shell.done
    shell.answers["cc"] = (1, "no such header")
    with pytest.raises(BenchError, match="compiled on the board: no such header") as caught:
        measured_on(shell, AdbDevice(), system="linux", arch="riscv64")
    assert "Install a C compiler" in caught.value.hint and shell.done[-1] == "clean"
    shell.answers["find.spec"] = (0, '["numpy", "msgspec", "PIL"]')
    with pytest.raises(BenchError, match=r"python3\.11 lacks ai-edge-litert\."):
        measured_on(shell, AdbDevice(), system="linux")


def test_a_runner_is_pinned_to_the_fastest_cores(measured_on: Callable[..., Any]) -> None:
    """By a mask in hexadecimal, as toybox and util-linux take it."""
    modules = '["numpy", "msgspec", "PIL", "onnxruntime"]'
    shell: Any = TableShell(python3=(0, "3 12\n"), find_spec=(0, modules), taskset=(0, ""))
    _, launcher = measured_on(shell, AdbDevice(), system="linux")
    started: list[str] = []
    shell.command = lambda script: started.append(script) or ["false"]
    probe = SimpleNamespace(memory=lambda pid: Memory(1.0, 2.0), program="")
    shell.probe = lambda: nullcontext(probe)
    shell.state = lambda: "device"
    with pytest.raises(RunnerCrashed):
        launcher.launch({"mode": "search"}, silent)
    assert launcher.cores == [5, 6] and "exec taskset 60 env" in started[0]


@pytest.mark.parametrize(
    ("state", "error"), [("device", RunnerCrashed), ("gone", DeviceLost)], ids=["crash", "lost"]
)
def test_a_run_that_breaks_off_is_a_crash_or_a_lost_device(
    measured_on: Callable[..., Any], state: str, error: type[BenchError]
) -> None:
    """And an emulated process is known by its program, however it ends."""
    modules = '["numpy", "msgspec", "PIL", "onnxruntime"]'
    shell: Any = TableShell(python3=(0, "3 12\n"), find_spec=(0, modules), taskset=(0, ""))
    _, launcher = measured_on(shell, AdbDevice(), system="linux")
    assert launcher.emulator == ""
    program = "/usr/bin/qemu-aarch64"
    probe = SimpleNamespace(memory=lambda pid: Memory(1.0, 2.0), program=program)
    shell.command = lambda script: ["sh", "-c", "exit 3"]
    shell.probe = lambda: nullcontext(probe)
    shell.state = lambda: state
    shell.error = lambda failure: DeviceLost(f"It {failure}.")
    with pytest.raises(error) as caught:
        launcher.launch({"mode": "search"}, silent)
    assert state == "device" or caught.value.message == "It did not finish `search`."
    assert launcher.emulator == "qemu-aarch64"


def test_a_phone_s_runner_finds_its_libraries_and_sends_nothing(
    measured_on: Callable[..., Any], runner_folder: Path
) -> None:
    shell = TableShell(taskset=(0, ""))
    document, launcher = measured_on(shell, AdbDevice(runner=runner_folder), system="android")
    lib = "/data/local/tmp/mcad-mobile/runner/lib"
    assert {
        *("ORT_DISABLE_TELEMETRY=1", f"ADSP_LIBRARY_PATH={lib}", f"LD_LIBRARY_PATH={lib}"),
        *(f"-Djava.library.path={lib}", f"-Donnxruntime.native.path={lib}"),
        f"-Dmcad.search.library={lib}/libmcad_search.so",
    } < {*launcher.command.split()}
    assert {"runner/runner.jar", "runner/lib/libonnxruntime.so"} < {*shell.files}
    assert "The Android app: this is a process of the shell user" in str(document["not_measured"])
