"""A phone or board through the `adb` command: run commands, push files, read memory, clean up."""

from __future__ import annotations

import contextlib
import os
import re
import select
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.machine import Memory, parse_smaps_rollup
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import BenchError, DeviceLost

ROOT = "/data/local/tmp/mcad-mobile"
RUN = f"{ROOT}/run"

_COMMAND_S = 60.0
_PUSH_BYTES_PER_S = 250_000  # slower than any USB 2 cable: bounds the time of a push
_PROBE_S = 5.0
_PROBE_BYTES = 2**20
_MOST_BYTES = 8 * 2**20  # of a command's output: the longest listing has a few hundred lines
_SPARE_BYTES = 16 * 2**20  # for what a run writes: a small index, a few files
_EXIT = ":exit:"
_HINTS = {
    "unauthorized": "Unlock the phone and allow USB debugging from this computer in the dialog.",
    "offline": "Reconnect the cable, or: adb reconnect offline.",
    "no permissions": "Let your user open USB devices (udev rules, group plugdev), then reconnect.",
}
_STARTED = "sed 's/.*) //' 2>/dev/null < /proc/{}/stat | cut -d ' ' -f 20"  # ticks since the boot
# Notes in a shell of the device which process it is, by id and start: ids are used again.
NOTE_PROCESS = f"echo $$ $({_STARTED.format('$$')}) > {RUN}/pid"


@dataclass(frozen=True)
class AdbShell:
    """A device by its serial. Every call has a timeout, and raises DeviceLost if the device
    disconnects."""

    adb: str
    serial: str
    timeout_s: float = _COMMAND_S  # of a command

    def command(self, script: str) -> list[str]:
        """The local command that runs `script` in the device's shell."""
        return [self.adb, "-s", self.serial, "shell", script]

    def ask(self, script: str, *, timeout_s: float | None = None) -> tuple[int, str]:
        """Run `script`. Return its exit code, and its standard output and error together."""
        # adb's own exit code is 0 if the device is lost, so the script prints its own.
        whole = f"( {script}\n) 2>&1; printf '{_EXIT}%d' $?"
        done = self._adb(
            "shell", whole, timeout_s=timeout_s or self.timeout_s, action=f"end `{script}`"
        )
        printed, mark, code = done.stdout.rpartition(_EXIT)
        if not mark or not code.isdecimal():
            raise self.error(f"did not finish `{script}`. {done.stderr.strip()}".rstrip())
        return int(code), printed

    def run(self, script: str, *, timeout_s: float | None = None) -> str:
        """Run `script`, and return what it printed. BenchError: it does not exit with 0."""
        code, printed = self.ask(script, timeout_s=timeout_s)
        if code:
            raise BenchError(
                f"On the device, `{script}` ended with code {code}: {printed.strip()}",
                "Run it by hand with `adb shell` to see more.",
            )
        return printed

    def _adb(
        self, *arguments: str, timeout_s: float, action: str
    ) -> subprocess.CompletedProcess[str]:
        try:
            return _run([self.adb, "-s", self.serial, *arguments], timeout_s)
        except subprocess.TimeoutExpired as error:
            raise self.error(f"did not {action} in {timeout_s:.0f} s") from error

    def error(self, failure: str) -> BenchError:
        """The error for a command that did not end: the device is lost, or stuck."""
        state = self.state()
        if state == "device":
            return BenchError(f"Device {self.serial} {failure}.", "Reboot it, and try again.")
        return DeviceLost(
            f"Device {self.serial} was lost ({state}): it {failure}.",
            "Reconnect it and run the same command again: files that were pushed are kept, and "
            "leftovers of this run are removed.",
        )

    def state(self) -> str:
        """Return "device", "offline", "gone" or "not answering"."""
        try:
            done = _run([self.adb, "-s", self.serial, "get-state"], self.timeout_s)
        except subprocess.TimeoutExpired:
            return "not answering"
        if done.returncode == 0:
            return done.stdout.strip()
        return "offline" if "offline" in done.stderr else "gone"

    def push(self, files: Mapping[str, Path], progress: Progress = silent) -> list[str]:
        """Make ROOT hold exactly `files` (path under ROOT -> local file), and return the files that
        were sent because their SHA-256 differed. BenchError: no room, or a file arrived damaged."""
        wanted = {name: sha256_of(path) for name, path in files.items()}
        self.run(f"mkdir -p {ROOT}")
        pushed = self._hashes()
        stale = sorted(name for name in pushed if pushed[name] != wanted.get(name))
        for start in range(0, len(stale), 50):
            names = shlex.join(stale[start : start + 50])
            self.run(f"cd {ROOT} && rm -f -- {names}")
        missing = [name for name in files if pushed.get(name) != wanted[name]]
        self._check_room(sum(files[name].stat().st_size for name in missing))
        folders = {f"{ROOT}/{PurePosixPath(name).parent}" for name in missing}
        if folders:
            self.run(f"mkdir -p -- {shlex.join(sorted(folders))}")
        for number, name in enumerate(missing):
            progress(f"pushing {name} ({number + 1} of {len(missing)})")
            self.push_file(files[name], f"{ROOT}/{name}")
        pushed = self._hashes() if missing else {}
        for name in missing:
            if pushed.get(name) != wanted[name]:
                raise BenchError(
                    f"{name} was damaged on its way to the device.",
                    "Try another cable, and run the command again.",
                )
        return missing

    def push_file(self, path: Path, place: str) -> None:
        """Send one file to the path `place`."""
        timeout_s = self.timeout_s + path.stat().st_size / _PUSH_BYTES_PER_S
        local, action = str(path.resolve()), f"take {path.name}"
        done = self._adb("push", local, place, timeout_s=timeout_s, action=action)
        if done.returncode:
            reason = (done.stderr or done.stdout).strip()
            if "No space left" in reason:
                raise _no_room(f"{reason.splitlines()[-1]}.")
            raise self.error(f"did not {action}: {reason}")

    def _hashes(self) -> dict[str, str]:
        """SHA-256 of every file under ROOT, by its path there, without the files of runs."""
        listing = self.run(
            f"cd {ROOT} && find . -type f ! -path './run/*' -exec sha256sum {{}} +", timeout_s=300
        )
        found = {}
        for line in listing.splitlines():
            digest, _, name = line.partition("  ")
            found[name.removeprefix("./")] = digest
        return found

    def _check_room(self, needed: int) -> None:
        last = self.run(f"df -k {ROOT}").strip().rpartition("\n")[2]
        # Filesystem, blocks, used, available, ...: long names wrap, so match from the "%".
        match = re.search(r"\b(\d{1,15})\s+\d+%", last)
        if match and needed and int(match.group(1)) * 1024 < needed + _SPARE_BYTES:
            raise _no_room(
                f"{(needed + _SPARE_BYTES) / 2**20:.0f} MiB are needed in {ROOT}, "
                f"{int(match.group(1)) / 1024:.0f} MiB are free."
            )

    @contextlib.contextmanager
    def probe(self) -> Iterator[Probe]:
        """Keep a shell open on the device, to read a process's memory often."""
        process = subprocess.Popen(
            [self.adb, "-s", self.serial, "shell", "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        with process:
            try:
                yield Probe(process)
            finally:
                process.kill()

    def clean(self) -> None:
        """End the process of an earlier run, and remove its files. Pushed files stay."""
        self.run(
            f"read -r pid started 2>/dev/null < {RUN}/pid\n"
            f'[ "$started" ] && [ "$({_STARTED.format("$pid")})" = "$started" ] && kill -9 "$pid"\n'
            f"rm -rf {RUN}"
        )


class Probe:
    """Reads the memory of the process whose id is in RUN/pid from the device's /proc."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._buffer = b""
        self.program = ""  # /proc/PID/exe of the process

    def memory(self, local_pid: int = 0) -> Memory:
        """Return the process's memory, or raise ProcessLookupError. `local_pid` is ignored."""
        answer = self._ask(
            # `read` stops after one line; $(cat ...) would collect endless output.
            f'{{ read -r p started || [ "$p" ]; }} 2>/dev/null < {RUN}/pid && '
            "readlink /proc/$p/exe && cat /proc/$p/smaps_rollup; echo :end"
        )
        program, _, rollup = answer.partition("\n")
        if program.startswith("/"):
            self.program = program
        try:
            return parse_smaps_rollup(rollup)
        except (ValueError, IndexError) as error:
            raise ProcessLookupError("the device's /proc cannot be read") from error

    def _ask(self, script: str) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(script.encode() + b"\n")
            deadline = time.monotonic() + _PROBE_S
            while b":end\n" not in self._buffer:
                left = max(0.0, deadline - time.monotonic())
                if len(self._buffer) > _PROBE_BYTES or not select.select([stdout], [], [], left)[0]:
                    self._buffer = b""
                    raise ProcessLookupError("the device's shell does not answer")
                read = os.read(stdout.fileno(), 65536)
                if not read:
                    raise ProcessLookupError("the device's shell has ended")
                self._buffer += read
        except OSError as error:
            raise ProcessLookupError("the device's shell has ended") from error
        answer, _, self._buffer = self._buffer.partition(b":end\n")
        return answer.decode("utf-8", "replace").replace("\r", "")


def _no_room(reason: str) -> BenchError:
    return BenchError(
        f"The device has no room: {reason}",
        f"Free some on it, or remove what earlier benches left: adb shell rm -r {ROOT}. "
        "A smaller index (--synthetic N) needs less.",
    )


@dataclass(frozen=True)
class AttachedDevice:
    """A line of `adb devices -l`. `state` is "device" when it can be used."""

    serial: str
    state: str
    description: str = ""


def parse_devices(listing: str) -> list[AttachedDevice]:
    """Parse the output of `adb devices -l`, where "no permissions" is a state of two words."""
    found = []
    for line in listing.splitlines():
        match = re.match(r"(\S+)\s+(no permissions|\S+)\s*(.*)", line)
        if match and not line.startswith(("List of", "*")):
            found.append(AttachedDevice(*match.groups()))
    return found


def choose_device(devices: Iterable[AttachedDevice], serial: str | None) -> AttachedDevice:
    """Return the device with `serial`, or the only one, or the only one that is ready. BenchError:
    there is none, there are several, or it is not ready."""
    attached = list(devices)
    listed = "".join(f"\n    adb:{d.serial}  {d.state}  {d.description}".rstrip() for d in attached)
    if not attached:
        raise BenchError(
            "No device is attached: adb sees none.",
            "Connect a phone with USB debugging turned on (Settings, Developer options), or "
            "`adb connect HOST:PORT`.",
        )
    found = [device for device in attached if serial in (None, device.serial)]
    if not found:
        raise BenchError(
            f"No device {serial!r} is attached. adb sees:{listed}",
            "Check the cable and the serial, or `adb connect HOST:PORT` first.",
        )
    if len(found) > 1:
        found = [device for device in found if device.state == "device"]
    if len(found) != 1:
        raise BenchError(
            f"{len(attached)} devices are attached:{listed}",
            "Name one of them: --device adb:SERIAL.",
        )
    if found[0].state != "device":
        raise BenchError(
            f"Device {found[0].serial} is {found[0].state}.",
            _HINTS.get(found[0].state, "Reconnect it, and look at `adb devices -l`."),
        )
    return found[0]


def connect(serial: str | None = None, timeout_s: float = _COMMAND_S) -> AdbShell:
    """Connect to the attached device, or the one with `serial`. BenchError: see choose_device."""
    adb = shutil.which("adb")
    if adb is None:
        raise BenchError(
            "adb is not installed.",
            "Install it: `apt install adb`, or Android's platform tools.",
        )
    hint = "Restart the server (adb kill-server), and try again."
    for command in ([adb, "start-server"], [adb, "devices", "-l"]):
        try:
            done = _run(command, timeout_s)
        except subprocess.TimeoutExpired as error:
            failure = f"`{shlex.join(command)}` did not end in {timeout_s:.0f} s."
            raise BenchError(failure, hint) from error
        if done.returncode:
            reason = (done.stderr or done.stdout).strip()
            raise BenchError(f"`{shlex.join(command)}` failed: {reason}", hint)
    return AdbShell(adb, choose_device(parse_devices(done.stdout), serial).serial, timeout_s)


def _run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `command`, whose output may never end. TimeoutExpired, or BenchError if it prints too
    much."""
    deadline = time.monotonic() + timeout_s
    with (
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        selectors.DefaultSelector() as pipes,
    ):
        assert process.stdout is not None and process.stderr is not None
        printed = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
        for pipe in printed:
            pipes.register(pipe, selectors.EVENT_READ)
        try:
            while pipes.get_map():
                ready = pipes.select(max(0.0, deadline - time.monotonic()))
                if not ready or time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(command, timeout_s)
                for key, _ in ready:
                    read = os.read(key.fd, 65536)
                    printed[key.fd] += read
                    if not read:
                        pipes.unregister(key.fd)
                if max(map(len, printed.values())) > _MOST_BYTES:
                    raise BenchError(
                        f"`{shlex.join(command)[:300]}` printed more than "
                        f"{_MOST_BYTES >> 20} MiB, and was ended.",
                        "Look at what the device prints by `adb shell`, or reboot it.",
                    )
            process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            process.kill()
    out, err = (text.decode("utf-8", "backslashreplace") for text in printed.values())
    return subprocess.CompletedProcess(command, process.returncode, out, err)
