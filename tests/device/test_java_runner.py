"""The real Java runner behind a real adbd: `app_process` is a JVM of this computer, everything else
is as on a phone but the silicon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adbd import Adbd
from phones import quick

from mcad_mobile.android.aar import libraries
from mcad_mobile.android.downloads import ONNXRUNTIME_JVM, fetch
from mcad_mobile.android.sources import main_sources
from mcad_mobile.android.toolchain import JAVA, compile_java, executable
from mcad_mobile.bench import run
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bundle import Bundle

STAGES = {"tokenize", "text", "scan", "rescore", "total"}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engine, runner, and the desktop's decoder of photos, by javac."""
    folder = tmp_path_factory.mktemp("java")
    sources = [*map(main_sources, ("engine", "desktop", "runner"))]
    return compile_java(sources, libraries(folder, "arm64-v8a").jars, folder / "classes")


def test_java_runner_fills_the_document_over_adb(
    phone: Adbd, bundle: Bundle, runner_folder: Path, classes: Path
) -> None:
    phone.stand_in(
        "app_process",
        f"unset LD_LIBRARY_PATH CLASSPATH\nwhile [ $1 != / ]; do shift; done; shift\n"
        f'exec {executable(JAVA)} -cp {classes}:{fetch(ONNXRUNTIME_JVM)} "$@"',
    )
    document = run.bench(bundle, device=AdbDevice(runner=runner_folder), **quick(repeats=2))
    assert json.loads(json.dumps(document)) == document
    for name in ("image", "text"):
        assert document["ladder"][name][0]["status"] == "pass"
        assert document["ladder"][name][0]["cosine_min"] > 0.9999
    assert set(document["latency_ms"]) >= STAGES
    assert document["memory_mib"]["peak_pss"] >= document["memory_mib"]["steps"][-1]["pss"]
    assert [step["step"] for step in document["memory_mib"]["steps"]][-1] == "after 100 searches"
    assert document["conditions"]["pinned_cores"] == [0]
    assert "java" in document["tools"]
