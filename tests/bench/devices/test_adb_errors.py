"""What can go wrong between here and a phone: each is one clear error, and nothing is left
behind."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.machine import Memory
from mcad_mobile.bench import measurement
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.devices.adb_shell import (
    NOTE_PROCESS,
    ROOT,
    RUN,
    AdbShell,
    AttachedDevice,
    Probe,
    choose_device,
    connect,
    parse_devices,
)
from mcad_mobile.bench.devices.aihub import AiHubDevice
from mcad_mobile.bench.devices.host import HostDevice
from mcad_mobile.bench.measurement import open_device
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError, DeviceLost
from tests.support.adbd import PYTHON, Adbd, adbd, on_device
from tests.support.phones import APP_PROCESS, as_phone, quick, use

LISTING = """List of devices attached
R5CX12ABCDE            device usb:1-2 product:pa1qxxx model:SM_S931B device:pa1q transport_id:3
0123456789             unauthorized usb:1-3 transport_id:4
192.168.1.20:5555      offline transport_id:5
XYZ                    no permissions (user in plugdev group); see [http://...] usb:1-4
"""


def test_every_state_that_adb_lists_is_read() -> None:
    assert [(d.serial, d.state) for d in parse_devices(LISTING)] == [
        ("R5CX12ABCDE", "device"),
        ("0123456789", "unauthorized"),
        ("192.168.1.20:5555", "offline"),
        ("XYZ", "no permissions"),
    ]


def test_the_only_one_that_is_ready_is_used() -> None:
    assert choose_device(parse_devices(LISTING), None).serial == "R5CX12ABCDE"


@pytest.mark.parametrize("code", [0, 1, 2, 127, 255])
def test_a_script_that_fails_on_the_device_is_an_error_with_its_code(
    tmp_path: Path, code: int
) -> None:
    """The device is this computer's shell."""
    adb = tmp_path / "adb"
    adb.write_text('#!/bin/sh\nexec sh -c "$4"\n')
    adb.chmod(0o755)
    shell = AdbShell(str(adb), "serial")
    script = f"echo some words; exit {code}"
    assert shell.ask(script) == (code, "some words\n")
    if code == 0:
        assert shell.run(script) == "some words\n"
        return
    with pytest.raises(BenchError, match=f"ended with code {code}: some words"):
        shell.run(script)


@pytest.mark.parametrize(
    ("serial", "state", "hint"),
    [
        ("0123456789", "unauthorized", "allow USB debugging"),
        ("192.168.1.20:5555", "offline", "adb reconnect offline"),
        ("XYZ", "no permissions", "udev"),
    ],
)
def test_a_device_that_is_not_ready_says_what_to_do(serial: str, state: str, hint: str) -> None:
    with pytest.raises(BenchError, match=f"{serial} is {state}") as caught:
        choose_device(parse_devices(LISTING), serial)
    assert hint in caught.value.hint
    with pytest.raises(BenchError, match=state):
        choose_device([d for d in parse_devices(LISTING) if d.serial == serial], None)


def test_phones_rest_between_three_runs_unless_asked_otherwise() -> None:
    phone = AdbDevice()
    assert (phone.repeats, phone.cool_down_s, phone.serial, phone.force) == (3, 15.0, None, False)
    host = HostDevice()
    assert (host.repeats, host.cool_down_s) == (1, 0.0)


def test_a_device_is_opened_by_its_name() -> None:
    for name, serial in (("adb", None), ("adb:R5CX12ABCDE", "R5CX12ABCDE")):
        assert open_device(name) == AdbDevice(serial)
    given = {"force": True, "runner": Path("runner"), "aars": (Path("q.aar"),)}
    opened = open_device("adb:x", "qnn", **given)
    assert opened == AdbDevice("x", True, Path("runner"), (Path("q.aar"),))
    opened = open_device("aihub: Galaxy S25 ,,S24", "qnn", **given)
    assert opened == AiHubDevice(("Galaxy S25", "S24"), "qnn", True)


@dataclass(frozen=True)
class Listed(AdbShell):
    """A device that has the files `there` (name -> SHA-256), and says by `df` how much room it
    has. It keeps the scripts that it was to run, and the names of the files that it was sent."""

    there: dict[str, str] = field(default_factory=dict)
    df: str = ""
    scripts: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def run(self, script: str, *, timeout_s: float | None = None) -> str:
        self.scripts.append(script)
        if script.startswith("df -k "):
            return self.df
        if "sha256sum" in script:
            return "".join(f"{digest}  ./{name}\n" for name, digest in self.there.items())
        return ""

    def push_file(self, path: Path, place: str) -> None:
        self.sent.append(place.removeprefix(f"{ROOT}/"))
        self.there[self.sent[-1]] = sha256_of(path)


def test_files_that_are_not_wanted_any_more_go_from_a_device_fifty_at_a_time(
    tmp_path: Path,
) -> None:
    there = {f"old {number:03}": "0" * 64 for number in range(101)}
    (tmp_path / "new").write_bytes(b"new")
    there |= {"same": sha256_of(tmp_path / "new"), "changed": "1" * 64}
    shell, told = Listed("adb", "serial", there=there), []
    files = dict.fromkeys(("same", "changed", "a/b"), tmp_path / "new")
    assert shell.push(files, told.append) == shell.sent == ["changed", "a/b"]
    removed = [script for script in shell.scripts if "rm -f" in script]
    names = [[*re.findall(r"'old (\d+)'", script)] for script in removed]
    assert [len(found) for found in names] == [49, 50, 2]  # after "changed"
    assert [number for found in names for number in found] == [
        f"{number:03}" for number in range(101)
    ]
    assert told == ["pushing changed (1 of 2)", "pushing a/b (2 of 2)"]
    assert f"mkdir -p -- {ROOT}/. {ROOT}/a" in shell.scripts


DF = "Filesystem 1K-blocks Used Available Use% Mounted on\n"


@pytest.mark.parametrize(
    ("listed", "megabytes", "fits"),
    [
        (f"{DF}/dev/block/dm-1 100000 90000 30000 90% /data\n", 10, True),
        (f"{DF}/dev/block/dm-1 100000 90000 30000 90% /data\n", 15, False),  # 16 more are kept free
        (f"{DF}/dev/block/dm-1 100000 99999 0 100% /data\n", 0, True),  # there already
        (f"{DF}/dev/block/a-long-name\n  100000 90000 30000 90% /data\n", 15, False),
        ("what no df prints\n", 15, True),
    ],
)
def test_what_does_not_fit_is_told_before_it_is_sent(
    tmp_path: Path, listed: str, megabytes: int, fits: bool
) -> None:
    file = tmp_path / "index"
    with file.open("wb") as sparse:
        sparse.truncate(megabytes << 20)
    shell = Listed(
        "adb", "serial", there={} if megabytes else {"index": sha256_of(file)}, df=listed
    )
    if not fits:
        with pytest.raises(BenchError, match=r"31 MiB are needed in .*, 29 MiB are free"):
            shell.push({"index": file})
    else:
        shell.push({"index": file})
    assert shell.sent == (["index"] if fits and megabytes else [])


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("echo device", "device"),
        ("echo 'error: device offline' >&2; exit 1", "offline"),
        ("echo \"error: device 'x' not found\" >&2; exit 1", "gone"),
        ("exec sleep 600", "not answering"),
    ],
)
def test_a_device_that_is_lost_is_told_by_its_state(
    tmp_path: Path, script: str, state: str
) -> None:
    timeout_s = 0.2 if state == "not answering" else 60.0
    shell = AdbShell(str(program(tmp_path / "adb", script)), "x", timeout_s)
    assert shell.state() == state
    if state != "device":
        assert isinstance(shell.error("did not end"), DeviceLost)
        assert str(shell.error("did not end")).startswith(f"Device x was lost ({state}): it did")


def test_a_large_file_may_take_longer_to_send_than_a_command(tmp_path: Path) -> None:
    adb = program(tmp_path / "adb", "[ $3 = push ] && exec sleep 0.2; echo device")
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 0), (large, 1 << 20)):  # four seconds by a slow cable
        with path.open("wb") as sparse:
            sparse.truncate(size)
    shell = AdbShell(str(adb), "x", timeout_s=0.1)
    shell.push_file(large, "/place")
    with pytest.raises(BenchError, match="did not take small in 0 s"):
        shell.push_file(small, "/place")


def test_an_adb_that_fails_is_told_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "adb", "[ $1 = start-server ] && exit 0; echo 'no permission' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BenchError, match="devices -l` failed: no permission") as caught:
        connect()
    assert "adb kill-server" in caught.value.hint


def test_unknown_serial_lists_what_there_is() -> None:
    with pytest.raises(BenchError, match="adb:R5CX12ABCDE  device"):
        choose_device([AttachedDevice("R5CX12ABCDE", "device")], "other")


def test_without_adb_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="adb is not installed") as caught:
        connect()
    assert "apt install adb" in caught.value.hint


def test_no_device_and_several_devices(
    device_system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with adbd(device_system, tmp_path / "adbd") as device:
        use(device, monkeypatch)
        first, second = device.serial, device.start()
        with pytest.raises(BenchError, match="2 devices are attached") as several:
            connect()
        assert f"adb:{first}" in str(several.value)
        assert f"adb:{second}" in str(several.value)
        assert connect(second).run("echo here").strip() == "here"
        device.adb("disconnect")
        with pytest.raises(BenchError, match="No device is attached"):
            connect()


@pytest.mark.slow
def test_device_that_is_lost_is_told_and_the_next_run_cleans_up(
    device_system: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Bundle,
    runner_folder: Path,
) -> None:
    """The phone goes away while it searches: adb itself then ends with exit code 0."""
    with adbd(device_system, tmp_path / "adbd") as device:
        use(device, monkeypatch)
        as_phone(device)
        lost_at_search = (
            'case $(cat "$spec") in *\'"mode": "search"\'*) '
            f"kill -9 $(cat {on_device(device.folder)}/adbd.pid); sleep 30;; esac"
        )
        device.stand_in("app_process", APP_PROCESS.replace("unset", f"{lost_at_search}\nunset", 1))
        daemon = device.daemons.pop(device.serial)
        (device.folder / "adbd.pid").write_text(str(daemon.pid))
        with pytest.raises(DeviceLost, match="was lost") as caught:
            measurement.bench(bundle, quick(), AdbDevice(runner=runner_folder))
        assert "files that were pushed are kept" in caught.value.hint
        assert (device.root / "run" / "spec.json").is_file()
        daemon.wait(timeout=30)
        device.adb("disconnect")
        as_phone(device)
        device.start()
        again = measurement.bench(bundle, quick(repeats=1), AdbDevice(runner=runner_folder))
        assert again["device"]["pushed_files"] == 0
        assert not (device.root / "run").exists()


def test_device_that_is_lost_while_files_are_sent_is_told(
    device_system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with adbd(device_system, tmp_path / "adbd") as device:
        use(device, monkeypatch)
        files = {}
        for name in ("first", "second"):
            files[name] = tmp_path / name
            files[name].write_bytes(os.urandom(1 << 20))
        daemon = device.daemons[device.serial]

        def lose(step: str) -> None:
            if step == "pushing second (2 of 2)":
                daemon.kill()
                daemon.wait(timeout=30)

        with pytest.raises(DeviceLost, match=r"was lost .*did not take second"):
            connect().push(files, lose)
        assert (device.root / "first").read_bytes() == files["first"].read_bytes()


def test_command_that_does_not_end_is_told_with_its_time(board: Adbd) -> None:
    shell = connect()
    with pytest.raises(BenchError, match="did not end `sleep 600` in 1 s") as caught:
        shell.ask("sleep 600", timeout_s=1)
    assert not isinstance(caught.value, DeviceLost)
    assert "Reboot it" in caught.value.hint
    assert shell.run("echo here").strip() == "here"


def test_adb_server_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stuck = tmp_path / "adb"
    stuck.write_text("#!/bin/sh\nexec sleep 600\n")
    stuck.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BenchError, match=r"start-server` did not end in 1 s") as caught:
        connect(timeout_s=1.0)
    assert "adb kill-server" in caught.value.hint


@pytest.mark.parametrize("later", [0, 1])
def test_a_process_that_a_lost_run_left_is_ended_and_no_other_with_its_number(
    board: Adbd, later: int
) -> None:
    """The number may be used again, by a process that started later."""
    shell = connect()
    left = shlex.quote(f"{NOTE_PROCESS}; exec sleep 600")
    shell.run(f"mkdir -p {RUN}; sh -c {left} >/dev/null 2>&1 & until [ -s {RUN}/pid ]; do :; done")
    pid, started = shell.run(f"cat {RUN}/pid").split()
    shell.run(f"until grep -q '(sleep)' /proc/{pid}/stat; do :; done")
    shell.run(f"echo {pid} {int(started) - later} > {RUN}/pid")
    shell.clean()
    if later:
        assert shell.run(f"cut -d ' ' -f 3 /proc/{pid}/stat").strip() == "S"
        shell.run(f"kill -9 {pid}")
    # Nobody may reap it: then it stays as a zombie.
    shell.run(f"while grep -q ') [^Z]' /proc/{pid}/stat 2>/dev/null; do sleep 0.01; done")
    assert not (board.root / "run").exists()


def test_device_that_fills_up_while_files_are_sent_is_told(
    device_system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with adbd(device_system, tmp_path / "adbd", room="4m") as device:
        use(device, monkeypatch)
        large = tmp_path / "large"
        large.write_bytes(os.urandom(6 << 20))
        shell = connect()
        with pytest.raises(BenchError, match="no room"):
            shell.push_file(large, "/data/local/tmp/large")


def test_paths_with_spaces_and_quotes_arrive(board: Adbd, tmp_path: Path) -> None:
    shell = connect()
    name = 'photos/it\'s a "photo" $HOME.jpg'
    (tmp_path / "photo").write_bytes(b"bytes")
    assert shell.push({name: tmp_path / "photo"}) == [name]
    assert shell.push({name: tmp_path / "photo"}) == []
    assert (board.root / name).read_bytes() == b"bytes"
    assert shell.push({}) == []
    assert not (board.root / name).exists()
    odd = "two words; and 'quotes'/photo $(id).jpg"
    assert shell.push({odd: tmp_path / "photo"}) == [odd]
    assert (board.root / odd).read_bytes() == b"bytes"
    assert sorted(path.name for path in board.root.iterdir()) == [
        "photos",
        "two words; and 'quotes'",
    ]
    shell.push({})


def test_what_arrives_with_other_bytes_is_an_error(board: Adbd, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"bytes")
    # The device's disk loses what is written to it: its own sum is of something else.
    board.stand_in("sha256sum", 'for f; do echo "$(printf %064d 0)  $f"; done')
    with pytest.raises(BenchError, match=r"photo\.jpg was damaged on its way"):
        connect().push({"photo.jpg": tmp_path / "photo"})
    board.bare()
    connect().push({})


def test_board_with_an_old_python_or_none_says_so(board: Adbd, bundle: Bundle) -> None:
    board.stand_in("python3", "echo 3 9")
    for name in ("python3.11", "python3.12", "python3.13", "python3.14"):
        board.stand_in(name, "exit 127")
    with pytest.raises(BenchError, match=r"no Python 3\.11 or later \(python3 is 3\.9\)"):
        measurement.bench(bundle, quick(), AdbDevice())


def test_board_without_libraries_names_the_pip_command(board: Adbd, bundle: Bundle) -> None:
    board.stand_in("python3", f'exec {PYTHON} -S "$@"')
    with pytest.raises(BenchError, match="lacks numpy, msgspec, pillow, onnxruntime") as caught:
        measurement.bench(bundle, quick(), AdbDevice())
    assert "python3 -m pip install numpy msgspec pillow onnxruntime" in caught.value.hint


def test_runner_that_crashes_shows_its_last_lines(
    phone: Adbd, bundle: Bundle, runner_folder: Path
) -> None:
    phone.stand_in("app_process", "echo 'Fatal signal 11 (SIGSEGV)' >&2; exit 139")
    with pytest.raises(BenchError, match=r"code 139(.|\n)*SIGSEGV"):
        measurement.bench(bundle, quick(), AdbDevice(runner=runner_folder))
    assert not (phone.root / "run").exists()


def test_phone_without_a_runner_says_where_one_comes_from(
    phone: Adbd, bundle: Bundle, tmp_path: Path
) -> None:
    for missing in (r"runner\.jar", r"lib/arm64-v8a/\*\.so"):
        with pytest.raises(BenchError, match=rf"{missing} is missing"):
            measurement.bench(bundle, quick(), AdbDevice(runner=tmp_path))
        (tmp_path / "runner.jar").touch()


def test_an_answer_of_the_probe_may_come_in_parts() -> None:
    code = (
        "import os, sys, time\n"
        "for answer in sys.stdin:\n"
        "    for part in (b'/data/runner\\r\\nRss: 20', b'48 kB\\nPss: 1024 kB\\n:e', b'nd\\n'):\n"
        "        os.write(1, part)\n"
        "        time.sleep(0.02)\n"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, **pipes) as process:
        probe = Probe(process)
        assert [probe.memory(), probe.memory()] == [Memory(1.0, 2.0)] * 2
        assert probe.program == "/data/runner"
        process.stdin.close()
