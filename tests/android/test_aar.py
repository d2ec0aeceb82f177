"""Android archives that the user gives: an NPU's libraries, or another ONNX Runtime."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace
from probe import variant
from tiny_bundle import make_tiny_bundle

from mcad_mobile.android.aar import libraries
from mcad_mobile.android.app import build_app
from mcad_mobile.android.toolchain import AAPT2, run
from mcad_mobile.bundle import Bundle
from mcad_mobile.errors import BuildError

ABI = "arm64-v8a"
HTP = b"\x7fELF the NPU's library"


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as aar:
        aar.writestr("AndroidManifest.xml", '<manifest package="com.qualcomm.qti"/>')
        for name, data in files.items():
            aar.writestr(name, data)
    return path


@pytest.fixture
def qnn_runtime(tmp_path) -> Path:
    files = {
        f"jni/{ABI}/libQnnHtp.so": HTP,
        f"jni/{ABI}/libQnnHtpV79Skel.so": b"skeleton",
        "jni/x86_64/libOther.so": b"of another ABI",
    }
    return archive(tmp_path / "qnn-runtime.aar", files)


def test_an_npu_runtime_comes_beside_onnx_runtime(qnn_runtime, tmp_path):
    found = libraries(tmp_path, ABI, [qnn_runtime])
    assert set(found.native) == {
        "libQnnHtp.so",
        "libQnnHtpV79Skel.so",
        "libonnxruntime.so",
        "libonnxruntime4j_jni.so",
    }
    assert found.native["libQnnHtp.so"] == HTP
    assert len(found.jars) == 1


def test_another_onnx_runtime_takes_the_place_of_ours(tmp_path):
    classes = tmp_path / "classes.jar"
    with zipfile.ZipFile(classes, "w") as jar:
        jar.writestr("ai/onnxruntime/OrtEnvironment.class", b"\xca\xfe\xba\xbe")
    files = {"classes.jar": classes.read_bytes(), f"jni/{ABI}/libonnxruntime.so": b"with QNN"}
    found = libraries(tmp_path, ABI, [archive(tmp_path / "ort-qnn.aar", files)])
    assert found.native == {"libonnxruntime.so": b"with QNN"}
    assert len(found.jars) == 1


@pytest.mark.parametrize(
    ("data", "complaint"), [(b"not a zip", "cannot be read"), (None, "has no AndroidManifest.xml")]
)
def test_what_is_no_archive_is_refused(tmp_path, data, complaint):
    path = tmp_path / "x.aar"
    if data is None:
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(data)
    with pytest.raises(BuildError, match=complaint):
        libraries(tmp_path, ABI, [path])


def test_an_archive_for_other_chips_is_refused(tmp_path):
    path = archive(tmp_path / "x.aar", {"jni/x86/libQnnHtp.so": HTP})
    with pytest.raises(BuildError, match="no native library for arm64-v8a"):
        libraries(tmp_path, ABI, [path])


def test_the_app_carries_a_merged_npu_runtime_as_files(qnn_runtime, tmp_path):
    """Its rung leads the ladder, and its libraries are extracted at installation."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    rung = tiny.text.rungs[0]
    ladder = [
        replace(rung, runtime=runtime, precision=precision)
        for runtime, precision in (("qnn", "w8a16"), ("litert", "w8a8"), ("onnx", "fp32"))
    ]
    text = replace(tiny.text, rungs=tuple(ladder))
    bundle = Bundle.load(variant(tiny, tmp_path / "bundle", text=text))
    built = build_app(bundle, tmp_path / "demo.apk", aars=[qnn_runtime])
    assert built.rungs["text"] == ["qnn w8a16", "onnx fp32"]
    assert built.left_out == ["text litert w8a8"]
    apk = zipfile.ZipFile(built.package)
    assert apk.read(f"lib/{ABI}/libQnnHtp.so") == HTP
    tree = run(AAPT2, ["dump", "xmltree", "--file", "AndroidManifest.xml", built.package])
    assert "extractNativeLibs(0x010104ea)=true" in tree.replace(" ", "")


def test_a_wrong_name_is_refused_before_anything_is_built(tmp_path):
    tiny = make_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(BuildError, match=r"does not end in \.apk"):
        build_app(tiny, tmp_path / "demo.zip")
    with pytest.raises(BuildError, match=r"does not end in \.aab"):
        build_app(tiny, tmp_path / "demo.apk", aab=True)
