"""Documents from outside, mutated: whatever is in them, an error of ours or what was written."""

from __future__ import annotations

import copy
import json
import math
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.report import load_documents, markdown, regressions
from mcad_mobile.data.captions import load_captions
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.result import Provenance, find_finished
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.index.manifest import read_manifest
from mcad_mobile.engine.text.table import Table
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import McadError
from mcad_mobile.students.hub import read_open_clip_config
from mcad_mobile.students.mcad import read_config
from tests.support.index_embeddings import filled
from tests.support.paths import ROOT
from tests.support.report_documents import measured
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.long


MODEL = ROOT / "models" / "mcad-s"

ODD: list[Any] = [
    *(None, True, "", "../x", "/etc/passwd", "a/\0b", "\u202e", "x" * 300, "NaN"),
    *(0, -1, 1, 2, 2**31, 2**53 + 1, -(2**63), 2**64, 10**400),
    *(0.5, -0.0, 1e308, math.nan, math.inf),
    *([], {}, [[]], {"": {}}, [None], {"schema": "mcad-bundle/1"}),
    "DEEP",
]
DEEP = b"[" * 50_000 + b"]" * 50_000


def places(part: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document, the whole first."""
    members: Any = ()
    if isinstance(part, dict):
        members = part.items()
    elif isinstance(part, list):
        members = list(enumerate(part))[:3]
    return [place, *(inner for name, member in members for inner in places(member, (*place, name)))]


def changed(document: Any, place: tuple[Any, ...], how: str, value: Any) -> Any:
    """A document with one thing changed at `place`."""
    if not place:
        return value if how == "value" else document
    whole = copy.deepcopy(document)
    holder = whole
    for step in place[:-1]:
        holder = holder[step]
    if how == "value":
        holder[place[-1]] = value
    elif how == "drop":
        del holder[place[-1]]
    elif isinstance(holder, dict):
        holder["unheard_of"] = value
    else:
        holder.append(value)
    return whole


@st.composite
def mutations(draw: Any, document: Any) -> bytes:
    """The bytes of a document with up to three things changed, and now and then cut, or a byte of
    it another one."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(document)))
        how = draw(st.sampled_from(["value", "value", "value", "drop", "add"]))
        document = changed(document, place, how, draw(st.sampled_from(ODD)))
    raw = json.dumps(document).encode().replace(b'"DEEP"', DEEP)
    damage = draw(st.sampled_from(["none"] * 8 + ["cut", "byte"]))
    if damage != "none" and raw:
        at = draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] if damage == "cut" else raw[:at] + b"\xff" + raw[at + 1 :]
    return raw


class Reader:
    """A way of reading a document: what was written, where it lies, and who reads it."""

    def __init__(self, path: Path, read: Callable[[], object]) -> None:
        self.path, self.read = path, read
        self.document = json.loads(path.read_text("utf-8"))


def bundle_reader(folder: Path) -> Reader:
    bundle = make_tiny_bundle(folder / "bundle")

    def read() -> None:
        loaded = Bundle.load(bundle.directory, verify=False)
        for record in loaded.files():
            inside = loaded.path(record).resolve()
            assert inside.is_relative_to(bundle.directory.resolve())

    return Reader(bundle.directory / "bundle.json", read)


def student_reader(folder: Path) -> Reader:
    (folder / "student").mkdir()
    shutil.copy(MODEL / "config.json", folder / "student")
    return Reader(folder / "student" / "config.json", lambda: read_config(folder / "student"))


def recipe_reader(folder: Path) -> Reader:
    shutil.copy(MODEL / "recipe.json", folder)
    return Reader(folder / "recipe.json", lambda: StudentRecipe.load(folder / "recipe.json"))


def training_reader(folder: Path) -> Reader:
    val = json.loads((MODEL / "training.json").read_text())
    whole = {
        "photos": {"captioned": 12, "extra": 3},
        "captions": {"paired": 60, "extra": 4},
        "data": "0" * 24,
        "teachers": ["region-text 0"],
        "student": "open_clip:ViT-B-32",
        "batches": {"batch": 8},
        "run": "1" * 24,
        "arithmetic": "fp32",
        **val,
    }
    (folder / "training.json").write_text(json.dumps(whole))
    provenance = Provenance(StudentRecipe(), "", {"run": "1" * 24})
    return Reader(folder / "training.json", lambda: find_finished(folder, provenance))


def bench_reader(folder: Path) -> Reader:
    path = folder / "bench.json"
    path.write_text(json.dumps(complete_document(make_tiny_bundle(folder / "tiny"), measured())))

    def read() -> None:
        documents = load_documents([path])
        markdown(*documents)
        regressions(documents[0], documents[0], 1.0)

    return Reader(path, read)


def index_reader(folder: Path) -> Reader:
    (folder / "index").mkdir()
    filled(folder / "index")
    return Reader(folder / "index" / "manifest.json", lambda: read_manifest(folder / "index"))


def captions_reader(folder: Path) -> Reader:
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").touch()
    sentences = [{"raw": "one", "tokens": ["one"]}, {"raw": "two"}]
    images = [{"filename": "a.jpg", "split": "train", "imgid": 3, "sentences": sentences}]
    (folder / "dataset_x.json").write_text(json.dumps({"images": images, "dataset": "x"}))
    return Reader(folder / "dataset_x.json", lambda: load_captions(folder, "train"))


def open_clip_reader(folder: Path) -> Reader:
    config = {"model_cfg": {"embed_dim": 8}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return Reader(folder / "open_clip_config.json", lambda: read_open_clip_config(folder))


READERS = {
    "bundle": bundle_reader,
    "student": student_reader,
    "recipe": recipe_reader,
    "training": training_reader,
    "bench": bench_reader,
    "index": index_reader,
    "captions": captions_reader,
    "open_clip": open_clip_reader,
}
FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_document_is_read_or_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)
    reader = READERS[name](folder)
    reader.read()
    before = below(tmp_path)

    @FUZZ
    @given(raw=mutations(reader.document))
    def check(raw: bytes) -> None:
        reader.path.write_bytes(raw)
        try:
            reader.read()
        except McadError as error:
            assert error.hint
            assert str(reader.path) in str(error) or str(folder) in str(error)

    check()
    reader.path.write_bytes(before[reader.path])
    assert below(tmp_path) == before


def test_a_mutated_table_of_captions_is_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    table = tmp_path / "captions.csv"
    good = b'photo,caption,split\na.jpg,"one, and more",train\na.jpg,two,train\n'
    ends = st.integers(0, len(good))
    pieces = st.binary(max_size=6) | st.sampled_from([b'"', b"\n", b"\r", b",", b"\0", b"x" * 300])

    @FUZZ
    @given(start=ends, end=ends, put=pieces)
    def check(start: int, end: int, put: bytes) -> None:
        table.write_bytes(good[:start] + put + good[end:])
        try:
            load_captions(tmp_path, "train")
        except McadError as error:
            assert error.hint and str(tmp_path) in str(error)

    check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "captions.csv"]


def test_a_mutated_tokenizer_is_read_or_refused(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path)
    good = bundle.path(bundle.tokenizer_file).read_bytes()
    ends = st.integers(0, len(good) - 1)

    @FUZZ
    @given(at=st.integers(0, 700) | ends, bits=st.integers(1, 255), cut=st.none() | ends)
    def check(at: int, bits: int, cut: int | None) -> None:
        raw = bytearray(good)
        raw[at] ^= bits
        try:
            tokens = Tokenizer(bundle.tokenizer, bytes(raw[:cut]))("a dog on the Beach, 2 qz\u00e9")
        except McadError as error:
            assert error.hint
        else:
            assert len(tokens.ids) == bundle.tokenizer.length

    check()


def test_looking_for_a_word_among_strings_without_an_empty_slot_ends(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path)
    raw = bytearray(bundle.path(bundle.tokenizer_file).read_bytes())
    table = Table(bytes(raw), "good")
    start, slots = table.starts["string_slots"], len(table.array("string_slots"))
    raw[start : start + 4 * slots] = array("I", [1]) * slots
    tokens = Tokenizer(bundle.tokenizer, bytes(raw))("zebra")
    assert tokens.ids.tolist()[:3] == [2, 1, 3]  # [CLS], unknown, [SEP]
