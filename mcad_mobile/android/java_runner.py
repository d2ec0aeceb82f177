"""Build the headless runner that `bench --device adb` pushes: a jar for app_process and its native
libraries."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.android.build_tools import build_dex
from mcad_mobile.android.native_libraries import ABIS, libraries
from mcad_mobile.android.packages import Entry, write_package
from mcad_mobile.base.files import cache_directory, fingerprint
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import BuildError

RUNNER_MODULES = ("engine", "gallery", "platform", "runner")


def runner_files(
    abi: str, aars: Sequence[Path] = (), progress: Progress = silent
) -> dict[str, Path]:
    """Build the runner for `abi` with the libraries of the archives `aars`, or take it from the
    cache if nothing has changed. Return {name on the device: local file}: runner.jar with
    classes.dex, and lib/*.so. BuildError: `abi` is unknown, or a tool is missing or fails."""
    if abi not in ABIS:
        raise BuildError(f"ABI {abi!r} is not one of {', '.join(ABIS)}.")
    with tempfile.TemporaryDirectory(
        prefix=".runner-", dir=_make_folder(cache_directory())
    ) as scratch:
        found = libraries(Path(scratch), [abi], aars, progress=progress)
        native = found.native[abi]
        dex = build_dex(RUNNER_MODULES, found.jars, Path(scratch), progress=progress)
        made_of = fingerprint([dex, *(n.encode() + data for n, data in sorted(native.items()))])
        folder = cache_directory() / f"runner-{abi}-{made_of}"
        if not folder.is_dir():
            made = Path(scratch) / "made"
            write_package(_make_folder(made) / "runner.jar", [Entry("classes.dex", dex)])
            for name, data in native.items():
                (_make_folder(made / "lib") / name).write_bytes(data)
            for old in cache_directory().glob(f"runner-{abi}-*"):
                shutil.rmtree(old, ignore_errors=True)
            made.rename(folder)
    placed = sorted((folder / "lib").iterdir())
    return {"runner.jar": folder / "runner.jar", **{f"lib/{path.name}": path for path in placed}}


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
