"""The Java engine reads bundles as Python does, refuses the same ones, and climbs their ladders."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import numpy_helper
from PIL import Image, ImageOps

from mcad_mobile.engine.bundle import TOWERS, Bundle, FileRecord, Parity, TargetFacts, Tower
from mcad_mobile.engine.towers.onnx import saturates
from mcad_mobile.errors import BundleError
from tests.support.probe import EngineError, Probe, variant
from tests.support.tiny_bundle import AGREEMENTS, make_tiny_bundle, off_by


@pytest.fixture
def tiny(tmp_path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def test_a_whole_bundle_is_read(probe, tiny):
    found = probe.ask("bundle", bundle=tiny.directory)
    files = len(tiny.files())
    assert found == {"name": "tiny", "dim": tiny.dim, "files": files, "english": True}


def only(plain: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: plain[name] for name in names}


def java_tower(tower: Tower, chips: list[str]) -> dict[str, Any]:
    """A tower's fields as Java names them, without those that it does not read."""
    plain = json.loads(msgspec.json.encode(tower))

    def tensor(spec: dict[str, Any]) -> dict[str, Any]:
        """Zero stands for a scale that there is not."""
        named = only(spec, "name", "dtype", "shape", "layout")
        return {**named, "scale": spec["scale"] or 0, "zeroPoint": spec["zero_point"] or 0}

    return {
        "rungs": [
            {
                **only(rung, "runtime", "precision", "files", "expected"),
                "inputs": [tensor(spec) for spec in rung["inputs"]],
                "outputs": [tensor(spec) for spec in rung["outputs"]],
                "totalNodes": rung["total_nodes"],
                "parity": (rung.get("parity") or {"cosine_mean": 1})["cosine_mean"],
                "chips": chips,
            }
            for rung in plain["rungs"]
        ],
        "golden": plain["golden"],
    }


@pytest.mark.parametrize("pool", ["mean", "eos"])
def test_java_reads_the_values_that_python_wrote(probe, tiny, tmp_path, pool):
    (rung,) = tiny.text.rungs
    (output,) = rung.outputs
    scaled = replace(output, dtype="int8", scale=0.25, zero_point=-3)
    lower = replace(
        rung, precision="int8", total_nodes=7, expected=tiny.sample, outputs=(scaled,),
        parity=Parity(16, 0.9875, 0.75),
    )  # fmt: skip
    eos = 3 if pool == "eos" else None
    directory = variant(
        tiny,
        tmp_path / "b",
        name='"quotes" and \u00e9\u4e2d\U0001f600',
        text=replace(tiny.text, rungs=(rung, lower)),
        tokenizer=replace(tiny.tokenizer, pad_left=True, pool=pool, eos=eos),
    )
    bundle = Bundle.load(directory)
    plain = msgspec.to_builtins
    chips = [bundle.target.chip] if bundle.target.chip else []
    assert probe.ask("bundle_values", bundle=directory) == {
        "directory": str(directory),
        "name": bundle.name,
        "created": bundle.created,
        "target": bundle.target.id,
        "studentName": bundle.student.name,
        "studentSha256": bundle.student.sha256,
        "imageSha256": bundle.student.image_sha256,
        "dim": bundle.dim,
        "reader": None,
        "textTower": "text",
        "image": java_tower(bundle.image, chips),
        "text": java_tower(bundle.text, chips),
        "preprocess": {"size": bundle.preprocess.size},
        "tokenizer": {
            "file": plain(bundle.tokenizer_file),
            "length": bundle.tokenizer.length,
            "pad": bundle.tokenizer.pad,
            "padLeft": True,
            "attendsToPadding": False,
            "pool": pool,
            "eos": -1 if eos is None else eos,
        },
        "tokenTable": plain(bundle.token_table),
        "sample": plain(bundle.sample),
    }


@pytest.mark.parametrize(
    "schema", ["mcad-bundle/2", "mcad-bundle/10", "mcad-bundle/0", "mcad-bundle/x", "other/1", None]
)
def test_another_schema_is_refused_in_the_same_words(probe, tiny, schema):
    path = tiny.directory / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "schema": schema}))
    with pytest.raises(BundleError) as python:
        Bundle.load(tiny.directory)
    with pytest.raises(EngineError) as java:
        probe.ask("bundle", bundle=tiny.directory)
    message, hint = java.value.args
    assert message == python.value.message
    assert hint.startswith("Update" if "newer" in message else "Export the bundle again")


def test_a_bundle_without_rungs_is_refused(probe, tiny):
    path = tiny.directory / "bundle.json"
    data = json.loads(path.read_text("utf-8"))
    data["text"]["rungs"] = []
    path.write_text(json.dumps(data))
    with pytest.raises(EngineError, match=r"text has \[\] in rungs, where at least one belongs"):
        probe.ask("bundle", bundle=tiny.directory)


def test_what_python_refuses_java_refuses_in_the_same_words(probe, tiny, tmp_path):
    def damage(change) -> None:
        copy = tiny.directory.with_name("copy")
        shutil.copytree(tiny.directory, copy)
        change(copy)
        with pytest.raises(BundleError) as python:
            Bundle.load(copy)
        with pytest.raises(EngineError) as java:
            probe.ask("bundle", bundle=copy)
        # Up to the first value that a language prints in its own way.
        common = len(str(copy)) + 12
        assert java.value.args[0][:common] == python.value.message[:common]
        shutil.rmtree(copy)

    def edited(**fields):
        def change(copy: Path) -> None:
            path = copy / "bundle.json"
            path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}))

        return change

    def flipped(copy: Path) -> None:
        path = copy / "image.onnx"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def linked(copy: Path) -> None:
        (copy / "text.onnx").rename(tmp_path / "outside.onnx")
        (copy / "text.onnx").symlink_to(tmp_path / "outside.onnx")

    damage(linked)
    damage(lambda copy: (copy / "bundle.json").unlink())
    damage(lambda copy: (copy / "text.onnx").unlink())
    damage(lambda copy: (copy / "tokenizer.bin").write_text("short"))
    damage(flipped)
    damage(lambda copy: (copy / "bundle.json").write_text("{"))
    damage(edited(schema="mcad-bundle/9"))
    damage(edited(dim=0))
    damage(edited(tokenizer_file={}))
    damage(edited(sample={"path": "../x", "sha256": "", "bytes": 1}))
    for path in ("/etc/passwd", "a/../../x", "..\\x", ""):
        damage(edited(sample={"path": path, "sha256": "", "bytes": 1}))


def test_assets_become_a_verified_copy_once(probe, tiny, tmp_path):
    installed = tmp_path / "files" / "bundle"
    installed.parent.mkdir()
    assert probe.ask("install", **{"from": tiny.directory}, bundle=installed) == {"name": "tiny"}
    assert Bundle.load(installed).name == "tiny"
    before = (installed / "image.onnx").stat().st_ino
    probe.ask("install", **{"from": tiny.directory}, bundle=installed)
    assert (installed / "image.onnx").stat().st_ino == before

    replace(tiny, name="newer").save()
    torn = installed.with_name("bundle.partial")  # as a kill leaves it
    torn.mkdir()
    (torn / "large.onnx").touch()
    assert probe.ask("install", **{"from": tiny.directory}, bundle=installed) == {"name": "newer"}
    assert [path.name for path in installed.parent.iterdir()] == ["bundle"]
    assert not (installed / "large.onnx").exists()


def test_a_bundle_is_installed_from_a_zip_file(probe, tiny, tmp_path):
    packed = Path(shutil.make_archive(str(tmp_path / "bundle"), "zip", tiny.directory))
    probe.ask("install", **{"from": packed}, bundle=tmp_path / "installed")
    Bundle.load(tmp_path / "installed").verify()
    with zipfile.ZipFile(packed, "w") as empty:
        empty.writestr("other.json", "")
    with pytest.raises(EngineError, match=r"bundle\.zip: bundle\.json"):
        probe.ask("install", **{"from": packed}, bundle=tmp_path / "again")


def test_an_installed_bundle_that_lost_a_file_is_copied_again(probe, tiny, tmp_path):
    installed = tmp_path / "bundle"
    probe.ask("install", **{"from": tiny.directory}, bundle=installed)
    (installed / "text.onnx").unlink()
    (installed / "tokenizer.bin").write_text("cut")
    probe.ask("install", **{"from": tiny.directory}, bundle=installed)
    Bundle.load(installed).verify()


def test_a_phone_keeps_no_binary_of_another_chip(probe, tiny, tmp_path):
    (rung,) = tiny.image.rungs
    source = tmp_path / "source"
    rungs = []
    for name in ("SM8550", "SM8650"):
        path = source / name / "npu.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
        files, chip = (FileRecord.of(source, path),), TargetFacts(name, 1, 73, name)
        rungs.append(replace(rung, runtime="qnn", files=files, chip=chip))
    variant(tiny, source, image=replace(tiny.image, rungs=(*rungs, rung)))
    for chip, kept in (("SM8650-AC", "01"), ("SM8650-AC", "01"), ("MT6989", "00"), ("", "11")):
        installed = tmp_path / f"installed{chip}"
        probe.ask("install", **{"from": source}, bundle=installed, chip=chip)
        assert [(installed / record.path).is_file() for r in rungs for record in r.files] == [
            here == "1" for here in kept
        ]


def test_a_phone_searches_without_an_npus_files_that_another_chips_phones_got(
    probe, tiny, tmp_path
):
    """And copies the bundle again when the app has them."""
    source, installed = tmp_path / "source", tmp_path / "bundle"
    shutil.copytree(tiny.directory, source)
    (rung,) = tiny.image.rungs
    shutil.copy(source / rung.files[0].path, source / "npu.onnx")
    npu = replace(rung, runtime="qnn", files=(FileRecord.of(source, source / "npu.onnx"),))
    image = replace(tiny.image, rungs=(npu, rung))
    variant(replace(tiny, directory=source), source, image=image)
    (source / "npu.onnx").rename(tmp_path / "npu.onnx")
    for _ in range(2):
        probe.ask("install", **{"from": source}, bundle=installed)
    found = probe.ask("choose_rung", bundle=installed, tower="image", libraries=tmp_path)
    assert (found["provider"], found["skipped"][0][0]) == ("CPU", "OTHER_CHIP")
    (tmp_path / "npu.onnx").rename(source / "npu.onnx")
    probe.ask("install", **{"from": source}, bundle=installed)
    assert (installed / "npu.onnx").is_file()
    (source / "image.onnx").unlink()
    with pytest.raises(EngineError, match=r"image\.onnx"):
        probe.ask("install", **{"from": source}, bundle=tmp_path / "other")


def test_a_damaged_asset_leaves_the_installed_bundle_alone(probe, tiny, tmp_path):
    installed = tmp_path / "bundle"
    probe.ask("install", **{"from": tiny.directory}, bundle=installed)
    replace(tiny, name="newer").save()
    model = tiny.directory / "text.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(EngineError, match="damaged"):
        probe.ask("install", **{"from": tiny.directory}, bundle=installed)
    assert Bundle.load(installed).name == "tiny"
    assert not (tmp_path / "bundle.partial").exists()


def test_rungs_that_do_not_run_here_are_passed_over_with_a_reason(probe, tiny, tmp_path):
    (onnx_rung,) = tiny.image.rungs
    foreign = [replace(onnx_rung, runtime=name) for name in ("qnn", "litert")]
    tower = replace(tiny.image, rungs=(*foreign, onnx_rung))
    found = probe.ask(
        "choose_rung", bundle=variant(tiny, tmp_path / "b", image=tower), tower="image"
    )
    assert (found["runtime"], found["provider"]) == ("onnx", "CPU")
    assert found["cosine"] > 0.9999
    qnn, litert, xnnpack = found["skipped"]
    assert qnn == ["NO_LIBRARY", "qnn fp32 by QNN: libQnnHtp.so is not there"]
    assert litert == ["NO_RUNTIME", "litert fp32: this app has no such runtime"]
    why, detail = xnnpack
    assert why == "FAILED"
    assert detail.startswith("onnx fp32 by XNNPACK, CPU")  # this build of ONNX Runtime has none


def test_xnnpack_is_tried_for_float_rungs_alone(probe, tiny, tmp_path):
    (rung,) = tiny.image.rungs
    tower = replace(tiny.image, rungs=(replace(rung, precision="int8"),))
    found = probe.ask(
        "choose_rung", bundle=variant(tiny, tmp_path / "b", image=tower), tower="image"
    )
    assert found["provider"] == ("EXACT_CPU" if saturates() else "CPU")
    assert found["skipped"] == []


def test_an_npu_library_that_does_not_load_costs_one_rung(probe, tiny, tmp_path):
    (tmp_path / "libQnnHtp.so").write_bytes(b"not a library")
    (onnx_rung,) = tiny.image.rungs
    tower = replace(tiny.image, rungs=(replace(onnx_rung, runtime="qnn"), onnx_rung))
    found = probe.ask(
        "choose_rung",
        bundle=variant(tiny, tmp_path / "b", image=tower),
        tower="image",
        libraries=tmp_path,
    )
    assert found["provider"] == "CPU"
    why, detail = found["skipped"][0]
    assert why == "FAILED"
    assert detail.startswith("qnn fp32 by QNN: ONNX Runtime cannot load")


@pytest.mark.long
@pytest.mark.parametrize("tower", TOWERS)
def test_an_npus_binary_runs_by_onnx_runtimes_plug_in(probe, snapdragon, tower):
    """In the simulator for computers, with the libraries that compiled it."""
    qnn = pytest.importorskip("onnxruntime_qnn")
    libraries = Path(qnn.__file__).parent
    found = probe.ask(
        "choose_rung", bundle=snapdragon.directory, tower=tower, libraries=libraries, chip="SM8750"
    )
    assert (found["provider"], found["skipped"]) == ("QNN", [])
    assert found["cosine"] > 0.9999


def test_a_plug_in_that_offers_no_npu_costs_one_rung(java_classes, tiny, tmp_path):
    code = """
        void *CreateEpFactories(void *a, void *b, void *c, void *d, long most, long *count) {
            *count = 0;
            return 0;
        }
        void *ReleaseEpFactory(void *factory) { return 0; }
    """
    plug_in = tmp_path / "libonnxruntime_providers_qnn.so"
    compiler = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(plug_in)]
    subprocess.run(compiler, input=code, text=True, check=True, timeout=60)
    (tmp_path / "libQnnHtp.so").touch()
    (rung,) = tiny.image.rungs
    image = replace(tiny.image, rungs=(replace(rung, runtime="qnn"), rung))
    directory = variant(tiny, tmp_path / "bundle", image=image)
    probe = Probe(java_classes, tmp_path)  # its own: a process registers a plug-in once
    try:
        found = probe.ask("choose_rung", bundle=directory, tower="image", libraries=tmp_path)
    finally:
        probe.close()
    assert found["provider"] == "CPU"
    why, detail = found["skipped"][0]
    assert (why, "offers no NPU" in detail) == ("FAILED", True), detail


@pytest.mark.parametrize(
    ("phone", "why"),
    [
        ("SM8650", "OTHER_CHIP"),
        ("SM8750", "FAILED"),
        ("SM8750-AC", "FAILED"),  # a variant of the chip
        ("", "FAILED"),  # before Android 12
    ],
)
def test_a_binary_for_another_chip_is_not_tried(probe, tiny, tmp_path, phone, why):
    (tmp_path / "libQnnHtp.so").write_bytes(b"not a library")
    (onnx_rung,) = tiny.image.rungs
    tower = replace(tiny.image, rungs=(replace(onnx_rung, runtime="qnn"), onnx_rung))
    target = TargetFacts("snapdragon-8-elite", 69, 79, "SM8750", "Hexagon v79")
    directory = variant(tiny, tmp_path / f"b{phone}", image=tower, target=target)
    asked = {"tower": "image", "libraries": tmp_path, "chip": phone}
    found = probe.ask("choose_rung", bundle=directory, **asked)
    assert found["provider"] == "CPU"
    reason, detail = found["skipped"][0]
    assert reason == why
    if why == "OTHER_CHIP":
        assert detail.endswith("it is compiled for SM8750, and this phone has SM8650")


@pytest.mark.parametrize(("phone", "tried"), [("SM8550", 0), ("SM8735", 0), ("SM8650-AB", 1)])
def test_of_several_chips_binaries_a_phone_tries_its_own(probe, tiny, tmp_path, phone, tried):
    """Or that of another chip which fits it."""
    (tmp_path / "libQnnHtp.so").write_bytes(b"not a library")
    (onnx_rung,) = tiny.image.rungs
    gen_2 = TargetFacts("snapdragon-8-gen-2", 43, 73, "SM8550", fits=("SM8735",))
    gen_3 = TargetFacts("snapdragon-8-gen-3", 57, 75, "SM8650")
    both = tuple(replace(onnx_rung, runtime="qnn", chip=chip) for chip in (gen_2, gen_3))
    tower = replace(tiny.image, rungs=(*both, onnx_rung))
    directory = variant(tiny, tmp_path / phone, image=tower, target=gen_2)
    asked = {"tower": "image", "libraries": tmp_path, "chip": phone}
    found = probe.ask("choose_rung", bundle=directory, **asked)
    reasons = [reason for reason, _ in found["skipped"][:2]]
    assert [reason == "FAILED" for reason in reasons] == [tried == 0, tried == 1]
    assert set(reasons) == {"FAILED", "OTHER_CHIP"}


def test_a_tower_that_fails_its_self_test_gives_way_to_the_next_rung(probe, tiny, tmp_path):
    directory = tmp_path / "b"
    directory.mkdir()
    model = onnx.load(tiny.directory / "image.onnx")
    weight = model.graph.initializer[0]
    shuffled = np.random.default_rng(1).permutation(numpy_helper.to_array(weight).ravel())
    weight.CopyFrom(
        numpy_helper.from_array(shuffled.reshape(weight.dims).astype(np.float32), weight.name)
    )
    onnx.save(model, directory / "wrong.onnx")
    wrong = replace(
        tiny.image.rungs[0],
        precision="int8",
        files=(FileRecord.of(directory, directory / "wrong.onnx"),),
    )
    tower = replace(tiny.image, rungs=(wrong, *tiny.image.rungs))
    found = probe.ask("choose_rung", bundle=variant(tiny, directory, image=tower), tower="image")
    assert found["rung"] == "fp32"
    assert any(
        why == "SELF_TEST" and "golden-input embeddings are wrong" in detail
        for why, detail in found["skipped"]
    )


@pytest.mark.parametrize(("cosine", "parity", "taken"), AGREEMENTS)
def test_a_rung_may_be_as_far_from_its_file_as_that_is_from_float(
    probe, tiny, tmp_path, cosine, parity, taken
):
    directory = tmp_path / "b"
    directory.mkdir()
    rungs = (off_by(tiny, directory, cosine, parity), *tiny.image.rungs)
    other = variant(tiny, directory, image=replace(tiny.image, rungs=rungs))
    found = probe.ask("choose_rung", bundle=other, tower="image")
    assert (found["rung"] == "int8") == taken
    assert taken or f"cosine {cosine:.4f}" in found["skipped"][0][1]


def test_the_worst_of_the_golden_embeddings_decides(probe, tiny, tmp_path):
    directory = tmp_path / "b"
    directory.mkdir()
    rung = off_by(tiny, directory, 0.9, None)
    exact = np.load(tiny.path(tiny.image.rungs[0].expected))
    exact[0] = np.load(directory / "off.npy")[0]  # the first alone
    np.save(directory / "off.npy", exact)
    rung = replace(rung, expected=FileRecord.of(directory, directory / "off.npy"))
    image = replace(tiny.image, rungs=(rung, *tiny.image.rungs))
    found = probe.ask("choose_rung", bundle=variant(tiny, directory, image=image), tower="image")
    assert found["rung"] == "fp32"
    assert "cosine 0.9000" in found["skipped"][0][1]


@pytest.mark.parametrize("damage", ["float64", "by columns", "longer"])
def test_an_array_that_is_not_as_exported_is_refused(probe, tiny, tmp_path, damage):
    directory, path = tmp_path / "b", tmp_path / "b" / "golden.npy"
    directory.mkdir()
    rung = tiny.image.rungs[0]
    rows = np.load(tiny.path(rung.expected))
    np.save(
        path,
        {"float64": rows.astype("<f8"), "by columns": np.asfortranarray(rows)}.get(damage, rows),
    )
    if damage == "longer":
        path.write_bytes(path.read_bytes() + bytes(4))
    rung = replace(rung, expected=FileRecord.of(directory, path))
    other = variant(tiny, directory, image=replace(tiny.image, rungs=(rung,)))
    with pytest.raises(EngineError, match=r"not a float32 or int32 array as numpy\.save writes it"):
        probe.ask("choose_rung", bundle=other, tower="image")


def test_an_array_of_a_later_numpy_format_is_read(probe, tiny, tmp_path):
    directory, path = tmp_path / "b", tmp_path / "b" / "golden.npy"
    directory.mkdir()
    rung = tiny.image.rungs[0]
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.load(tiny.path(rung.expected)), version=(2, 0))
    rung = replace(rung, expected=FileRecord.of(directory, path))
    other = variant(tiny, directory, image=replace(tiny.image, rungs=(rung,)))
    assert probe.ask("choose_rung", bundle=other, tower="image")["cosine"] > 0.999


def test_a_tower_runs_on_as_many_threads_as_it_is_given(probe, tiny, tmp_path):
    before = probe.threads
    probe.ask("choose_rung", bundle=variant(tiny, tmp_path / "b"), tower="image", threads=16)
    assert probe.threads > before + 10


def test_a_tower_whose_self_test_cannot_run_is_closed(probe, tiny, tmp_path):
    """Each open session keeps its threads."""
    golden = tiny.image.golden
    nameless = replace(golden, inputs={"other": golden.inputs["pixels"]})
    bundle = variant(tiny, tmp_path / "b", image=replace(tiny.image, golden=nameless))

    def fail() -> None:
        with pytest.raises(EngineError, match="pixels was not given whole"):
            probe.ask("choose_rung", bundle=bundle, tower="image", threads=8)

    fail()
    before = probe.threads
    for _ in range(8):
        fail()
    assert probe.threads < before + 8


def test_a_ladder_without_a_rung_that_runs_says_why(probe, tiny, tmp_path):
    tower = replace(tiny.text, rungs=(replace(tiny.text.rungs[0], runtime="litert"),))
    with pytest.raises(EngineError, match=r"No text tower .* no such runtime"):
        probe.ask("choose_rung", bundle=variant(tiny, tmp_path / "b", text=tower), tower="text")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation_is_found(probe, tmp_path, suffix):
    exif = Image.Exif()
    exif[0x010F] = "a camera's maker"
    exif[0x0112] = 6
    photo = tmp_path / f"turned.{suffix}"
    Image.new("RGB", (40, 30), "teal").save(photo, exif=exif)
    assert probe.ask("orientation", photo=photo) == {"value": 6, "read": True}


def tiff(value: int, order: str = ">", *, at: int = 8, entries: int = 2) -> bytes:
    """The start of Exif data: a directory `at` that place, its second entry an orientation."""
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, at)
    maker = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0)
    orientation = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, value, 0)
    return head.ljust(at, b"\0") + struct.pack(f"{order}H", entries) + maker + orientation


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    parts = [struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data for kind, data in segments]
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


def exif_jpeg(data: bytes) -> bytes:
    return jpeg((0xE0, b"JFIF\0"), (0xE1, b"Exif\0\0" + data))


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [name + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for name, d in chunks]
    return b"RIFF\0\0\0\0WEBP" + b"".join(parts)


XMP = (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")


ORIENTATIONS = {
    "by Apple": (exif_jpeg(tiff(6)), 6),
    "by Canon": (exif_jpeg(tiff(6, "<")), 6),
    "directory farther behind": (exif_jpeg(tiff(8, at=40)), 8),
    "behind XMP": (jpeg(XMP, (0xE1, b"Exif\0\0" + tiff(6))), 6),
    "behind fill bytes": (exif_jpeg(tiff(6)).replace(b"\xff\xe1", b"\xff\xff\xff\xe1"), 6),
    "too small": (exif_jpeg(tiff(0)), 1),
    "too large": (exif_jpeg(tiff(9)), 1),
    "behind the pixels": (jpeg((0xDA, b"scan"), (0xE1, b"Exif\0\0" + tiff(6))), 1),
    "directory cut off": (exif_jpeg(tiff(6)[:8]), 1),
    "directory far outside": (exif_jpeg(b"MM\0\x2a\xff\xff\xff\xf0"), 1),
    "entries cut off": (exif_jpeg(tiff(6, entries=500)[:-12]), 1),
    "behind a chunk of odd length": (webp((b"ICCP", b"odd"), (b"EXIF", tiff(6))), 6),
    "with a title in WebP": (webp((b"EXIF", b"Exif\0\0" + tiff(3))), 3),
    "in a sound": (b"RIFF\0\0\0\0WAVE" + webp((b"EXIF", tiff(6)))[12:], 1),
}


@pytest.mark.parametrize("place", ORIENTATIONS)
def test_an_orientation_is_found_wherever_it_may_stand(probe, tmp_path, place):
    content, value = ORIENTATIONS[place]
    photo = tmp_path / "photo"
    photo.write_bytes(content)
    assert probe.ask("orientation", photo=photo)["value"] == value


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_shown_is_turned_as_what_is_indexed(probe, orientation):
    photo = Image.effect_mandelbrot((40, 30), (-2, -1, 0.5, 1), 50).convert("RGB")
    photo.getexif()[0x0112] = orientation
    upright = probe.ask("upright", orientation=orientation)
    turned = ImageOps.mirror(photo) if upright["mirrored"] else photo
    turned = turned.rotate(-upright["degrees"], expand=True)
    assert turned.tobytes() == ImageOps.exif_transpose(photo).tobytes()


def test_photos_without_whole_exif_are_upright(probe, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "turned.jpg"
    Image.new("RGB", (40, 30), "teal").save(photo, exif=exif)
    whole = photo.read_bytes()
    for length in (0, 2, 12, 30, 40, 50):
        photo.write_bytes(whole[:length])
        assert probe.ask("orientation", photo=photo)["value"] in (1, 6)
    Image.new("RGB", (40, 30)).save(photo)
    assert probe.ask("orientation", photo=photo) == {"value": 1, "read": True}


@pytest.mark.parametrize("suffix", ["avif", "gif", "bmp", "tiff"])
def test_what_has_its_orientation_elsewhere_is_left_to_a_decoder_that_knows(
    probe, tmp_path, suffix
):
    photo = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (40, 30), "teal").save(photo)
    assert probe.ask("orientation", photo=photo) == {"value": 1, "read": False}


def test_json_comes_back_as_it_was(probe):
    document = {
        "text": 'quotes " and \\ and \u00e9 \u2028 \U0001f600 \x01',
        "numbers": [0, -1, 2**62, 0.5, -1e-7, 1e300],
        "nested": [[], {}, {"a": [None, True, False]}],
    }
    assert probe.ask("json", text=json.dumps(document)) == document
    assert probe.ask("json", text=json.dumps(document, ensure_ascii=False)) == document


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", '{"a" 1}', '{"a": 1', '{"a": [1}', '{"a": "\\x"}', "{} 2", "{}]", "{}}"),
        *("[" * 100_000, '{"a":' * 50_000, "{\"a\": ['[', " + "[" * 10_000),
    ],
)
def test_text_that_is_not_json_is_refused(probe, text):
    with pytest.raises(EngineError, match="not JSON"):
        probe.ask("json", text=text)


@pytest.mark.parametrize("text", ["[1]", "nul", "1", '"a"', "true"])
def test_json_that_is_not_an_object_is_refused(probe, text):
    with pytest.raises(EngineError, match="not a JSON object"):
        probe.ask("json", text=text)


@pytest.mark.parametrize("dim", [None, "64", 64.5, True, [64], 10**30])
def test_a_field_of_another_type_is_refused(probe, bundle, tmp_path, dim):
    document = json.loads((bundle.directory / "bundle.json").read_text("utf-8"))
    (tmp_path / "bundle.json").write_text(json.dumps({**document, "dim": dim}), "utf-8")
    wrong = "lacks dim" if dim is None else "has .+ in dim, where an integer belongs"
    with pytest.raises(EngineError, match=wrong):
        probe.ask("bundle", bundle=tmp_path)


@pytest.mark.parametrize("bits", [3, 8, 17])
def test_a_token_table_has_numbers_of_4_or_16_bits(probe, tiny, bits):
    path = tiny.directory / "bundle.json"
    document = json.loads(path.read_text("utf-8"))
    document["token_table"]["bits"] = bits
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError):
        Bundle.load(tiny.directory)
    with pytest.raises(EngineError, match=f"has {bits} in bits"):
        probe.ask("bundle", bundle=tiny.directory)


def test_a_number_out_of_range_is_named(probe, bundle, tmp_path):
    document = json.loads((bundle.directory / "bundle.json").read_text("utf-8"))
    (tmp_path / "bundle.json").write_text(json.dumps({**document, "dim": 0}), "utf-8")
    with pytest.raises(EngineError, match="has 0 in dim, where an integer from 1 to 65536 belongs"):
        probe.ask("bundle", bundle=tmp_path)
