"""The Java engine on a JVM, in tests and benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, Artifact, Download, fetch
from mcad_mobile.android.toolchain import JAVA, compile_java, executable, main_sources
from mcad_mobile.engine.native import LIBRARY

HEAP_MIB = 64
# What C allocates and frees goes back to the system, to be counted when it comes again.
FREED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536"}

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


def run_java(
    main: str, arguments: Sequence[object], work: Path, *options: str, **environment: str
) -> dict[str, Any]:
    """Run a class of android_demo/desktop, which prints JSON. `work` keeps what is compiled."""
    jars, classes = jvm_libraries(), work / "classes"
    if not classes.exists():
        compile_java([*map(main_sources, ("engine", "gallery", "desktop"))], jars, classes)
    command = [executable(JAVA), f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC", *options]
    command += [f"-Dmcad.search.library={LIBRARY}", "-cp", ":".join(map(str, [classes, *jars]))]
    command += [f"io.github.mcadmobile.desktop.{main}", *map(str, arguments)]
    env = {**os.environ, **environment}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, check=True, env=env
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
