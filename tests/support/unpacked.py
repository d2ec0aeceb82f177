"""Systems that scripts/setup-root.sh unpacks from packages into a folder: built once, kept in the
user's cache, and rebuilt when the script changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mcad_mobile.base.locks import open_locked
from mcad_mobile.bench.devices.host import default_root
from tests.support.paths import ROOT

SETUP_ROOT = ROOT / "scripts" / "setup-root.sh"


def unpacked_system(kind: str) -> Path:
    """Return the folder of an "arm64" or a "device" system, built from package registries if the
    cache lacks it."""
    root = default_root().with_name(kind)
    made_by = root / SETUP_ROOT.name
    with open_locked(root.with_name(f"{kind}.lock")):
        if not made_by.is_file() or made_by.read_bytes() != SETUP_ROOT.read_bytes():
            environment = os.environ | {"PYTHON": sys.executable}
            subprocess.run([SETUP_ROOT, kind, root], check=True, timeout=900, env=environment)
    return root
