"""app(): a bundle and the demo app's sources -> a signed APK."""

from __future__ import annotations

import zipfile
from pathlib import Path

from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, fetch


def onnxruntime_classes(folder: Path) -> Path:
    """ONNX Runtime's Java API for Android, taken out of its AAR into `folder`."""
    jar = folder / "onnxruntime.jar"
    with zipfile.ZipFile(fetch(ONNXRUNTIME_AAR)) as aar:
        jar.write_bytes(aar.read("classes.jar"))
    return jar
