"""The tools that build the app: where they are, what is missing, and how they are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mcad_mobile.errors import BuildError

JAVA_RELEASE = 17  # what the sources are written in, and the newest that our D8 reads
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
_TIMEOUT_S = 600
_LINES = 20


@dataclass(frozen=True)
class Tool:
    """A program, the Debian package that has it, and the argument that makes it say its version."""

    name: str
    package: str
    needed_for: str
    version_flag: str

    @property
    def version(self) -> str | None:
        """The first number that looks like a version in what it says; None if it is not there."""
        path = shutil.which(self.name)
        if path is None:
            return None
        try:
            done = subprocess.run(
                [path, self.version_flag], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r"\d+(\.\d+)*", done.stdout + done.stderr)
        return found.group() if done.returncode == 0 and found else None


_APP = "app"
JAVA = Tool("java", "default-jre-headless", _APP, "-version")
JAVAC = Tool("javac", "default-jdk-headless", _APP, "-version")
AAPT2 = Tool("aapt2", "aapt", _APP, "version")
APKSIGNER = Tool("apksigner", "apksigner", _APP, "--version")
KEYTOOL = Tool("keytool", "default-jre-headless", _APP, "-help")
JARSIGNER = Tool("jarsigner", "default-jdk-headless", _APP, "-version")
NPM = Tool("npm", "npm", "app (fetches ONNX Runtime for Android, once)", "--version")
TOOLS = (JAVA, JAVAC, AAPT2, APKSIGNER, NPM)


def executable(tool: Tool) -> str:
    """Its path. BuildError with the Debian package if it is not installed."""
    path = shutil.which(tool.name)
    if path is None:
        raise BuildError(
            f"{tool.name} is not installed.",
            f"apt install {tool.package} (or scripts/setup-system.sh); `mcad-mobile doctor` lists "
            "what else is missing.",
        )
    return path


def framework() -> Path:
    """The framework's resources, which aapt2 links to. BuildError if they are not installed."""
    if not FRAMEWORK.is_file():
        raise BuildError(
            f"{FRAMEWORK} is missing.", "apt install android-framework-res (Android's resources)."
        )
    return FRAMEWORK


def run(
    tool: Tool,
    arguments: Iterable[object],
    *,
    timeout_s: float = _TIMEOUT_S,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a tool; what it printed on standard output. BuildError with its first lines if it
    fails."""
    command = [executable(tool), *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment or dict(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{tool.name} took more than {timeout_s:.0f} s.") from error
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines()
        said = "\n".join(lines[:_LINES]) or "(it printed nothing)"
        raise BuildError(f"{tool.name} failed with code {done.returncode}:\n{said}")
    return done.stdout


def java_home() -> Path:
    """The JDK whose classes D8 looks up."""
    return Path(executable(JAVAC)).resolve().parents[1]


def compile_java(sources: Iterable[Path], classpath: Sequence[Path], out: Path) -> Path:
    """Compile folders of Java sources to classes in `out`, and return it. Warnings are errors."""
    _check_javac()
    files = sorted(str(file) for folder in sources for file in folder.rglob("*.java"))
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["-encoding", "UTF-8", "--release", JAVA_RELEASE, "-g", "-proc:none"]
    arguments += ["-Xlint:all,-try,-options,-classfile,-path", "-Werror", "-d", out]
    if classpath:
        arguments += ["-classpath", ":".join(map(str, classpath))]
    listed = out.with_name(f"{out.name}.sources")
    listed.write_text("".join(f'"{file}"\n' for file in files), "utf-8")
    run(JAVAC, [*arguments, f"@{listed}"])
    return out


@cache
def _check_javac() -> None:
    version = JAVAC.version
    if version is not None and int(version.split(".")[0]) < JAVA_RELEASE:
        raise BuildError(
            f"javac {version} is too old: the sources are Java {JAVA_RELEASE}.",
            f"apt install {JAVAC.package}, or put a newer JDK first on PATH.",
        )
