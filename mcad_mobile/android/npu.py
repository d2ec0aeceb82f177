"""What a Snapdragon's NPU needs in an app, from a Maven repository."""

from __future__ import annotations

import re
from pathlib import Path

from mcad_mobile.android.downloads import Progress, fetch_maven
from mcad_mobile.android.maven import Artifact
from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.errors import BuildError

QUALCOMM = "com.qualcomm.qti"
ABI = "arm64-v8a"  # the one that Qualcomm publishes for phones
ONNXRUNTIME_QNN = Artifact(
    "com.microsoft.onnxruntime",
    "onnxruntime-android-qnn",
    "1.29.0",
    "cc4cfd72a47703aee65d8e6ce7448fa7488e3fff6556f9d6d354ec1687347cfd",
)
# How Qualcomm's compiler signs what it makes: version, and day and time of its build.
_SIGNATURE = re.compile(rb"v(\d+\.\d+\.\d+)\.\d{12}")


def qnn_runtime(bundle: Bundle) -> Artifact | None:
    """The runtime that goes with the compiler of the bundle's QNN rungs, or None if it has none: an
    older one does not load what a newer compiler made. BuildError if they do not say which."""
    files = [
        bundle.path(file)
        for name in TOWERS
        for rung in bundle.tower(name).rungs
        if rung.runtime == "qnn"
        for file in rung.files
    ]
    if not files:
        return None
    found = {version for path in files for version in _SIGNATURE.findall(path.read_bytes())}
    if not found:
        raise BuildError(
            f"The QNN rungs of {bundle.directory} do not say which compiler made them.",
            "Give Qualcomm's runtime of that version by hand: --aar qnn-runtime-VERSION.aar.",
        )
    version = max(found, key=lambda text: tuple(map(int, text.split(b".")))).decode()
    return Artifact(QUALCOMM, "qnn-runtime", version)


def npu_archives(
    bundle: Bundle, repository: str, progress: Progress = lambda step: None
) -> dict[Path, Artifact]:
    """ONNX Runtime with QNN and Qualcomm's runtime, fetched once; none for a bundle without QNN
    rungs. BuildError."""
    runtime = qnn_runtime(bundle)
    if runtime is None:
        return {}
    artifacts = (ONNXRUNTIME_QNN, runtime)
    return {fetch_maven(artifact, repository, progress): artifact for artifact in artifacts}
