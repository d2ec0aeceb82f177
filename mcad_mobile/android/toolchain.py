"""The JDK and other programs that build the app: finding them, their versions, and running them."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from mcad_mobile.errors import BuildError, install_line

# android_demo/ of a checkout, or its copy inside the wheel.
_CANDIDATES = (
    Path(__file__).parents[2] / "android_demo",
    Path(__file__).parents[1] / "android_demo",
)
# For tools that run for seconds, the JVM's second compiler and parallel collectors do not pay off.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# ct.sym of a JDK holds the signatures of earlier releases, each under a letter. "G" is 16, the last
# release that every supported JDK has.
_SIGNATURES = "G"
# The bytes of a class file that hold its release, counted from Java 1.0.
_CLASS_VERSION, _FIRST_CLASS_VERSION = slice(6, 8), 44
JAVA_RELEASE = 17  # what the sources are written in
_TIMEOUT_S = 600
_STYLE = re.compile(r"\x1b\[[0-9;]*m")  # mvn prints its version in bold
_SHOWN_LINES = 20  # of the output of a tool that failed
_JDK = "apt install default-jdk-headless  # or another JDK from 17 on; macOS: brew install openjdk"


def android_demo() -> Path:
    """The folder of the Android sources. BuildError if the installation lacks it."""
    for candidate in _CANDIDATES:
        if candidate.is_dir():
            return candidate
    raise BuildError(
        f"The Android sources are missing (looked in {', '.join(map(str, _CANDIDATES))}).",
        f"Install mcad-mobile again: {install_line(again=True)}.",
    )


def main_sources(module: str) -> Path:
    """The Java sources of a module of android_demo/, such as "engine"."""
    return android_demo() / module / "src" / "main" / "java"


@dataclass(frozen=True)
class Tool:
    """A program of the system, the command that installs it, and the option that prints its
    version."""

    name: str
    how_to_get: str
    needed_for: str
    version_flag: str

    @property
    def version(self) -> str | None:
        """The first version number that it prints; None if the program is missing or fails."""
        path = shutil.which(self.name)
        if path is None:
            return None
        try:
            done = subprocess.run(
                [path, self.version_flag], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r"\d+(\.\d+)*", _STYLE.sub("", done.stdout + done.stderr))
        return found.group() if done.returncode == 0 and found else None


JAVA = Tool("java", _JDK, "app", "-version")
JAVAC = Tool("javac", _JDK, "app", "-version")
JAVADOC = Tool("javadoc", _JDK, "library --maven", "--version")
KEYTOOL = Tool("keytool", _JDK, "app", "-help")
JARSIGNER = Tool("jarsigner", _JDK, "app --aab", "-version")
TOOLS = (JAVA, JAVAC)


def executable(tool: Tool) -> str:
    """Path of a tool. BuildError, with the way to get it, if it is not installed."""
    path = shutil.which(tool.name)
    if path is None:
        raise BuildError(
            f"{tool.name} is not installed.",
            f"`mcad-mobile doctor` lists what else is missing. To get it: {tool.how_to_get}",
        )
    return path


def run(
    tool: Tool | Path,
    arguments: Iterable[object],
    *,
    timeout_s: float = _TIMEOUT_S,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
    output: Literal["stdout", "stderr"] = "stdout",
) -> str:
    """Run a tool, or the program at a path, in `folder`, and return its standard `output`.
    BuildError with the first lines that it printed if it fails, or exceeds `timeout_s`."""
    path = str(tool) if isinstance(tool, Path) else executable(tool)
    command = [path, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,  # a question, such as for a password, would never be seen
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=folder,
            env=environment or dict(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{tool.name} took more than {timeout_s:.0f} s.",
            "Run the command again when the machine is less busy.",
        ) from error
    if done.returncode != 0:
        lines = _STYLE.sub("", done.stderr + done.stdout).strip().splitlines()
        shown = "\n".join(lines[:_SHOWN_LINES]) or "(it printed nothing)"
        raise BuildError(
            f"{tool.name} failed with code {done.returncode}:\n{shown}",
            f"Correct what {tool.name} names, and run the command again.",
        )
    return done.stdout if output == "stdout" else done.stderr


def java_home() -> Path:
    """Ask javac for the folder of its JDK: on a Mac, /usr/bin/javac is a stub for a JDK elsewhere.
    BuildError."""
    done = run(JAVAC, ["-J-XshowSettings:properties", "-version"], output="stderr")
    found = re.search(r"^\s*java\.home = (.+)$", done, re.MULTILINE)
    if found is None:
        raise BuildError("javac does not say where its JDK is.", f"Install {_JDK}.")
    return Path(found.group(1).strip())


def library_classes(jar: Path) -> Path:
    """Write the signatures of Java's classes to `jar`, for D8's --lib, and return it. The JDK's own
    classes may be too new for D8 to read."""
    symbols = zipfile.ZipFile(java_home() / "lib" / "ct.sym")
    with symbols, zipfile.ZipFile(jar, "w") as packed:
        for name in symbols.namelist():
            releases, _, rest = name.partition("/")
            module, _, entry = rest.partition("/")
            is_java = _SIGNATURES in releases and module.startswith("java.")
            if is_java and "/" in entry and entry.endswith(".sig"):
                data = bytearray(symbols.read(name))
                data[_CLASS_VERSION] = struct.pack(">H", JAVA_RELEASE + _FIRST_CLASS_VERSION)
                packed.writestr(f"{entry.removesuffix('.sig')}.class", bytes(data))
    return jar


def compile_java(
    sources: Iterable[Path],
    classpath: Sequence[Path],
    out: Path,
    *,
    javac_release: int | None = None,
) -> Path:
    """Compile folders of Java sources into the folder `out`, and return it. Warnings are errors.
    `javac_release` is the compiler's release; None asks the compiler. BuildError."""
    release = javac_release or _javac_release()
    if release < JAVA_RELEASE:
        raise BuildError(
            f"javac {release} is too old: the sources are Java {JAVA_RELEASE}.",
            f"Install {_JDK}, and put it first on PATH.",
        )
    arguments: list[object] = [f"-J{option}" for option in SHORT_LIVED]
    arguments += ["-encoding", "UTF-8", "--release", JAVA_RELEASE, "-g", "-proc:none"]
    arguments += ["-implicit:none"]
    # As D8 does: with invokedynamic, a JVM links each concatenation at its first use.
    arguments += ["-XDstringConcat=inline"]
    arguments += ["-Xlint:all,-try,-options,-classfile,-path", "-Werror", "-d", out]
    _run_over_sources(JAVAC, arguments, sources, classpath, out)
    return out


def document_java(sources: Iterable[Path], classpath: Sequence[Path], out: Path) -> Path:
    """Write API pages for the public classes in folders of Java sources to `out`, and return it.
    BuildError."""
    arguments: list[object] = ["-quiet", "-notimestamp", "-Xdoclint:none", "-encoding", "UTF-8"]
    arguments += ["--release", JAVA_RELEASE, "-d", out]
    _run_over_sources(JAVADOC, arguments, sources, classpath, out)
    return out


def _run_over_sources(
    tool: Tool,
    arguments: Sequence[object],
    sources: Iterable[Path],
    classpath: Sequence[Path],
    out: Path,
) -> None:
    files = sorted(str(file) for folder in sources for file in folder.rglob("*.java"))
    out.mkdir(parents=True, exist_ok=True)
    listed = out.with_name(f"{out.name}.sources")
    listed.write_text("".join(f'"{file}"\n' for file in files), "utf-8")
    # Annotations and LiteRT are needed to compile, but none of our apps contains their classes.
    path: list[object] = ["-sourcepath", android_demo() / "compile_only"]
    path += ["-classpath", ":".join(map(str, classpath))] if classpath else []
    run(tool, [*arguments, *path, f"@{listed}"])


@cache
def _javac_release() -> int:
    version = JAVAC.version
    return JAVA_RELEASE if version is None else int(version.split(".")[0])
