"""Builds the C of mcad_mobile on the way into a wheel or an editable install.

    python hatch_build.py    # for a checkout that is not installed

No install fails for want of a compiler: without it numpy searches, more slowly.
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
PACKAGE = Path(__file__).parent / "mcad_mobile"
LIBRARIES = {
    PACKAGE / "index" / "_kernel.so": (
        PACKAGE / "index" / "scan.c",
        PACKAGE / "index" / "rescore.c",
        PACKAGE / "index" / "passing.c",
    ),
}


def build_kernels() -> str | None:
    """Compile all libraries; return why one was not."""
    for library, sources in LIBRARIES.items():
        if why := build(library, sources):
            return why
    return None


def build(library: Path, sources: tuple[Path, ...]) -> str | None:
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc")
    if sys.platform not in ("linux", "darwin") or compiler is None:
        return "there is no C compiler (cc or gcc)"
    # Two installs at once do not tread on each other, and nobody maps half a library.
    made = library.with_name(f"{library.stem}.{os.getpid()}.so")
    try:
        done = subprocess.run(
            [compiler, *FLAGS, *map(str, sources), "-o", str(made), "-lm"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            made.replace(library)
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
    """Hatchling's: a wheel with C in it is of one platform and of any Python 3."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if why := build_kernels():
            for library in LIBRARIES:
                library.unlink(missing_ok=True)
            self.app.display_warning(f"No C was built, numpy searches: {why}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
        for library in LIBRARIES:
            build_data["artifacts"].append(str(library.relative_to(Path(self.root))))


if __name__ == "__main__":
    if why := build_kernels():
        sys.exit(f"The C was not built: {why}")
