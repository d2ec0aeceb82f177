"""Android archives as users supply them."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from benchmarks.jvm import ONNXRUNTIME_JVM
from mcad_mobile.android import downloads
from mcad_mobile.android.downloads import Artifact, Download, fetch
from mcad_mobile.base.files import sha256_of
from mcad_mobile.errors import BuildError
from tests.support.elf_library import elf_library

ABI = "arm64-v8a"
HTP = elf_library(b"the NPU's library")


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as aar:
        aar.writestr("AndroidManifest.xml", '<manifest package="com.qualcomm.qti"/>')
        for name, data in files.items():
            aar.writestr(name, data)
    return path


def onnxruntime_archive(path: Path, says: bytes = b"VERS_1.29.0", abi: str = ABI) -> Path:
    """ONNX Runtime's real Java API, and a fake native library that contains `says`."""
    with zipfile.ZipFile(fetch(downloads.ONNXRUNTIME_AAR)) as real:
        classes = real.read("classes.jar")
    files = {
        "classes.jar": classes,
        f"jni/{abi}/libonnxruntime.so": elf_library(says),
        f"jni/{abi}/libonnxruntime4j_jni.so": elf_library(b"JNI"),
    }
    return archive(path, files)


def qnn_archive(path: Path) -> Path:
    files = {
        f"jni/{ABI}/libQnnHtp.so": HTP,
        f"jni/{ABI}/libQnnSystem.so": elf_library(b"system"),
        f"jni/{ABI}/libQnnHtpV79Stub.so": elf_library(b"stub"),
        f"jni/{ABI}/libQnnHtpV79Skel.so": elf_library(b"skeleton", machine=164, page=4096),
        "META-INF/LICENSE.txt": b"Qualcomm's terms",
        "jni/x86_64/libOther.so": b"of another ABI",
    }
    return archive(path, files)


class StandIn(Artifact):
    """Stands in for an artifact with the same coordinates, built from the JVM's ONNX Runtime."""

    def fetch(self, folder: Path) -> Path:
        with zipfile.ZipFile(fetch(ONNXRUNTIME_JVM)) as jar:
            with zipfile.ZipFile(folder / "classes.jar", "w") as classes:
                for name in sorted(jar.namelist()):
                    if name.startswith("ai/onnxruntime/") and name.endswith(".class"):
                        classes.writestr(zipfile.ZipInfo(name), jar.read(name))
            parts = {
                "AndroidManifest.xml": b'<manifest package="ai.onnxruntime"/>',
                "classes.jar": (folder / "classes.jar").read_bytes(),
            }
            for abi, system in (("arm64-v8a", "linux-aarch64"), ("x86_64", "linux-x64")):
                for name in ("libonnxruntime.so", "libonnxruntime4j_jni.so"):
                    data = jar.read(f"ai/onnxruntime/native/{system}/{name}")
                    parts[f"jni/{abi}/{name}"] = data
        with zipfile.ZipFile(folder / self.file_name, "w") as aar:
            for name, data in parts.items():
                aar.writestr(zipfile.ZipInfo(name), data)  # no date, so always the same bytes
        return folder / self.file_name


@cache
def why_no_onnxruntime() -> str | None:
    """Why ONNX Runtime for Android is unavailable, checked once per session; None if it is not."""
    try:
        fetch(downloads.ONNXRUNTIME_AAR)
    except BuildError as error:
        return f"Maven Central is out of reach: {error.message}"
    return None


def onnxruntime_stand_in(folder: Path) -> Download:
    """A replacement for ONNX Runtime for Android where that is unavailable."""
    pinned = downloads.ONNXRUNTIME_AAR
    assert isinstance(pinned.source, Artifact)
    source = StandIn(*vars(pinned.source).values())
    sha256 = sha256_of(source.fetch(folder))
    return replace(pinned, name="onnxruntime-stand-in.aar", sha256=sha256, source=source, copy=None)


def data_offset(package: Path, info: zipfile.ZipInfo) -> int:
    """Return the offset of a file's bytes in a zip: after its local header, whose extra field may
    differ from the directory's."""
    with package.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    return info.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
