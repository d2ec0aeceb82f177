"""Which devices adb sees, and which of them to use."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.memory import Memory, parse_smaps_rollup
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import BenchError, DeviceLost

# A phone or board over the adb server: run, push, memory of a process, clean up.
#
# All by the `adb` command: it streams standard output and error apart, pushes with compression, and
# starts the server of its own version (docs/architecture.md says why no library).

ROOT = "/data/local/tmp/mcad-mobile"
RUN = f"{ROOT}/run"

_COMMAND_S = 60.0
_PUSH_BYTES_PER_S = 250_000  # slower than the slowest USB 2 cable, to bound a push
_PROBE_S = 5.0
_SPARE_BYTES = 16 * 2**20  # what a run writes itself: a small index, a few files
_EXIT = ":exit:"


@dataclass(frozen=True)
class AdbShell:
    """A device by its serial. Every call has a timeout and checks what came of it; DeviceLost
    where the device went away meanwhile."""

    adb: str
    serial: str

    def command(self, script: str) -> list[str]:
        """The local command that runs `script` in the device's shell."""
        return [self.adb, "-s", self.serial, "shell", script]

    def ask(self, script: str, *, timeout_s: float = _COMMAND_S) -> tuple[int, str]:
        """Run `script`: its exit code, and its standard output and error together."""
        # adb's own exit code is 0 when the device is lost, so the script says its own.
        whole = f"( {script}\n) 2>&1; printf '{_EXIT}%d' $?"
        done = self._adb("shell", whole, timeout_s=timeout_s, doing=f"end `{script}`")
        printed, mark, code = done.stdout.rpartition(_EXIT)
        if not mark or not code.isdecimal():
            raise self.broken(f"did not finish `{script}`. {done.stderr.strip()}".rstrip())
        return int(code), printed

    def run(self, script: str, *, timeout_s: float = _COMMAND_S) -> str:
        """Run `script`, which must exit with 0: what it printed."""
        code, printed = self.ask(script, timeout_s=timeout_s)
        if code:
            raise BenchError(
                f"On the device, `{script}` ended with code {code}: {printed.strip()}",
                "Run it by hand with `adb shell` to see more.",
            )
        return printed

    def _adb(
        self, *arguments: str, timeout_s: float, doing: str
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.adb, "-s", self.serial, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self.broken(f"did not {doing} in {timeout_s:.0f} s") from error

    def broken(self, what: str) -> BenchError:
        """The error for a command that did not come to its end: lost, or merely stuck?"""
        state = self.state()
        if state == "device":
            return BenchError(f"Device {self.serial} {what}.", "Reboot it, and try again.")
        return DeviceLost(
            f"Device {self.serial} was lost ({state}): it {what}.",
            "Reconnect it and run the same command again: what was pushed stays there, and what "
            "the broken run left is removed then.",
        )

    def state(self) -> str:
        """ "device", "offline", "gone"..."""
        try:
            done = subprocess.run(
                [self.adb, "-s", self.serial, "get-state"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "not answering"
        if done.returncode == 0:
            return done.stdout.strip()
        return "offline" if "offline" in done.stderr else "gone"

    def push(self, files: Mapping[str, Path], progress: Progress = silent) -> list[str]:
        """Make ROOT hold exactly `files` (path under ROOT -> local file). Only what differs by
        its SHA-256 is sent, and compared again when it is there; what is not of `files` is
        removed. Returns what was sent. BenchError if the device has no room."""
        wanted = {name: sha256_of(path) for name, path in files.items()}
        self.run(f"mkdir -p {ROOT}")
        there = self._hashes()
        stale = sorted(name for name in there if there[name] != wanted.get(name))
        for some in _chunks(stale, 50):
            self.run(f"cd {ROOT} && rm -f -- {shlex.join(some)}")
        missing = [name for name in files if there.get(name) != wanted[name]]
        self._check_room(sum(files[name].stat().st_size for name in missing))
        folders = {str(PurePosixPath(ROOT) / PurePosixPath(name).parent) for name in missing}
        if folders:
            self.run(f"mkdir -p -- {shlex.join(sorted(folders))}")
        for number, name in enumerate(missing):
            progress(f"pushing {name} ({number + 1} of {len(missing)})")
            self.push_file(files[name], f"{ROOT}/{name}")
        if missing:
            there = self._hashes()
            damaged = [name for name in missing if there.get(name) != wanted[name]]
            if damaged:
                raise BenchError(
                    f"{damaged[0]} arrived on the device with other bytes than were sent.",
                    "Try another cable, and run the command again.",
                )
        return missing

    def push_file(self, path: Path, place: str) -> None:
        """Send one file to the path `place`."""
        timeout_s = _COMMAND_S + path.stat().st_size / _PUSH_BYTES_PER_S
        local, doing = str(path.resolve()), f"take {path.name}"
        done = self._adb("push", local, place, timeout_s=timeout_s, doing=doing)
        if done.returncode:
            told = (done.stderr or done.stdout).strip()
            if "No space left" in told:
                raise _no_room(f"{told.splitlines()[-1]}.")
            raise self.broken(f"did not {doing}: {told}")

    def _hashes(self) -> dict[str, str]:
        """SHA-256 of every file under ROOT but those of runs, by its path there."""
        listing = self.run(
            f"cd {ROOT} && find . -type f ! -path './run/*' -exec sha256sum {{}} +", timeout_s=300
        )
        found = {}
        for line in listing.splitlines():
            digest, _, name = line.partition("  ")
            found[name.removeprefix("./")] = digest
        return found

    def _check_room(self, needed: int) -> None:
        last = self.run(f"df -k {ROOT}").splitlines()[-1]
        # Filesystem, blocks, used, available, ...: a long name wraps, so count from the "%".
        match = re.search(r"(\d+)\s+\d+%", last)
        if match and needed and int(match.group(1)) * 1024 < needed + _SPARE_BYTES:
            raise _no_room(
                f"{(needed + _SPARE_BYTES) / 2**20:.0f} MiB are needed in {ROOT}, "
                f"{int(match.group(1)) / 1024:.0f} MiB are free."
            )

    @contextlib.contextmanager
    def probe(self) -> Iterator[Probe]:
        """A shell on the device that stays open, to read a process's memory many times."""
        process = subprocess.Popen(
            [self.adb, "-s", self.serial, "shell", "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Probe(process)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def clean(self) -> None:
        """End what an earlier run left running, and remove its files; what was pushed stays."""
        self.run(
            f"pid=$(cat {RUN}/pid 2>/dev/null)\n"
            'if [ -n "$pid" ] && grep -q mcad /proc/$pid/cmdline 2>/dev/null; then\n'
            "  kill -9 $pid\nfi\n"
            f"rm -rf {RUN}"
        )


class Probe:
    """Memory of the process whose id is in RUN/pid, as the device's /proc tells it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._buffer = b""
        self.program = ""  # what the process last was, by /proc/PID/exe

    def memory(self, local_pid: int = 0) -> Memory:
        """ProcessLookupError while there is no such process, or none that may be looked at.
        `local_pid`, of adb itself, says nothing here."""
        answer = self._ask(
            f"p=$(cat {RUN}/pid 2>/dev/null) && "
            "readlink /proc/$p/exe && cat /proc/$p/smaps_rollup; echo :end"
        )
        program, _, rollup = answer.partition("\n")
        if program.startswith("/"):
            self.program = program
        return parse_smaps_rollup(rollup)

    def _ask(self, script: str) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(script.encode() + b"\n")
            stdin.flush()
            while b":end\n" not in self._buffer:
                if not select.select([stdout], [], [], _PROBE_S)[0]:
                    raise ProcessLookupError("the device's shell does not answer")
                read = os.read(stdout.fileno(), 65536)
                if not read:
                    raise ProcessLookupError("the device's shell has ended")
                self._buffer += read
        except OSError as error:
            raise ProcessLookupError("the device's shell has ended") from error
        answer, _, self._buffer = self._buffer.partition(b":end\n")
        return answer.decode("utf-8", "replace").replace("\r", "")


def _no_room(what: str) -> BenchError:
    return BenchError(
        f"The device has no room: {what}",
        f"Free some on it, or remove what earlier benches left: adb shell rm -r {ROOT}. "
        "A smaller index (--synthetic N) needs less.",
    )


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


_ATTACHED_S = 60.0


@dataclass(frozen=True)
class Attached:
    """A line of `adb devices -l`. `state` is "device" when it can be used."""

    serial: str
    state: str
    about: str = ""


def parse_devices(listing: str) -> list[Attached]:
    """What `adb devices -l` prints. "no permissions" is a state of two words."""
    found = []
    for line in listing.splitlines():
        match = re.match(r"(\S+)\s+(no permissions|\S+)\s*(.*)", line)
        if match and not line.startswith(("List of", "*")):
            found.append(Attached(*match.groups()))
    return found


def pick(devices: Iterable[Attached], serial: str | None) -> Attached:
    """The device to use. BenchError: none, several, not the one asked for, or not ready, each
    with what to do about it."""
    attached = list(devices)
    listed = "".join(f"\n    adb:{d.serial}  {d.state}  {d.about}".rstrip() for d in attached)
    if serial is not None:
        for device in attached:
            if device.serial == serial:
                return _ready(device)
        raise BenchError(
            f"No device {serial!r} is attached. adb sees:{listed or ' none.'}",
            "Check the cable and the serial, or `adb connect HOST:PORT` first.",
        )
    if not attached:
        raise BenchError(
            "No device is attached: adb sees none.",
            "Connect a phone with USB debugging turned on (Settings, Developer options), or "
            "`adb connect HOST:PORT`.",
        )
    if len(attached) > 1:
        ready = [device for device in attached if device.state == "device"]
        if len(ready) != 1:
            raise BenchError(
                f"{len(attached)} devices are attached:{listed}",
                "Name one of them: --device adb:SERIAL.",
            )
        return ready[0]
    return _ready(attached[0])


_WHAT_TO_DO = {
    "unauthorized": "Unlock the phone and allow USB debugging from this computer in the dialog.",
    "authorizing": "Wait a moment, and allow USB debugging in the phone's dialog.",
    "offline": "Reconnect the cable, or: adb reconnect offline.",
    "no permissions": "Let your user open USB devices (udev rules, group plugdev), then reconnect.",
    "recovery": "Boot the phone into Android.",
    "sideload": "Boot the phone into Android.",
    "bootloader": "Boot the phone into Android: fastboot reboot.",
}


def _ready(device: Attached) -> Attached:
    if device.state == "device":
        return device
    raise BenchError(
        f"Device {device.serial} is {device.state}.",
        _WHAT_TO_DO.get(device.state, "Reconnect it, and look at `adb devices -l`."),
    )


def connect(serial: str | None = None) -> AdbShell:
    """The attached device, or the one with `serial`. BenchError says what stands in the way."""
    adb = shutil.which("adb")
    if adb is None:
        raise BenchError(
            "adb is not installed.",
            "Install it: `apt install adb`, or Android's platform tools.",
        )
    _run_adb([adb, "start-server"])
    listing = _run_adb([adb, "devices", "-l"])
    return AdbShell(adb, pick(parse_devices(listing), serial).serial)


def _run_adb(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ATTACHED_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"`{shlex.join(command)}` did not end in {_ATTACHED_S:.0f} s.",
            "Restart the server: adb kill-server.",
        ) from error
    if done.returncode:
        raise BenchError(
            f"`{shlex.join(command)}` failed: {(done.stderr or done.stdout).strip()}",
            "Restart the server (adb kill-server), and try again.",
        )
    return done.stdout
