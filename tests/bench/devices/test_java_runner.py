"""The real Java runner behind a real adbd: `app_process` is a JVM of this computer's processor,
everything else is as on a phone but the silicon."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.toolchain import JAVA, compile_java, executable, main_sources
from mcad_mobile.bench import measurement
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.samples import sample_photos, synthetic_index
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.native import LIBRARY
from mcad_mobile.errors import BenchError
from tests.support.adbd import Adbd, on_device
from tests.support.elf_library import elf_library
from tests.support.phones import APP_PROCESS, quick

STAGES = {"tokenize", "text", "scan", "rescore", "total"}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engine, runner, and the desktop's decoder of photos, by javac."""
    folder = tmp_path_factory.mktemp("java")
    sources = [*map(main_sources, ("engine", "gallery", "desktop", "runner"))]
    return compile_java(sources, jvm_libraries(), folder / "classes")


@pytest.mark.slow
@pytest.mark.usefixtures("onnxruntime_aar")
def test_libraries_of_an_archive_reach_the_phone_and_its_npu_once(
    phone: Adbd, bundle: Bundle, tmp_path: Path
) -> None:
    """The runner as it ships, with a QNN runtime in it; app_process is a stand-in that notes its
    environment."""
    qnn, library = tmp_path / "qnn-runtime.aar", elf_library(b"of an NPU")
    with zipfile.ZipFile(qnn, "w") as archive:
        archive.writestr("AndroidManifest.xml", "<manifest/>")
        archive.writestr("jni/arm64-v8a/libQnnHtp.so", library)
    noted = tmp_path / "environment"
    phone.stand_in("app_process", f"env > {on_device(noted)}\n{APP_PROCESS}")
    synthetic_index(bundle, tmp_path / "index", 300)
    photos = tuple(sample_photos(bundle, tmp_path, 2, (160, 120)))
    spec = Spec(bundle, tmp_path / "index", ("a dog",), photos, searches=1)
    first = AdbDevice(aars=(qnn,)).measure(spec)
    lib = "/data/local/tmp/mcad-mobile/runner/lib"
    assert f"ADSP_LIBRARY_PATH={lib}" in noted.read_text().splitlines()
    pushed = phone.root / "runner"
    assert (pushed / "lib" / "libQnnHtp.so").read_bytes() == library
    assert zipfile.ZipFile(pushed / "runner.jar").namelist() == ["classes.dex"]
    assert (pushed / "lib" / "libonnxruntime4j_jni.so").is_file()
    assert first["device"]["pushed_files"] > 0
    again = AdbDevice(aars=(qnn,)).measure(spec)
    assert again["device"]["pushed_files"] == 0


def test_java_runner_times_an_index_up_to_its_commit(
    bundle: Bundle, classes: Path, tmp_path: Path
) -> None:
    """On this computer. The index is gone in the end: the kernel tells what was in its folder."""
    photos = tuple(sample_photos(bundle, tmp_path, 3, (160, 120)))
    folder, scratch = tmp_path / "scratch" / "index", str(tmp_path / "scratch")
    folder.mkdir(parents=True)
    places = {"bundle": str(bundle.directory), "index": "none", "scratch": scratch}
    places["photos"] = [*map(str, photos)]
    document = Spec(bundle, Path("none"), ("a dog",), photos).document("index", places)
    given = tmp_path / "given.json"
    given.write_text(json.dumps({**document, "rung": {"image": 0, "text": 0}}))
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    created, moved_to = 0x100, 0x80
    assert libc.inotify_add_watch(watch, bytes(folder), created | moved_to) > 0
    path = ":".join(map(str, (classes, *jvm_libraries())))
    command = [executable(JAVA), f"-Dmcad.search.library={LIBRARY}", "-cp", path]
    command += ["io.github.mcadmobile.runner.Main", str(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert (found["photos"], len(found["samples_ms"]["image"])) == (3, 3)
    assert found["photos_per_s"] > 0
    named = os.read(watch, 1 << 16)
    os.close(watch)
    assert b".mcs\0" in named  # a segment, which only a commit writes
    assert not folder.exists()


def test_board_takes_no_java_runner(board: Adbd, bundle: Bundle, tmp_path: Path) -> None:
    for device in (AdbDevice(aars=(tmp_path / "qnn.aar",)), AdbDevice(runner=tmp_path)):
        with pytest.raises(BenchError, match="takes no Java runner"):
            device.check(bundle)


def test_java_runner_fills_the_document_over_adb(
    phone: Adbd, device_system: Path, bundle: Bundle, runner_folder: Path, classes: Path
) -> None:
    java = next(device_system.glob("usr/lib/jvm/java-*-openjdk-*/bin/java"))
    path = ":".join(str(on_device(part)) for part in (classes, *jvm_libraries()))
    kernels = f"-Dmcad.search.library={on_device(LIBRARY)}"
    phone.stand_in(
        "app_process",
        f"unset LD_LIBRARY_PATH CLASSPATH\nwhile [ $1 != / ]; do shift; done; shift\n"
        f'exec /{java.relative_to(device_system)} {kernels} -cp {path} "$@"',
    )
    document = measurement.bench(bundle, quick(repeats=2), AdbDevice(runner=runner_folder))
    assert json.loads(json.dumps(document)) == document
    for name in ("image", "text"):
        assert document["ladder"][name][0]["status"] == "pass"
        assert document["ladder"][name][0]["cosine_min"] > 0.9999
    assert set(document["latency_ms"]) >= STAGES
    assert document["memory_mib"]["peak_pss"] >= document["memory_mib"]["steps"][-1]["pss"]
    assert [step["step"] for step in document["memory_mib"]["steps"]][-1] == "after 100 searches"
    assert document["conditions"]["pinned_cores"] == [0]
    assert "java" in document["tools"]
