"""Artifacts that mvn fetches, and what a Snapdragon's NPU needs of them."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace as with_fields

from benchmarks.jvm import JSON_JVM
from mcad_mobile.android import downloads, toolchain
from mcad_mobile.android import downloads as maven
from mcad_mobile.android import parts as npu
from mcad_mobile.android.demo_app import BuiltApp, build_app
from mcad_mobile.android.downloads import Artifact, fetch, fetch_unpinned
from mcad_mobile.android.library_maven import build_maven
from mcad_mobile.android.native_libraries import HEXAGON, read_elf
from mcad_mobile.android.packages import PAGE
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.progress import silent
from mcad_mobile.base.requirements import Installation
from mcad_mobile.cli.doctor import examine
from mcad_mobile.engine.bundle import Bundle, FileRecord
from mcad_mobile.errors import BuildError
from tests.android.fake_mvn import FakeMvn
from tests.support.archives import ABI, archive, elf_library, onnxruntime_archive, qnn_archive
from tests.support.dex_file import read_dex
from tests.support.exported import Exported
from tests.support.probe import variant
from tests.support.tiny_bundle import make_tiny_bundle

RUNTIME = Artifact("com.qualcomm.qti", "qnn-runtime", "2.51.0", "aar")
# As Qualcomm's compiler writes it into what it makes.
SIGNED = b"\x00\x0ev2.51.0.260929181845\x00"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mcad-mobile"


@pytest.fixture
def mvn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMvn:
    mvn = FakeMvn(tmp_path, monkeypatch)
    mvn.publish(RUNTIME, qnn_archive(tmp_path / "runtime.aar").read_bytes())
    return mvn


def test_mvn_itself_fetches_what_is_pinned(central):
    assert central.name == "json-20260814.jar" and sha256_of(central) == JSON_JVM.sha256


def test_mvn_says_that_an_artifact_does_not_exist(central, tmp_path):
    missing = Artifact("org.json", "json", "0.0.0")
    with pytest.raises(BuildError, match=r"mvn could not fetch org\.json:json:0\.0\.0: .*find"):
        missing.fetch(tmp_path)


def test_mvn_is_asked_for_one_file_and_compares_checksums(mvn, tmp_path):
    path = RUNTIME.fetch(tmp_path)
    assert path == tmp_path / "qnn-runtime-2.51.0.aar"
    assert path.read_bytes() == (tmp_path / "runtime.aar").read_bytes()
    (call,) = mvn.calls
    assert "-Dartifact=com.qualcomm.qti:qnn-runtime:2.51.0:aar" in call
    assert "--batch-mode" in call and "--strict-checksums" in call
    assert "--update-snapshots" in call  # else mvn remembers that a file was missing
    Path(toolchain.executable(maven.MVN)).write_text("#!/bin/sh\n")
    path.unlink()
    with pytest.raises(BuildError, match=r"but qnn-runtime-2\.51\.0\.aar is missing"):
        RUNTIME.fetch(tmp_path)


def test_an_artifact_that_cannot_be_had_is_named_with_mvn_s_reason(mvn, tmp_path):
    with pytest.raises(BuildError) as caught:
        replace(RUNTIME, version="9.9.9").fetch(tmp_path)
    assert caught.value.message == (
        "mvn could not fetch com.qualcomm.qti:qnn-runtime:9.9.9: "
        "Could not find artifact com.qualcomm.qti:qnn-runtime:9.9.9:aar in central"
    )


def test_without_mvn_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"mvn is not installed.*\n.*apt install maven"):
        RUNTIME.fetch(tmp_path)
    (finding,) = (finding for finding in examine(Installation()) if finding.tool == "mvn")
    assert finding.version is None and finding.how_to_get.startswith("apt install maven")


def test_without_mvn_a_pinned_file_is_an_error_with_that_advice(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="mvn is not installed") as caught:
        maven.fetch(maven.R8)
    assert "To get it: apt install maven" in caught.value.hint
    assert f"put it, from {maven.R8.source}, at {maven.R8.path}" in caught.value.hint


def test_doctor_knows_the_version_of_mvn(mvn, monkeypatch):
    assert maven.MVN.version == "3.9.9"
    bold = "#!/bin/sh\nprintf '\\033[1mApache Maven 3.8.7\\033[m\\n'\n"
    Path(toolchain.executable(maven.MVN)).write_text(bold)
    assert maven.MVN.version == "3.8.7"


def test_an_mvn_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    FakeMvn(tmp_path, monkeypatch)
    Path(toolchain.executable(maven.MVN)).write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(BuildError, match=r"mvn could not fetch .*: mvn took more than 0 s"):
        RUNTIME.fetch(tmp_path, timeout_s=0.1)


def test_onnx_runtime_is_the_one_that_is_pinned(cache, mvn, tmp_path, monkeypatch):
    wanted = replace(
        downloads.ONNXRUNTIME_QNN, sha256=sha256_of(qnn_archive(tmp_path / "pinned.aar"))
    )
    monkeypatch.setattr(downloads, "DOWNLOADS", (wanted,))
    mvn.publish(wanted.source, b"another file")
    with pytest.raises(BuildError, match=r"its sha256 is .* was expected") as caught:
        fetch(wanted)
    assert caught.value.message.startswith(
        "onnxruntime-android-qnn-1.29.0.aar could not be fetched"
    )
    assert list(cache.iterdir()) == []
    mvn.publish(wanted.source, (tmp_path / "pinned.aar").read_bytes())
    assert sha256_of(fetch(wanted)) == wanted.sha256


def test_a_fetched_file_is_fetched_once_and_checked_at_every_use(cache, mvn):
    path = fetch_unpinned(RUNTIME)
    assert path == cache / "qnn-runtime-2.51.0.aar"
    first = path.read_bytes()
    assert fetch_unpinned(RUNTIME) == path and len(mvn.calls) == 1
    path.write_bytes(b"damaged")
    assert fetch_unpinned(RUNTIME).read_bytes() == first and len(mvn.calls) == 2


def test_a_file_of_unknown_origin_in_the_cache_is_fetched(cache, mvn, tmp_path):
    cache.mkdir(parents=True)
    (cache / RUNTIME.file_name).write_bytes(b"put here by hand")
    assert fetch_unpinned(RUNTIME).read_bytes() == (tmp_path / "runtime.aar").read_bytes()
    assert len(mvn.calls) == 1


def with_npu_rung(tmp_path: Path, compiled: bytes, htp_arch: int = 79) -> Bundle:
    """A tiny bundle whose text tower has a rung for a Snapdragon's NPU; `compiled` is in it."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    rung = tiny.text.rungs[0]
    (tmp_path / "bundle").mkdir()
    binary = tmp_path / "bundle" / "text_qnn.bin"
    binary.write_bytes(compiled)
    files = (*rung.files, FileRecord.of(tmp_path / "bundle", binary))
    npu_rung = with_fields(rung, runtime="qnn", precision="w8a16", files=files)
    text = with_fields(tiny.text, rungs=(npu_rung, *tiny.text.rungs))
    target = with_fields(tiny.target, htp_arch=htp_arch)
    return Bundle.load(variant(tiny, tmp_path / "bundle", text=text, target=target))


def check_npu_app(built: BuiltApp) -> None:
    """What a Snapdragon 8 Elite needs is in an app, and a phone with pages of 16 KB loads it."""
    assert built.rungs["text"] == ["qnn w8a16", "onnx fp32"] and built.left_out == {}
    (note,) = built.notes
    assert note.startswith("com.qualcomm.qti:qnn-runtime:")
    assert "is under the Qualcomm AI Hub Model License" in note
    with zipfile.ZipFile(built.package) as apk:
        native = {
            name.removeprefix(f"lib/{ABI}/"): read_elf(apk.read(name))
            for name in apk.namelist()
            if name.startswith("lib/")
        }
        notice = apk.read("assets/mcad-licences/NOTICE.txt").decode()
    assert {"libQnnHtp.so", "libQnnHtpV79Stub.so", "libQnnHtpV79Skel.so"} <= {*native}
    for name, elf in native.items():
        assert elf is not None and (elf.machine == HEXAGON or elf.page % PAGE == 0), name
    assert f"{built.notes[0].split(' ')[0]}: Qualcomm AI Hub Model License" in notice


@pytest.mark.slow
def test_what_the_npu_needs_is_fetched_for_the_compiler_that_made_the_rungs(
    tools, mvn, tmp_path, monkeypatch
):
    bundle, npu_options = with_npu_rung(tmp_path, SIGNED), BuildOptions(npu=True)
    own = onnxruntime_archive(tmp_path / "ort.aar", b"VERS_1.29.0 QnnInterface_getProviders")
    source = replace(npu.ONNXRUNTIME_QNN.source, version="0.0.1")
    pinned = replace(npu.ONNXRUNTIME_QNN, name="test-qnn.aar", sha256=sha256_of(own), source=source)
    mvn.publish(source, own.read_bytes())
    monkeypatch.setattr(npu, "ONNXRUNTIME_QNN", pinned)
    built = build_app(bundle, tmp_path / "a.apk", npu_options)
    check_npu_app(built)
    package = zipfile.ZipFile(built.package)
    assert "assets/bundle/text_qnn.bin" in package.namelist()
    text = package.read("assets/mcad-licences/qnn-runtime-2.51.0/META-INF/LICENSE.txt")
    assert text == b"Qualcomm's terms"
    library = build_maven(bundle, tmp_path / "repository", options=npu_options)
    assert library.left_out == {}
    with zipfile.ZipFile(library.archive) as package:
        native = [name for name in package.namelist() if name.endswith(".so")]
    assert native == [f"jni/{ABI}/libmcad_search.so"]
    needed = ElementTree.parse(library.archive.with_suffix(".pom")).iterfind(".//{*}dependency")
    names = [dependency.findtext("{*}artifactId") for dependency in needed]
    assert names == ["onnxruntime-android-qnn", "qnn-runtime"]
    other = with_npu_rung(tmp_path / "other", SIGNED, htp_arch=75)
    assert build_app(other, tmp_path / "other.apk", npu_options).left_out == {
        "text qnn w8a16": "the archives hold no libQnnHtpV75Stub.so"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("central")
def test_what_microsoft_and_qualcomm_publish_makes_an_app_for_the_npu(tmp_path):
    """For real: our Java compiles against its classes, and all that is needed is in the app."""
    built_for = pytest.importorskip("onnxruntime_qnn.build_and_package_info").qnn_version
    bundle = with_npu_rung(tmp_path, f"v{built_for}.260929181845".encode())
    try:
        npu.npu_archives(bundle)
    except BuildError as error:
        pytest.skip(f"It is not to be had here: {error.message}")
    built = build_app(bundle, tmp_path / "demo.apk", BuildOptions(npu=True))
    check_npu_app(built)
    with zipfile.ZipFile(built.package) as apk:
        assert read_dex(apk.read("classes.dex")).classes >= {
            "io/github/mcadmobile/engine/towers/Tower"
        }


def test_the_npu_s_runtime_is_fetched_only_if_it_is_asked_for(tools, mvn, tmp_path):
    bundle = with_npu_rung(tmp_path, SIGNED)
    emulator = build_app(bundle, tmp_path / "b.apk", BuildOptions(abis=("x86_64",)))
    assert emulator.rungs["text"] == ["onnx fp32"] and mvn.calls == []
    assert "assets/bundle/text_qnn.bin" not in zipfile.ZipFile(emulator.package).namelist()
    with pytest.raises(BuildError, match=r"only for arm64-v8a, not for x86_64\.\n.*--npu"):
        build_app(bundle, tmp_path / "c.apk", BuildOptions(abis=("x86_64",), npu=True))
    both = BuildOptions(npu=True, aars=(tmp_path / "runtime.aar",))
    with pytest.raises(BuildError, match=r"other archives were given\.\n.*--npu, or --aar"):
        build_app(bundle, tmp_path / "c.apk", both)


def test_a_runtime_older_than_the_compiler_of_the_bundle_is_refused(tmp_path):
    def packed(version: bytes) -> None:
        htp = archive(tmp_path / "a.aar", {f"jni/{ABI}/libQnnHtp.so": elf_library(version)})
        (tmp_path / "work").mkdir(exist_ok=True)
        npu.gather_parts(bundle, BuildOptions(aars=(htp,)), tmp_path / "work", silent)

    bundle = with_npu_rung(tmp_path, SIGNED)
    with pytest.raises(
        BuildError, match=r"2\.9\.1.*by 2\.51\.0\.\n.*qnn-runtime:2\.51\.0 or later"
    ):
        packed(b"v2.9.1.260929181845")
    for taken in (b"v2.51.0.260101000000", b"v2.52.0.261101000000", b"says nothing"):
        packed(taken)


def test_rungs_that_do_not_say_their_compiler_are_no_guess(tmp_path):
    assert npu.qnn_runtime(make_tiny_bundle(tmp_path / "plain")) is None
    with pytest.raises(BuildError, match=r"do not say which compiler made them\.\n.*--aar"):
        npu.qnn_runtime(with_npu_rung(tmp_path, b"unsigned"))
    both = with_npu_rung(tmp_path / "both", SIGNED + b"v2.9.1.240101000000")
    assert npu.qnn_runtime(both) == RUNTIME


def test_a_real_bundle_names_the_compiler_that_is_installed(snapdragon: Exported):
    from onnxruntime_qnn.build_and_package_info import qnn_version

    assert npu.qnn_runtime(Bundle.load(snapdragon.directory)) == replace(
        RUNTIME, version=qnn_version
    )
