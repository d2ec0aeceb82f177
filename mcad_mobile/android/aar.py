"""What an app takes out of Android archives: classes and native libraries."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, Progress, fetch
from mcad_mobile.errors import BuildError

ABIS = ("arm64-v8a", "armeabi-v7a", "x86_64", "x86")
_ONNXRUNTIME = "ai/onnxruntime/OrtEnvironment.class"


@dataclass(frozen=True)
class Libraries:
    """Jars to compile against and to put into the dex; native libraries by name, of one ABI.
    `supplied` says whether any came from archives of the user's."""

    jars: tuple[Path, ...]
    native: dict[str, bytes]
    supplied: bool


def libraries(
    folder: Path,
    abi: str,
    supplied: Sequence[Path] = (),
    progress: Progress = lambda step: None,
) -> Libraries:
    """ONNX Runtime and what the user supplies, jars extracted into `folder`.

    A supplied archive goes before: one that holds ONNX Runtime itself (onnxruntime-android-qnn)
    takes the place of ours, one that holds an NPU's libraries (qnn-runtime) comes beside it.
    BuildError for a file that is no Android archive, or has nothing for `abi`.
    """
    jars: list[Path] = []
    native: dict[str, bytes] = {}
    for number, path in enumerate([*supplied, fetch(ONNXRUNTIME_AAR, progress)]):
        ours = number == len(supplied)
        if ours and any(_holds_onnxruntime(jar) for jar in jars):
            break
        found = _open(path, folder / f"library-{number}.jar", abi, native)
        jars += [found] if found else []
    return Libraries(tuple(jars), native, bool(supplied))


def _open(path: Path, jar: Path, abi: str, native: dict[str, bytes]) -> Path | None:
    prefix = f"jni/{abi}/"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "AndroidManifest.xml" not in names:
                raise BuildError(
                    f"{path} is not an Android archive: it has no AndroidManifest.xml."
                )
            found = [name for name in names if name.startswith(prefix) and name.endswith(".so")]
            if not found and any(name.startswith("jni/") for name in names):
                raise BuildError(
                    f"{path} has no native library for {abi}.",
                    f"Use an archive with a folder {prefix}.",
                )
            for name in found:
                native.setdefault(name.removeprefix(prefix), archive.read(name))
            if "classes.jar" not in names:
                return None
            jar.write_bytes(archive.read("classes.jar"))
            return jar if _has_classes(jar) else None
    except (OSError, zipfile.BadZipFile) as error:
        raise BuildError(f"{path} cannot be read: {error}.", "Give the path of a .aar.") from error


def _has_classes(jar: Path) -> bool:
    with zipfile.ZipFile(jar) as classes:
        return any(name.endswith(".class") for name in classes.namelist())


def _holds_onnxruntime(jar: Path) -> bool:
    with zipfile.ZipFile(jar) as classes:
        return _ONNXRUNTIME in classes.namelist()
