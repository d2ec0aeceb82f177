"""A stand-in for MediaTek's NeuroPilot SDK, which no package registry has: the package through
which LiteRT finds it, and its one library that LiteRT's compiler plugin loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "ai_edge_litert_sdk_mediatek"
SOURCE = Path(__file__).with_name("neuron_adapter.c")
# In version 8 the plugin uses its own list of operators; in version 9 it asks the library.
VERSIONS = {"v8": "8, 0, 10", "v9": "9, 0, 3"}
_CODE = """
from pathlib import Path

def path_to_sdk_libs(version):
    return Path(__file__).parent / version
"""


def write_sdk(folder: Path, *flags: str) -> Path:
    """Write the package into `folder`, for import from there; `flags` are for the C compiler."""
    package = folder / PACKAGE
    for version, number in VERSIONS.items():
        library = package / version / "libneuron_adapter.so"
        library.parent.mkdir(parents=True)
        command = ["cc", "-shared", "-fPIC", "-O1", f"-DVERSION={number}", *flags]
        subprocess.run([*command, "-o", library, SOURCE], check=True, timeout=120)
    (package / "__init__.py").write_text(_CODE)
    return folder


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, package: str = PACKAGE) -> None:
    """For one test, make the package in `folder` importable."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, package, sys)  # so that monkeypatch restores the old entry
    monkeypatch.delitem(sys.modules, package)


def uninstall(monkeypatch: pytest.MonkeyPatch, package: str = PACKAGE) -> None:
    """For one test, hide the package."""
    monkeypatch.setitem(sys.modules, package, None)
