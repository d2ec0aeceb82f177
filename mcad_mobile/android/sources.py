"""Where the Java sources lie: android_demo/ of a checkout, or its copy inside the wheel."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.errors import BuildError

_CANDIDATES = (
    Path(__file__).parents[2] / "android_demo",
    Path(__file__).parents[1] / "android_demo",
)


def android_demo() -> Path:
    """The folder of the Android sources. BuildError if the installation lacks it."""
    for candidate in _CANDIDATES:
        if candidate.is_dir():
            return candidate
    raise BuildError(
        f"The Android sources are missing (looked in {', '.join(map(str, _CANDIDATES))}).",
        "Install mcad-mobile again: pip install --force-reinstall mcad-mobile.",
    )


def main_sources(module: str) -> Path:
    """The Java sources of "engine", "platform", "runner", "desktop" or "app"."""
    return android_demo() / module / "src" / "main" / "java"
