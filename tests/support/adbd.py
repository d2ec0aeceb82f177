"""A real adbd and a real adb server without a phone. adbd runs in its own Debian 13 and its own
namespaces, with its own files, programs and network."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

SERVER_PORT = "5047"
FIRST_PORT = 6543
TIMEOUT_S = 60
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Where the device sees this computer's files, for programs that stand in for a phone's.
COMPUTER = Path("/computer")
CHECKOUT = COMPUTER / ROOT.relative_to("/")
PYTHON = "/usr/bin/python3"  # the device's
# As on a phone, everything is read-only except the folder that adb pushes to.
ENTER = """
set -e
root=$1 data=$2 room=$3 cores=$4
ip link set lo up
mount --bind "$root" "$root"
mount --rbind / "$root/computer"
mount -o remount,bind,ro "$root"
for place in proc sys dev; do mount --rbind "/$place" "$root/$place"; done
mount -t tmpfs none "$root/tmp"
if [ "$room" ]; then mount -t tmpfs -o "size=$room" none "$root/data/local/tmp"
else mount --bind "$data" "$root/data/local/tmp"; fi
if [ "$cores" ]; then mount --bind "$cores" "$root/sys/devices/system/cpu"; fi
cd "$root"
# It says so from within: who enters before takes this computer's files for the device's.
exec chroot . sh -c "echo ready; exec sleep infinity"
"""
# Other users become root in a user namespace.
AS_ROOT = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
INTO = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]


def on_device(path: Path | str) -> Path:
    """Return the path at which the device sees this computer's file."""
    return COMPUTER / Path(path).absolute().relative_to("/")


@dataclass
class Adbd:
    """`bin` is first on adbd's PATH and holds stand-ins for programs that only a phone has. `data`
    is the device's /data/local/tmp; `tools` is a folder with an `adb` for our own PATH."""

    folder: Path
    holder: int
    daemons: dict[str, subprocess.Popen[bytes]]

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def tools(self) -> Path:
        return self.folder / "tools"

    @property
    def serial(self) -> str:
        return next(iter(self.daemons))

    @property
    def root(self) -> Path:
        """The project's folder on the device."""
        return self.data / "mcad-mobile"

    def stand_in(self, name: str, script: str) -> None:
        """Put a shell script on adbd's PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def bare(self) -> None:
        """Remove the stand-ins: a Linux board, with our libraries in its Python."""
        for path in self.bin.iterdir():
            path.unlink()

    def start(self) -> str:
        """Start another daemon, connected to the server; return its serial."""
        serial = f"127.0.0.1:{FIRST_PORT + len(self.daemons)}"
        environment = {
            "PATH": f"{on_device(self.bin)}:{SYSTEM_PATH}",
            "ADBD_PORT": serial.partition(":")[2],
            "HOME": "/data/local/tmp",
        }
        log = (self.folder / f"adbd-{len(self.daemons)}.log").open("wb")
        with log:
            self.daemons[serial] = subprocess.Popen(
                self._inside("adbd", root=True), stdout=log, stderr=log, env=environment
            )
        give_up = time.monotonic() + TIMEOUT_S
        while "connected to" not in self.adb("connect", serial):
            if time.monotonic() > give_up:
                raise TimeoutError(Path(log.name).read_text())
        self.adb("-s", serial, "wait-for-device")
        return serial

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.tools / "adb", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.stdout + done.stderr

    def _inside(self, *command: str, root: bool = False) -> list[str]:
        """Wrap a command to run in the device: with its files if `root`, else its network only."""
        spaces = [*INTO, "--net", *(["--mount", "--root"] if root else [])]
        return ["nsenter", "--target", str(self.holder), *spaces, "--", *command]

    def stop(self) -> None:
        self.adb("kill-server")
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait(TIMEOUT_S)


@contextlib.contextmanager
def adbd(
    system: Path, folder: Path, *, room: str | None = None, cores: Path | None = None
) -> Iterator[Adbd]:
    """Run a device with the files of `system` (the fixture device_system). `room` limits its
    /data/local/tmp ("8m"); `cores` is a folder that stands in for /sys/devices/system/cpu."""
    for name in ("bin", "data", "tools", "home"):
        (folder / name).mkdir(parents=True)
    given = [str(system), str(folder / "data"), room or "", str(cores or "")]
    holder = subprocess.Popen(
        ["unshare", *AS_ROOT, "--net", "--mount", "sh", "-c", ENTER, "sh", *given],
        stdout=subprocess.PIPE,
    )
    device = Adbd(folder, holder.pid, {})
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        home = folder / "home"
        environment = [
            f"ANDROID_ADB_SERVER_PORT={SERVER_PORT}",
            "ADB_LOCAL_TRANSPORT_MAX_PORT=5554",
            *(f"{name}={home}" for name in ("ANDROID_USER_HOME", "HOME", "TMPDIR")),
        ]
        wrapper = device.tools / "adb"
        enter = shlex.join(device._inside("env", *environment, shutil.which("adb") or "adb"))
        wrapper.write_text(f'#!/bin/sh\nexec {enter} "$@"\n')
        wrapper.chmod(0o755)
        device.start()
        yield device
    finally:
        device.stop()
        holder.kill()
        holder.wait(TIMEOUT_S)
        if holder.stdout is not None:
            holder.stdout.close()


def why_no_adbd() -> str | None:
    """Say what a device lacks here, or None: adb, and namespaces that this user may create."""
    missing = [tool for tool in ("adb", "unshare", "nsenter", "ip") if not shutil.which(tool)]
    if missing:
        return f"missing: {', '.join(missing)}"
    tried = ["unshare", *AS_ROOT, "--net", "--mount", "true"]
    done = subprocess.run(tried, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return f"this user may not make namespaces: {done.stderr.strip()}" if done.returncode else None
