"""A stand-in for Google's Tensor ML SDK, which can be had from Google alone: the package through
which LiteRT finds it, and its one library that LiteRT's compiler plugin loads."""

from __future__ import annotations

import subprocess
from pathlib import Path

PACKAGE = "ai_edge_litert_sdk_google_tensor"
SOURCE = Path(__file__).with_name("tensor_compiler.c")
_CODE = """
from pathlib import Path

def path_to_sdk_libs():
    return Path(__file__).parent / "data"
"""


def write_sdk(folder: Path, *flags: str) -> Path:
    """Write the package into `folder`, for import from there; `flags` are for the C compiler."""
    library = folder / PACKAGE / "data" / "liblitert_plugin_compiler.so"
    library.parent.mkdir(parents=True)
    command = ["cc", "-shared", "-fPIC", "-O1", *flags, "-o", library, SOURCE]
    subprocess.run(command, check=True, timeout=120)
    (folder / PACKAGE / "__init__.py").write_text(_CODE)
    return folder
