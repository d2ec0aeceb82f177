"""Builds the C of mcad_mobile/index on the way into a wheel or an editable install.

    python hatch_build.py    # for a checkout that is not installed

No install fails for want of a compiler: without the kernel numpy searches, more slowly.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, in an environment without hatchling
    BuildHookInterface = object

FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=default", "-ffp-contract=off")
FOLDER = Path(__file__).parent / "mcad_mobile" / "index"
SOURCES = (FOLDER / "scan.c", FOLDER / "rescore.c")
LIBRARY = FOLDER / "_kernel.so"


def build_kernel() -> str | None:
    """Compile the kernel; return why it was not."""
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc")
    if sys.platform not in ("linux", "darwin") or compiler is None:
        return "there is no C compiler (cc or gcc)"
    # Two installs at once do not tread on each other, and nobody maps half a library.
    made = LIBRARY.with_name(f"_kernel.{os.getpid()}.so")
    try:
        done = subprocess.run(
            [compiler, *FLAGS, *map(str, SOURCES), "-o", str(made), "-lm"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            made.replace(LIBRARY)
            return None
        return f"{compiler} said: {done.stderr.strip()[-300:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        made.unlink(missing_ok=True)


def platform_tag() -> str:
    """Name the kind of machine that a library compiled here runs on, as wheels do."""
    import sysconfig

    return re.sub(r"[.-]", "_", sysconfig.get_platform())


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's: a wheel with the kernel is of one platform and of any Python 3."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if why := build_kernel():
            LIBRARY.unlink(missing_ok=True)
            self.app.display_warning(f"The search kernel was not built, numpy searches: {why}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
        build_data["artifacts"].append(str(LIBRARY.relative_to(Path(self.root))))


if __name__ == "__main__":
    if why := build_kernel():
        sys.exit(f"The kernel was not built: {why}")
