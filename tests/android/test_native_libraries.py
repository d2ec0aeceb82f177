"""Android archives that the user gives: an NPU's libraries, or another ONNX Runtime."""

from __future__ import annotations

import io
import re
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcad_mobile.android import downloads
from mcad_mobile.android.build_tools import aapt2
from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.native_libraries import MACHINES, Elf, libraries, read_elf
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError
from tests.support.archives import (
    ABI,
    HTP,
    archive,
    onnxruntime_archive,
    qnn_archive,
    why_no_onnxruntime,
)
from tests.support.elf_library import HEXAGON, X86_64, elf_library
from tests.support.probe import variant
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def qnn_runtime(tmp_path: Path) -> Path:
    return qnn_archive(tmp_path / "qnn-runtime.aar")


@pytest.fixture
def onnxruntime_qnn(tmp_path: Path) -> Path:
    return onnxruntime_archive(tmp_path / "ort-qnn.aar", b"VERS_1.28.1 QnnInterface_getProviders")


@pytest.fixture
def snapdragon_like(tmp_path: Path) -> Bundle:
    """A tiny bundle whose text tower has the ladder of a Snapdragon and a LiteRT rung."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    rung = tiny.text.rungs[0]
    ladder = [
        replace(rung, runtime=runtime, precision=precision)
        for runtime, precision in (("qnn", "w8a16"), ("litert", "w8a8"), ("onnx", "fp32"))
    ]
    text = replace(tiny.text, rungs=tuple(ladder))
    return Bundle.load(variant(tiny, tmp_path / "bundle", text=text))


def test_an_npu_runtime_comes_beside_onnx_runtime(qnn_runtime, tmp_path):
    found = libraries(tmp_path, [ABI], [qnn_runtime])
    assert set(found.native[ABI]) == {
        "libQnnHtp.so",
        "libQnnHtpV79Skel.so",
        "libQnnHtpV79Stub.so",
        "libQnnSystem.so",
        "libmcad_search.so",
        "libonnxruntime.so",
        "libonnxruntime4j_jni.so",
    }
    assert found.native[ABI]["libQnnHtp.so"] == HTP
    assert len(found.jars) == 1
    assert [(archive.path.name, archive.onnxruntime) for archive in found.archives] == [
        ("qnn-runtime.aar", None),
        (downloads.ONNXRUNTIME_AAR.name, "1.29.0"),
    ]
    # Our ONNX Runtime has no QNN: libraries alone make no NPU run.
    assert found.missing_for_npu([79]) == "ONNX Runtime with QNN"


def test_of_two_libraries_of_the_same_name_the_first_counts(tmp_path):
    """Each archive is listed with what was taken from it, as the bill of materials has it."""
    first, second = elf_library(b"first"), elf_library(b"second")
    archives = [
        archive(tmp_path / "first.aar", {f"jni/{ABI}/libshared.so": first}),
        archive(
            tmp_path / "second.aar",
            {f"jni/{ABI}/libshared.so": second, f"jni/{ABI}/libown.so": second},
        ),
    ]
    found = libraries(tmp_path, [ABI], archives)
    assert found.native[ABI]["libshared.so"] == first
    assert found.native[ABI]["libown.so"] == second
    assert [made.native for made in found.archives[:2]] == [
        (f"{ABI}/libshared.so",),
        (f"{ABI}/libown.so",),
    ]


def test_each_archive_s_classes_are_a_jar_and_tell_whether_litert_is_there(tmp_path):
    def with_class(name: str, member: str) -> Path:
        classes = io.BytesIO()
        with zipfile.ZipFile(classes, "w") as jar:
            jar.writestr(member, name)
        return archive(tmp_path / name, {"classes.jar": classes.getvalue()})

    own = onnxruntime_archive(tmp_path / "own.aar")
    plain = with_class("plain.aar", "a/A.class")
    assert not libraries(tmp_path, [ABI], [plain], onnxruntime=own).litert
    litert = with_class("litert.aar", "org/tensorflow/lite/Interpreter.class")
    empty = with_class("empty.aar", "META-INF/nothing")
    found = libraries(tmp_path, [ABI], [plain, litert, empty], onnxruntime=own)
    assert found.litert
    held = [zipfile.ZipFile(jar).namelist()[0] for jar in found.jars]
    assert held[:2] == ["a/A.class", "org/tensorflow/lite/Interpreter.class"]
    assert len(held) == 3


def test_another_onnx_runtime_takes_the_place_of_ours(onnxruntime_qnn, qnn_runtime, tmp_path):
    found = libraries(tmp_path, [ABI], [qnn_runtime, onnxruntime_qnn])
    assert b"1.28.1" in found.native[ABI]["libonnxruntime.so"]
    assert [archive.onnxruntime for archive in found.archives] == [None, "1.28.1"]
    assert len(found.jars) == 1
    assert found.missing_for_npu([79]) is None
    assert found.missing_for_npu([79, 75]) == "libQnnHtpV75Stub.so"
    assert libraries(tmp_path, [ABI], [onnxruntime_qnn]).missing_for_npu([]) == "libQnnHtp.so"
    half = archive(tmp_path / "half.aar", {f"jni/{ABI}/libQnnHtp.so": HTP})
    found = libraries(tmp_path, [ABI], [half, onnxruntime_qnn])
    assert found.missing_for_npu([]) == "libQnnSystem.so"


def test_one_s_own_build_of_onnx_runtime_is_used_alone(tmp_path):
    own = onnxruntime_archive(tmp_path / "own.aar")
    found = libraries(tmp_path, [ABI], onnxruntime=own)
    assert [archive.path for archive in found.archives] == [own]
    assert not found.extracted
    with pytest.raises(BuildError, match="both contain ONNX Runtime"):
        libraries(tmp_path, [ABI], [own], onnxruntime=own)


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        (b"VERS_1.23.2", r"holds ONNX Runtime 1\.23\.2.*\n.*needs 1\.24 or later"),
        (b"VERS_0.99.0", r"holds ONNX Runtime 0\.99\.0"),
        (b"nothing", "does not say its version"),
    ],
)
def test_an_onnx_runtime_that_is_too_old_for_the_engine_is_refused(tmp_path, says, complaint):
    with pytest.raises(BuildError, match=complaint):
        libraries(tmp_path, [ABI], onnxruntime=onnxruntime_archive(tmp_path / "x.aar", says))
    oldest = onnxruntime_archive(tmp_path / "oldest.aar", b"VERS_1.24.0")
    assert libraries(tmp_path, [ABI], onnxruntime=oldest).archives[0].onnxruntime == "1.24.0"


def test_an_onnx_runtime_that_is_incomplete_is_refused(qnn_runtime, tmp_path):
    with pytest.raises(BuildError, match=r"qnn-runtime\.aar contains no ONNX Runtime"):
        libraries(tmp_path, [ABI], onnxruntime=qnn_runtime)
    own = onnxruntime_archive(tmp_path / "own.aar")
    with pytest.raises(BuildError, match=r"no jni/x86_64/libonnxruntime\.so.*\n.*--abi"):
        libraries(tmp_path, [ABI, "x86_64"], onnxruntime=own)
    with zipfile.ZipFile(own) as whole:
        files = {
            name: whole.read(name) for name in whole.namelist() if name.endswith(("jar", "so"))
        }
    for name in [name for name in files if name.endswith(".so")]:
        rest = {other: data for other, data in files.items() if other != name}
        with pytest.raises(BuildError, match=f"no {re.escape(name)}"):
            libraries(tmp_path, [ABI], onnxruntime=archive(tmp_path / "part.aar", rest))
    broken = archive(tmp_path / "broken.aar", {"classes.jar": b"no jar"})
    with pytest.raises(BuildError, match=r"classes\.jar of .* cannot be read"):
        libraries(tmp_path, [ABI], [broken])


@pytest.mark.parametrize(
    ("data", "complaint"), [(b"not a zip", "cannot be read"), (None, "has no AndroidManifest.xml")]
)
def test_what_is_no_archive_is_refused(tmp_path, data, complaint):
    path = tmp_path / "x.aar"
    if data is None:
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(data)
    for given in ({"supplied": [path]}, {"onnxruntime": path}):
        with pytest.raises(BuildError, match=complaint):
            libraries(tmp_path, [ABI], **given)


def test_an_archive_for_other_chips_is_refused(tmp_path):
    path = archive(tmp_path / "x.aar", {"jni/x86/libQnnHtp.so": HTP})
    with pytest.raises(BuildError, match="no native library for arm64-v8a"):
        libraries(tmp_path, [ABI], [path])
    path = archive(tmp_path / "y.aar", {f"jni/{ABI}/libA.so": elf_library(machine=X86_64)})
    with pytest.raises(BuildError, match=r"jni/arm64-v8a/libA\.so .* another processor"):
        libraries(tmp_path, [ABI], [path])
    path = archive(tmp_path / "z.aar", {f"jni/{ABI}/libA.so": b"an error page"})
    with pytest.raises(BuildError, match=r"(?s)libA\.so of .* is not a native library.*Download"):
        libraries(tmp_path, [ABI], [path])


def test_libraries_that_phones_with_pages_of_16_kb_refuse_are_named(tmp_path):
    files = {
        f"jni/{ABI}/libSmall.so": elf_library(page=4096),
        f"jni/{ABI}/libLarge.so": elf_library(page=65536),
        f"jni/{ABI}/libSkel.so": elf_library(machine=HEXAGON, page=4096),  # the DSP loads it
    }
    (note,) = libraries(tmp_path, [ABI], [archive(tmp_path / "a.aar", files)]).notes
    assert note.startswith("a.aar: libSmall.so cannot be loaded by phones with pages of 16 KB")
    mixed = {f"jni/{ABI}/libMixed.so": elf_library(empty=(4096,))}
    (note,) = libraries(tmp_path, [ABI], [archive(tmp_path / "c.aar", mixed)]).notes
    assert note.startswith("c.aar: libMixed.so cannot be loaded by phones with pages of 16 KB")
    fine = {f"jni/{ABI}/libLarge.so": elf_library()}
    assert libraries(tmp_path, [ABI], [archive(tmp_path / "b.aar", fine)]).notes == []


def test_the_pages_of_real_libraries_are_read(tmp_path):
    if reason := why_no_onnxruntime():
        pytest.skip(reason)
    with zipfile.ZipFile(downloads.fetch(downloads.ONNXRUNTIME_AAR)) as aar:
        for abi, machine in MACHINES.items():
            elf = read_elf(aar.read(f"jni/{abi}/libonnxruntime4j_jni.so"))
            assert elf == Elf(machine, 16384)
    here = Path(sys.executable).resolve().read_bytes()
    elf = read_elf(here)
    assert elf is None or elf.page in (4096, 65536)  # None on a Mac
    whole = elf_library(b"x" * 100)
    for size in range(120):
        assert read_elf(whole[:size]) is None


def narrow_library(order: str) -> bytes:
    """A 32-bit file for Arm with a segment that is not loaded and one that is."""
    encoding = 1 if order == "<" else 2
    header = struct.pack(
        f"{order}4sBBB9xHHIIIIIHHHHHH",
        *(b"\x7fELF", 1, encoding, 1, 3, 40, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0),
    )
    parts = ((2, 4), (1, 65536))
    return header + b"".join(
        struct.pack(f"{order}8I", kind, 0, 0, 0, 0, 0, 0, page) for kind, page in parts
    )


def test_a_library_is_little_endian_of_32_or_64_bits():
    wide, narrow = elf_library(b"code", X86_64, 4096), narrow_library("<")
    assert read_elf(wide) == Elf("EM_X86_64", 4096)
    assert read_elf(narrow) == Elf("EM_ARM", 65536)
    assert read_elf(narrow_library(">")) is None
    for whole in (wide, narrow):
        others = {0: 0x7E, 4: 3}  # no library, of another width
        for place, byte in others.items():
            assert read_elf(whole[:place] + bytes([byte]) + whole[place + 1 :]) is None
        assert read_elf(whole[:63]) is None
    assert read_elf(narrow[:-1]) is None  # its table of parts is cut off
    assert read_elf(wide[:39] + b"\xff" + wide[40:]) is None  # and far beyond the end of any file


def test_the_app_carries_a_merged_npu_runtime_as_files(
    snapdragon_like, qnn_runtime, onnxruntime_qnn, tmp_path
):
    """Its rung leads the ladder, and its libraries are extracted at installation."""
    options = BuildOptions(aars=(qnn_runtime, onnxruntime_qnn))
    built = build_app(snapdragon_like, tmp_path / "demo.apk", options)
    assert built.rungs["text"] == ["qnn w8a16", "onnx fp32"]
    assert list(built.left_out) == ["text litert w8a8"]
    apk = zipfile.ZipFile(built.package)
    assert apk.read(f"lib/{ABI}/libQnnHtp.so") == HTP
    tree = aapt2(["dump", "xmltree", "--file", "AndroidManifest.xml", built.package])
    assert "extractNativeLibs(0x010104ea)=true" in tree.replace(" ", "")


@pytest.mark.slow
def test_an_app_for_emulators_has_their_libraries(tmp_path):
    tiny = make_tiny_bundle(tmp_path / "tiny")
    built = build_app(tiny, tmp_path / "both.apk", BuildOptions(abis=("x86_64", ABI)))
    assert "native-code: 'arm64-v8a' 'x86_64'" in aapt2(["dump", "badging", built.package])
    apk = zipfile.ZipFile(built.package)
    for abi in ("x86_64", ABI):
        elf = read_elf(apk.read(f"lib/{abi}/libonnxruntime.so"))
        assert elf is not None and elf.machine == MACHINES[abi]
    alone = build_app(tiny, tmp_path / "emulator.apk", BuildOptions(abis=("x86_64",)))
    names = zipfile.ZipFile(alone.package).namelist()
    assert {name.split("/")[1] for name in names if name.startswith("lib/")} == {"x86_64"}


def test_a_wrong_name_is_refused_before_anything_is_built(tmp_path):
    tiny = make_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(BuildError, match=r"does not end in \.apk"):
        build_app(tiny, tmp_path / "demo.zip")
    with pytest.raises(BuildError, match=r"does not end in \.aab"):
        build_app(tiny, tmp_path / "demo.apk", aab=True)
