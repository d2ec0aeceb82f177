"""The jars that the Java engine needs on a JVM, in tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, Artifact, Download, fetch

ONNXRUNTIME_JVM = Download(
    f"onnxruntime-{ONNXRUNTIME_AAR.version}.jar",
    ONNXRUNTIME_AAR.version,
    "5933bbc0c6c4d89afc04bf7c11011de23a947509c1352e5bf5936e62a84e4d10",
    "tests and benchmarks of the Java engine on a JVM",
    Artifact("com.microsoft.onnxruntime", "onnxruntime", ONNXRUNTIME_AAR.version),
)
JSON_JVM = Download(
    "json-20260814.jar",
    "20260814",
    "7dd2de1533e766e2b6c07d8194da85145ad313a167a4760050f5c9b6839604fe",
    "tests and benchmarks of the Java engine on a JVM",
    Artifact("org.json", "json", "20260814"),
)


def jvm_libraries() -> list[Path]:
    """Fetch ONNX Runtime and org.json. BuildError if that fails."""
    return [fetch(ONNXRUNTIME_JVM), fetch(JSON_JVM)]
