"""Android archives as users give them, and Maven repositories that hold some."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from elf_library import elf_library

from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, fetch
from mcad_mobile.android.maven import Artifact

ABI = "arm64-v8a"
HTP = elf_library(b"the NPU's library")


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as aar:
        aar.writestr("AndroidManifest.xml", '<manifest package="com.qualcomm.qti"/>')
        for name, data in files.items():
            aar.writestr(name, data)
    return path


def onnxruntime_archive(path: Path, says: bytes = b"VERS_1.29.0", abi: str = ABI) -> Path:
    """ONNX Runtime's real Java API, and a native library that is none but `says` something."""
    with zipfile.ZipFile(fetch(ONNXRUNTIME_AAR)) as real:
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
        f"jni/{ABI}/libQnnHtpV79Skel.so": elf_library(b"skeleton", machine=164, page=4096),
        "jni/x86_64/libOther.so": b"of another ABI",
    }
    return archive(path, files)


def publish(repository: Path, artifact: Artifact, file: Path, algorithm: str = "sha1") -> Path:
    """Put a file into a Maven repository, with its checksum beside it; its place there."""
    place = repository / artifact.path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file.read_bytes())
    digest = hashlib.new(algorithm, file.read_bytes()).hexdigest()
    place.with_name(f"{place.name}.{algorithm}").write_text(digest)
    return place
