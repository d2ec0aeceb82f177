"""Bundle: what is written is read back, and what is damaged is named."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import asdict, replace
from PIL import Image

from mcad_mobile.engine.bundle import (
    MANIFEST,
    TOWERS,
    Bundle,
    FileRecord,
    ReaderFacts,
    StudentFacts,
    check_replaceable,
)
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.towers import choose_rung, normalize, runtime_of
from mcad_mobile.errors import (
    BundleError,
    DiskError,
    ExportError,
    McadError,
    PhotoIndexError,
    Remedy,
    RuntimeUnavailable,
)
from mcad_mobile.students.load import default_directory
from tests.support.tiny_bundle import make_tiny_bundle, two_text_towers


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return make_tiny_bundle(tmp_path / "bundle")


def edit(bundle: Bundle, change) -> None:
    path = bundle.directory / MANIFEST
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_bundle_is_read_back_as_it_was_written(bundle):
    assert Bundle.load(bundle.directory) == bundle


def test_bundle_json_holds_the_fields_of_the_bundle_in_order(bundle):
    data = json.loads((bundle.directory / MANIFEST).read_text())
    assert data["schema"] == "mcad-bundle/1"
    assert list(data) == [
        *("schema", "name", "created", "student", "target", "dim", "image", "text", "preprocess"),
        *("tokenizer", "tokenizer_file", "token_table", "sample", "tools"),
        *("recall", "precision"),
    ]
    assert data["dim"] == 64
    for tower in ("image", "text"):
        assert list(data[tower]) == ["rungs", "golden"]
        (rung,) = data[tower]["rungs"]
        assert {"runtime", "precision", "files", "inputs", "outputs"} <= set(rung)
        assert set(rung["parity"]) == {"inputs", "cosine_mean", "cosine_min"}
    assert data["tokenizer_file"]["path"] == "tokenizer.bin"
    assert str(bundle.directory) not in json.dumps(data)


def with_reader(bundle: Bundle) -> Bundle:
    """Return the bundle with its own towers as a reader's, and files that only the reader has."""
    files = []
    for name in ("characters.txt", "LICENSE.reader", "places.bin"):
        path = bundle.directory / name
        path.write_text(name)
        files.append(FileRecord.of(bundle.directory, path))
    reader = ReaderFacts(bundle.image, bundle.text, *files)
    written = replace(bundle, reader=reader)
    written.save()
    return written


def test_a_reader_is_read_back_and_left_out_where_there_is_none(bundle):
    before = (bundle.directory / MANIFEST).read_bytes()
    assert b"reader" not in before
    written = with_reader(bundle)
    assert Bundle.load(bundle.directory) == written
    assert written.tower("detector") == bundle.image
    assert written.tower("recognizer") == bundle.text
    assert b'"reader"' in (bundle.directory / MANIFEST).read_bytes()
    replace(written, reader=None).save()
    assert (bundle.directory / MANIFEST).read_bytes() == before
    with pytest.raises(BundleError) as caught:
        bundle.tower("detector")
    assert caught.value.remedy == Remedy.EXPORT_WITH_READER


@pytest.mark.parametrize("name", ["characters.txt", "LICENSE.reader", "places.bin"])
def test_the_files_of_a_reader_are_checked(bundle, name):
    written = with_reader(bundle)
    assert name in [file.path for file in written.files()]
    path = bundle.directory / name
    path.write_text(name.upper())
    with pytest.raises(BundleError, match="sha256"):
        Bundle.load(bundle.directory)
    path.unlink()
    with pytest.raises(BundleError, match="missing"):
        Bundle.load(bundle.directory, verify=False)


def test_a_language_other_than_english_takes_the_multilingual_text_tower(tmp_path):
    both, english = two_text_towers(tmp_path / "both"), {None, "en", "en-GB", "EN_us"}
    other = both.multilingual
    assert all(both.for_language(language) == both for language in english)
    for language in ("de", "pt-BR", "zh_Hant", "enm"):
        assert both.for_language(language) == replace(both, multilingual=None, **asdict(other))
    assert both.towers == ("image", "text", "multilingual")
    assert both.tower("multilingual") == both.for_language("de").text != both.text
    assert both.students == (both.student, other.student)
    alone = make_tiny_bundle(tmp_path / "alone")
    assert alone.for_language("de") == alone


@pytest.mark.parametrize(
    "name", ["text.onnx", "tokenizer.bin", "token_table.bin", "golden-ids.npy"]
)
def test_the_files_of_both_text_towers_are_checked(tmp_path, name):
    both = two_text_towers(tmp_path)
    assert {name, f"multilingual/{name}"} <= {record.path for record in both.files()}
    (tmp_path / "multilingual" / name).unlink()
    with pytest.raises(BundleError, match=f"multilingual/{name} is missing"):
        Bundle.load(tmp_path)


def test_text_towers_of_different_image_towers_are_no_bundle(tmp_path):
    both = two_text_towers(tmp_path)
    edit(both, lambda data: data["multilingual"]["student"].update(image_sha256="7" * 64))
    with pytest.raises(BundleError, match="different image towers"):
        Bundle.load(tmp_path)


def test_a_rung_tells_the_facts_of_the_contract(bundle):
    rung = bundle.image.rungs[0]
    assert rung.facts() == {
        "runtime": rung.runtime,
        "precision": rung.precision,
        "bytes": sum(bundle.path(file).stat().st_size for file in rung.files),
        "npu_nodes": rung.npu_nodes,
        "total_nodes": rung.total_nodes,
        "cosine_mean": rung.parity.cosine_mean,
        "cosine_min": rung.parity.cosine_min,
        "inputs": rung.parity.inputs,
        "notes": [],
    }
    assert rung.npu_nodes == 0  # of a CPU's, which its bundle.json need not say


@pytest.mark.parametrize(
    ("runtime", "text"),
    [
        ("qnn", "2/3 on the NPU"),
        ("neuropilot", "2/3 compiled"),
        ("tpu", "2/3 compiled"),
        ("litert", "2/3 accepted"),
    ],
)
def test_only_qualcomms_compiler_is_said_to_place_nodes_on_an_npu(bundle, runtime, text):
    rung = replace(bundle.image.rungs[0], runtime=runtime, npu_nodes=2, total_nodes=3)
    assert runtime_of(rung).for_npu(rung) == text
    without = replace(rung, runtime="onnx", npu_nodes=0)
    assert runtime_of(without).for_npu(without) == "-"


def test_what_is_not_told_of_a_student_is_empty(bundle):
    bare = StudentFacts(name="one", sha256="0" * 64, image_sha256="1" * 64)
    assert (bare.source, bare.preprocess, bare.licence) == ("", "", "unknown")
    edit(bundle, lambda data: [data["student"].pop(key, 0) for key in ("source", "licence")])
    student = Bundle.load(bundle.directory).student
    assert (student.source, student.licence) == ("", "unknown")


@pytest.mark.parametrize("tower", ["image", "text"])
def test_golden_inputs_give_the_golden_embeddings(bundle, tower):
    golden = bundle.tower(tower).golden
    inputs = {name: np.load(bundle.path(record)) for name, record in golden.inputs.items()}
    embeddings = normalize(choose_rung(bundle, tower).tower(inputs))
    assert np.allclose(embeddings, normalize(np.load(bundle.path(golden.embeddings))), atol=1e-5)


def test_a_changed_byte_is_found_and_the_file_named(bundle):
    path = bundle.path(bundle.text.rungs[0].files[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=rf"{path.name}.*sha256"):
        Bundle.load(bundle.directory)


def test_a_changed_byte_of_any_file_is_found_also_of_rungs_that_are_only_fallen_back_on(bundle):
    directory = bundle.directory
    for name in ("image", "text"):
        rung = bundle.tower(name).rungs[0]
        for record in (*rung.files, rung.expected):
            shutil.copy(bundle.path(record), directory / f"second-{record.path}")
        second = replace(
            rung,
            precision="int8",
            files=tuple(
                FileRecord.of(directory, directory / f"second-{file.path}") for file in rung.files
            ),
            expected=FileRecord.of(directory, directory / f"second-{rung.expected.path}"),
        )
        tower = replace(bundle.tower(name), rungs=(rung, second))
        bundle = replace(bundle, **{name: tower})
    licence = directory / "LICENSE"
    licence.write_text("Name the photographers.")
    student = replace(bundle.student, licence_text=FileRecord.of(directory, licence))
    bundle = replace(bundle, student=student)
    bundle.save()
    assert Bundle.load(directory) == bundle
    rest = {path.name for path in directory.iterdir()} - {MANIFEST}
    assert rest == {record.path for record in bundle.files()}
    for name in rest:
        path = directory / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name} is damaged"):
            Bundle.load(directory)
        path.write_bytes(whole)
    Bundle.load(directory)


def test_a_missing_file_is_named(bundle):
    path = bundle.path(bundle.image.rungs[0].files[0])
    path.unlink()
    with pytest.raises(BundleError, match=rf"{path.name} is missing"):
        Bundle.load(bundle.directory)


def test_a_cut_file_is_found_without_reading_checksums(bundle):
    path = bundle.path(bundle.sample)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=path.name):
        Bundle.load(bundle.directory, verify=False)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "..\\secret"])
def test_a_path_that_leaves_the_directory_is_refused(bundle, path):
    edit(bundle, lambda data: data["sample"].update(path=path))
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("where", ["the file", "its folder"])
def test_a_link_that_leaves_the_directory_is_refused(bundle, tmp_path, where):
    path = "sample.npy"
    if where == "its folder":
        path = f"out/{path}"
        (bundle.directory / "out").symlink_to(tmp_path)
    inside = bundle.path(bundle.sample)
    outside = inside.rename(tmp_path / "sample.npy")
    if where == "the file":
        inside.symlink_to(outside)
        path = bundle.sample.path
    edit(bundle, lambda data: data["sample"].update(path=path))
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.load(bundle.directory)


def test_a_link_inside_the_directory_is_followed(bundle):
    path = bundle.path(bundle.sample)
    path.symlink_to(path.rename(path.with_name("renamed")).name)
    assert Bundle.load(bundle.directory) == bundle


@pytest.mark.parametrize("kind", ["pipe", "endless", "sparse", "link"])
def test_a_bundle_json_that_no_export_leaves_is_refused(bundle, tmp_path, kind):
    manifest = bundle.directory / MANIFEST
    outside = manifest.rename(tmp_path / "outside.json")
    if kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "sparse":
        with manifest.open("wb") as file:
            file.truncate(1 << 33)
    else:
        manifest.symlink_to("/dev/zero" if kind == "endless" else outside)
    with pytest.raises(BundleError, match=rf"{MANIFEST} cannot be read: .* It (is|has)"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("schema", ["mcad-bundle/0", None, "other", "other/1", 2, "mcad-bundle/x"])
def test_an_older_or_foreign_schema_is_to_be_exported_again(bundle, schema):
    edit(bundle, lambda data: data.update(schema=schema))
    named = "names no schema" if schema is None else f"has schema {schema!r}"
    with pytest.raises(BundleError, match=rf"{named}; .*'mcad-bundle/1'") as caught:
        Bundle.load(bundle.directory)
    assert caught.value.remedy == Remedy.EXPORT_AGAIN


@pytest.mark.parametrize("schema", ["mcad-bundle/2", "mcad-bundle/10"])
def test_a_newer_schema_asks_for_a_newer_version(bundle, schema):
    """Also where its fields are others than ours."""
    edit(bundle, lambda data: (data.clear(), data.update(schema=schema, towers=[])))
    with pytest.raises(BundleError, match=rf"'{schema}', of a newer .*'mcad-bundle/1'") as caught:
        Bundle.load(bundle.directory)
    assert "Update mcad-mobile" in caught.value.hint


def put(*steps, value):
    """Put a value into a document, or take one out (...)."""

    def change(data):
        *way, last = steps
        for step in way:
            data = data[step]
        if value is ...:
            del data[last]
        else:
            data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("tokenizer", value=...), "missing required field `tokenizer`"),
        (put("student", "sha256", value=...), r"missing .* `sha256` - at `\$\.student`"),
        (put("text", "golden", "inputs", "pooling", "bytes", value=...), "missing .* `bytes`"),
        (put("tokenizer", "length", value=0), r">= 2 - at `\$\.tokenizer\.length`"),
        (put("sample", "path", value=5), r"`str`, got `int` - at `\$\.sample\.path`"),
        (put("preprocess", "interpolation", value="lanczos"), r"'lanczos' - at .*interpolation"),
        (put("preprocess", "std", 1, value=0.0), r"> 0\.0 - at `\$\.preprocess\.std\[1\]`"),
        (put("preprocess", "mean", value=[0.5]), r"of length 3.* - at `\$\.preprocess\.mean`"),
        (put("text", "rungs", value=[]), r"of length >= 1 - at `\$\.text\.rungs`"),
        (put("image", "rungs", 0, "files", value=[]), r"at `\$\.image\.rungs\[0\]\.files`"),
        (put("image", "rungs", 0, "files", 0, "sha256", value="A"), r"files\[0\]\.sha256`"),
        (put("image", "speed", value=9), r"unknown field `speed` - at `\$\.image`"),
        (put("directory", value="/tmp"), "unknown field `directory`"),
        (put("dim", value=True), r"`int`, got `bool` - at `\$\.dim`"),
        (put("dim", value=0), r">= 1 - at `\$\.dim`"),
        (put("dim", value=2**16 + 1), r"<= 65536 - at `\$\.dim`"),
        (put("tokenizer", "pool", value="eos"), "pool is 'eos', and there is no eos"),
        (put("text", "golden", "inputs", "pooling", value=[]), r"at `\$\.text\.golden\.inputs"),
    ],
)
def test_a_field_that_is_wrong_is_named(bundle, change, message):
    edit(bundle, change)
    with pytest.raises(BundleError, match=rf"{MANIFEST} .*{message}") as caught:
        Bundle.load(bundle.directory)
    assert caught.value.remedy == Remedy.EXPORT_AGAIN


def test_no_other_tokenizer_is_opened_than_the_one_that_was_verified(bundle):
    other = bundle.directory / "other.bin"
    other.write_bytes(bundle.path(bundle.tokenizer_file).read_bytes()[::-1])
    edit(bundle, put("tokenizer_file", "path", value="other.bin"))
    with pytest.raises(BundleError, match=r"other\.bin is damaged"):
        Bundle.load(bundle.directory)
    edit(bundle, put("tokenizer", "file", value="other.bin"))
    with pytest.raises(BundleError, match=r"unknown field `file` - at `\$\.tokenizer`"):
        Bundle.load(bundle.directory)


def test_what_a_bundle_records_is_all_that_is_opened(bundle, tmp_path):
    copy = tmp_path / "copy"
    for path in (*(record.path for record in bundle.files()), MANIFEST):
        (copy / path).parent.mkdir(exist_ok=True)
        shutil.copy(bundle.directory / path, copy / path)
    engine = SearchEngine(Bundle.load(copy))
    index = create_index(engine.bundle, tmp_path / "index")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    assert engine.index_photos(index, [tmp_path / "red.png"]).added == 1
    assert len(engine.search(index, "a red car").results) == 1


def test_what_is_given_in_place_of_a_bundle_is_called_by_its_name(bundle, tmp_path):
    index = create_index(bundle, tmp_path / "index")
    assert index.photos == 0
    for given, kind, remedy in (
        (tmp_path / "index", "a photo index", Remedy.GIVE_BUNDLE_OF_INDEX),
        (default_directory(), "a student", Remedy.EXPORT_STUDENT),
        (bundle.directory / MANIFEST, "a file", Remedy.GIVE_EXPORTED_FOLDER),
    ):
        with pytest.raises(BundleError, match=f"not a bundle: it is {kind}") as caught:
            Bundle.load(given)
        assert caught.value.remedy == remedy
    for use in (PhotoIndex.open, lambda folder: create_index(bundle, folder)):
        reason = r"bundle is (not a photo index: it is )?a bundle"
        with pytest.raises(PhotoIndexError, match=reason):
            use(bundle.directory)
    assert not (bundle.directory / "manifest.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": "mcad-bundle/1"}'])
def test_a_broken_bundle_json_is_an_error_of_ours(bundle, text):
    (bundle.directory / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.load(bundle.directory)


def test_a_bundle_json_that_cannot_be_read_is_an_error_of_ours(bundle):
    (bundle.directory / MANIFEST).unlink()
    (bundle.directory / MANIFEST).mkdir()
    with pytest.raises(BundleError, match=rf"{MANIFEST} cannot be read"):
        Bundle.load(bundle.directory)


def test_nothing_but_a_bundle_is_replaced(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a photo")
    for place in (tmp_path / "new", tmp_path / "empty", bundle.directory):
        check_replaceable(place)
    for place in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(ExportError, match=f"{place.name} exists and is not a bundle"):
            check_replaceable(place)


def test_the_current_folder_is_not_replaced(bundle, monkeypatch):
    monkeypatch.chdir(bundle.directory)
    with pytest.raises(DiskError, match=r"\. cannot be replaced: it is the current folder"):
        check_replaceable(Path("."))  # noqa: PTH201


def test_a_folder_without_a_bundle_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(BundleError) as caught:
        Bundle.load(tmp_path / "nothing")
    assert caught.value.remedy == Remedy.EXPORT_BUNDLE


def test_saving_leaves_no_partial_file(bundle):
    replace(bundle, name="other").save()
    assert Bundle.load(bundle.directory).name == "other"
    assert not list(bundle.directory.glob("*.partial"))
    assert not list(bundle.directory.glob(".*.partial"))


def test_bundle_json_is_on_the_disk_before_it_has_its_name(bundle, monkeypatch):
    done = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("flushed"), fsync(file)))
    monkeypatch.setattr(Path, "replace", lambda *way: (done.append(way[1].name), rename(*way)))
    bundle.save()
    assert done == ["flushed", MANIFEST]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def replace_file(bundle: Bundle, record: FileRecord, raw: bytes) -> None:
    """Put other bytes in place of a file, with a manifest that agrees."""
    bundle.path(record).write_bytes(raw)
    fresh = FileRecord.of(bundle.directory, bundle.path(record))

    def put(part: Any) -> None:
        for member in part.values() if isinstance(part, dict) else part:
            if isinstance(member, dict) and member.get("path") == record.path:
                member.update(sha256=fresh.sha256, bytes=fresh.bytes)
            elif isinstance(member, dict | list):
                put(member)

    edit(bundle, put)


ARRAYS = {
    "no array": b"x" * 200,
    "empty": npy(np.zeros((0, 64), np.float32)),
    "a number": npy(np.float32(1)),
    "another width": npy(np.ones((4, 63), np.float32)),
    "not finite": npy(np.full((4, 64), np.nan, np.float32)),
    "text": npy(np.full((4, 64), "a")),
    "objects": npy(np.full((4, 64), None)),
    "a terabyte": npy(np.ones((4, 64), np.float32)).replace(
        b"(4, 64), }" + b" " * 9, b"(4444444444, 64), }"
    ),
    "cut off": npy(np.ones((4, 64), np.float32))[:-9],
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("which", ["sample", "expected", "pixels"])
def test_an_array_is_checked_before_it_is_used(bundle, tmp_path, kind, which):
    record = {
        "sample": bundle.sample,
        "expected": bundle.text.rungs[0].expected,
        "pixels": bundle.image.golden.inputs["pixels"],
    }[which]
    replace_file(bundle, record, ARRAYS[kind])
    loaded = Bundle.load(bundle.directory)
    engine = SearchEngine(loaded)
    index = create_index(loaded, tmp_path / "index")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    with pytest.raises((BundleError, RuntimeUnavailable)) as caught:
        engine.embed_photo(tmp_path / "red.png")
        engine.search(index, "a dog")
    assert caught.value.hint


@pytest.mark.parametrize("seed", range(3))
def test_a_bundle_with_a_mutated_file_is_used_or_refused(bundle, tmp_path, seed):
    """Whichever of its files, but for the towers', which are ONNX Runtime's to read."""
    chance = random.Random(seed)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    index = create_index(bundle, tmp_path / "index")
    towers = {file.path for name in TOWERS for r in bundle.tower(name).rungs for file in r.files}
    records = {record.path: record for record in bundle.files() if record.path not in towers}
    for _, record in sorted(records.items()):
        good = bundle.path(record).read_bytes()
        for _ in range(8):
            raw = bytearray(good)
            for _ in range(chance.choice([1, 1, 40])):
                raw[chance.randrange(min(len(raw), chance.choice([130, len(raw)])))] = (
                    chance.randrange(256)
                )
            bundle.path(record).write_bytes(raw)
            engine = SearchEngine(Bundle.load(bundle.directory, verify=False))
            try:
                engine.embed_photo(tmp_path / "red.png")
                engine.search(index, "a dog on the \u00e9 beach")
            except McadError as error:
                assert error.hint
        bundle.path(record).write_bytes(good)
