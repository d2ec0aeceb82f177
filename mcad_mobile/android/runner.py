"""The headless runner that `bench --device adb` pushes: a jar for app_process and its libraries."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from mcad_mobile.android.aar import ABIS, libraries
from mcad_mobile.android.dex import build_dex
from mcad_mobile.android.downloads import (
    BUNDLETOOL,
    ONNXRUNTIME_AAR,
    Progress,
    cache_directory,
)
from mcad_mobile.android.package import Entry, write_package
from mcad_mobile.android.sources import android_demo
from mcad_mobile.errors import BuildError

RUNNER_MODULES = ("engine", "platform", "runner")


def runner_files(abi: str, progress: Progress = lambda step: None) -> dict[str, Path]:
    """Name on the device (relative, POSIX) -> local file, built or taken from the cache.

    `runner.jar` holds the engine, the runner and ONNX Runtime's Java API as classes.dex; `lib/*.so`
    are ONNX Runtime's libraries for `abi`. BuildError says what is missing and how to get it.
    """
    if abi not in ABIS:
        raise BuildError(f"ABI {abi!r} is not one of {', '.join(ABIS)}.")
    folder = cache_directory() / f"runner-{abi}-{_fingerprint()}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".runner-", dir=folder.parent) as scratch:
            made = _build(abi, Path(scratch), progress)
            for old in cache_directory().glob(f"runner-{abi}-*"):
                shutil.rmtree(old, ignore_errors=True)
            made.rename(folder)
    native = sorted((folder / "lib").iterdir())
    return {"runner.jar": folder / "runner.jar", **{f"lib/{path.name}": path for path in native}}


def _build(abi: str, scratch: Path, progress: Progress) -> Path:
    found = libraries(scratch, abi, progress=progress)
    dex = build_dex(RUNNER_MODULES, found.jars, scratch, progress=progress)
    made = scratch / "made"
    (made / "lib").mkdir(parents=True)
    write_package(made / "runner.jar", [Entry("classes.dex", dex)])
    for name, data in found.native.items():
        (made / "lib" / name).write_bytes(data)
    return made


def _fingerprint() -> str:
    """Changes with the sources, and with what they are built by."""
    digest = hashlib.sha256(f"{BUNDLETOOL.sha256} {ONNXRUNTIME_AAR.sha256}".encode())
    root = android_demo()
    for module in (*RUNNER_MODULES, "stubs"):
        for path in sorted((root / module).rglob("*.java")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
