"""Run Android's own tools as downloads.py fetches them, without an Android SDK."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mcad_mobile.android.downloads import (
    AAPT2_LINUX,
    AAPT2_MACOS,
    APKSIGNER_JAR,
    BUNDLETOOL,
    FRAMEWORK,
    R8,
    Download,
    fetch,
)
from mcad_mobile.android.toolchain import JAVA, SHORT_LIVED, Tool, executable, run
from mcad_mobile.base.progress import Progress
from mcad_mobile.errors import BuildError

# The system's, where no packaged one runs: Linux on other processors than x86-64.
AAPT2 = Tool(
    "aapt2",
    "apt install aapt  # of Debian 13 or Ubuntu 24.04: aapt2 of Android 12 or later",
    "app",
    "version",
)


def packaged_aapt2() -> Download | None:
    """The packaged aapt2 that runs on this system, if any does."""
    return next((tool for tool in (AAPT2_LINUX, AAPT2_MACOS) if tool.runs_here), None)


def prepare(progress: Progress) -> None:
    """Fetch the tools that build an app, if they are not in the cache. BuildError."""
    executable(JAVA)
    for tool in (R8, BUNDLETOOL, APKSIGNER_JAR, FRAMEWORK, packaged_aapt2()):
        if tool is not None:
            fetch(tool, progress)


def aapt2(arguments: Iterable[object]) -> str:
    """Run aapt2, and return its output. BuildError."""
    packaged = packaged_aapt2()
    return run(Path(executable(AAPT2)) if packaged is None else fetch(packaged), arguments)


def apksigner(arguments: Iterable[object], environment: dict[str, str] | None = None) -> str:
    """Run apksigner, and return its output. BuildError."""
    signer = [*SHORT_LIVED, "-jar", fetch(APKSIGNER_JAR)]
    return run(JAVA, [*signer, *arguments], environment=environment)


def bundletool(arguments: Iterable[object]) -> str:
    """Run bundletool, and return its output. BuildError."""
    return run(JAVA, [*SHORT_LIVED, "-jar", fetch(BUNDLETOOL), *arguments])


def d8(arguments: Iterable[object], r8: Path | None = None) -> str:
    """Run D8 of the user's `r8` jar, or of ours, and return its output. BuildError."""
    jar = fetch(R8) if r8 is None else r8
    command = [*SHORT_LIVED, "-Xmx1g", "-cp", jar, "com.android.tools.r8.D8"]
    return run(JAVA, [*command, *arguments])


def d8_version(r8: Path | None = None) -> str:
    """The version that D8 prints ("8.5.35"). BuildError if `r8` is a jar without D8."""
    try:
        words = d8(["--version"], r8).split()
    except BuildError as error:
        if r8 is None:
            raise
        raise BuildError(
            f"{r8} has no D8 in it ({error.message})",
            "Give com.android.tools:r8, a release of R8: --r8 r8-VERSION.jar.",
        ) from error
    return words[1] if len(words) > 1 else "unknown"
