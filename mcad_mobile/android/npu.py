"""What a Snapdragon's NPU needs in an app."""

from __future__ import annotations

import re
from pathlib import Path

from mcad_mobile.android.downloads import ONNXRUNTIME_QNN, Progress, fetch, fetch_unpinned
from mcad_mobile.android.maven import Artifact
from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.errors import BuildError

QUALCOMM = "com.qualcomm.qti"
ABI = "arm64-v8a"  # the one that Qualcomm publishes for phones
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
    return Artifact(QUALCOMM, "qnn-runtime", version, "aar")


def npu_archives(bundle: Bundle, progress: Progress = lambda step: None) -> dict[Path, Artifact]:
    """ONNX Runtime with QNN and Qualcomm's runtime, fetched once; none for a bundle without QNN
    rungs. BuildError."""
    runtime = qnn_runtime(bundle)
    if runtime is None:
        return {}
    assert isinstance(ONNXRUNTIME_QNN.source, Artifact)
    return {
        fetch(ONNXRUNTIME_QNN, progress): ONNXRUNTIME_QNN.source,
        fetch_unpinned(runtime, progress): runtime,
    }
