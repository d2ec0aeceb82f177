"""A real adbd and a real adb server with no phone, in network and mount namespaces of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER_PORT = "5047"
FIRST_PORT = 6543
TIMEOUT_S = 60
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
VENV = Path(sys.executable).parent


@dataclass
class Adbd:
    """`bin` comes first on adbd's PATH: stand-ins for what only a phone has go there. `data` is
    the device's /data/local/tmp, `tools` a folder with an `adb` for our own PATH."""

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
        """What is under the project's folder on the device."""
        return self.data / "mcad-mobile"

    def stand_in(self, name: str, script: str) -> None:
        """A shell script on adbd's PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self) -> str:
        """One more daemon, connected to the server; its serial."""
        serial = f"127.0.0.1:{FIRST_PORT + len(self.daemons)}"
        environment = {
            "PATH": f"{self.bin}:{SYSTEM_PATH}",
            "ADBD_PORT": serial.partition(":")[2],
            "HOME": str(self.folder),
        }
        log = (self.folder / f"adbd-{len(self.daemons)}.log").open("wb")
        with log:
            self.daemons[serial] = subprocess.Popen(
                self._inside("adbd", mount=True), stdout=log, stderr=log, env=environment
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

    def _inside(self, *command: str, mount: bool = False) -> list[str]:
        spaces = ["--net", "--mount"] if mount else ["--net"]
        return ["nsenter", "--target", str(self.holder), *spaces, "--", *command]

    def stop(self) -> None:
        self.adb("kill-server")
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait(TIMEOUT_S)


@contextlib.contextmanager
def adbd(folder: Path, *, room: str | None = None, cores: Path | None = None) -> Iterator[Adbd]:
    """A running device. `room` limits its /data/local/tmp ("8m"); `cores` is a folder that
    stands in for /sys/devices/system/cpu."""
    _need_root_and_tools()
    for name in ("bin", "data", "tools"):
        (folder / name).mkdir(parents=True)
    mount = f"mount --bind {folder}/data /data/local/tmp"
    if room:
        mount = f"mount -t tmpfs -o size={room} none /data/local/tmp"
    script = f"ip link set lo up && mkdir -p /data/local/tmp && {mount}"
    if cores:
        script += f" && mount --bind {cores} /sys/devices/system/cpu"
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", f"{script} && echo ready; exec sleep infinity"],
        stdout=subprocess.PIPE,
    )
    device = Adbd(folder, holder.pid, {})
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        environment = (
            f"ANDROID_ADB_SERVER_PORT={SERVER_PORT} ADB_LOCAL_TRANSPORT_MAX_PORT=5554 "
            f"ANDROID_USER_HOME={folder}/home HOME={folder}/home"
        )
        (folder / "home").mkdir()
        wrapper = device.tools / "adb"
        enter = " ".join(device._inside("env", environment, shutil.which("adb") or "adb"))
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


def _need_root_and_tools() -> None:
    """Namespaces take root; where it is not there, these tests skip, but never in CI."""
    missing = [tool for tool in ("adb", "adbd", "unshare", "nsenter") if not shutil.which(tool)]
    if not missing and os.geteuid() == 0:
        return
    why = f"missing: {', '.join(missing)}" if missing else "not root"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why}, and under CI=true nothing may be skipped")
    pytest.skip(f"{why}: `scripts/setup-system.sh tests` installs what is needed")
