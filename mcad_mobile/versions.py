"""Versions of installed tools, as bundles and benchmarks state them."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

import mcad_mobile


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def tool_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of this package, of Python, and of those `distributions` that are installed."""
    found = {name: version_of(name) for name in distributions}
    return {
        "mcad-mobile": mcad_mobile.__version__,
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
    }
