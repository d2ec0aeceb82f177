"""A stand-in for MediaTek's NeuroPilot SDK, which no package registry has: the package by which
LiteRT finds it, and the one library of it that LiteRT's compiler plugin loads."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("neuron_adapter.c")
# In version 8 the plugin goes by its own list of operators, in version 9 it asks the library.
VERSIONS = {"v8": "8, 0, 10", "v9": "9, 0, 3"}
_PACKAGE = """
from pathlib import Path

def path_to_sdk_libs(version):
    return Path(__file__).parent / version
"""


def write_sdk(folder: Path, *flags: str) -> Path:
    """Write the package into `folder`, which a path to import from; `flags` are the compiler's."""
    package = folder / "ai_edge_litert_sdk_mediatek"
    for version, number in VERSIONS.items():
        library = package / version / "libneuron_adapter.so"
        library.parent.mkdir(parents=True)
        command = ["cc", "-shared", "-fPIC", "-O1", f"-DVERSION={number}", *flags]
        subprocess.run([*command, "-o", library, SOURCE], check=True, timeout=120)
    (package / "__init__.py").write_text(_PACKAGE)
    return folder
