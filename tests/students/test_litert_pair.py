"""Students that are LiteRT files are bundled byte for byte, or are refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mcad_mobile as mcad
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.errors import Remedy, StudentError, TargetError
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.students.load import load_with_text
from tests.support.litert_towers import write_litert, write_pair
from tests.support.pythons import needs_litert

pytestmark = [pytest.mark.long, needs_litert]
TEXTS = ["a cat", "two dogs on a beach", "a"]
SIDE, DIM = 32, 48
PIXELS, IDS = torch.rand(1, 3, SIDE, SIDE), torch.ones(1, 16, dtype=torch.int32)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_pair(tmp_path_factory.mktemp("given") / "clip")


@pytest.fixture(scope="module")
def bundle(given: str, tmp_path_factory: pytest.TempPathFactory) -> mcad.Bundle:
    student = mcad.load_student(given, preprocess="clip")
    out = tmp_path_factory.mktemp("bundle") / "dimensity"
    return mcad.export_bundle("dimensity-8200", out, student=student, samples=4)


def _files(spec: str) -> list[Path]:
    return [Path(file) for file in spec.partition(":")[2].split(",")]


def test_a_bundle_has_the_given_files_and_no_others(given: str, bundle: mcad.Bundle) -> None:
    for file, tower in zip(_files(given), (bundle.image, bundle.text), strict=True):
        (rung,) = tower.rungs
        assert (rung.runtime, rung.precision) == ("litert", "fp32")
        assert bundle.path(rung.files[0]).read_bytes() == file.read_bytes()
        assert rung.parity is not None and rung.parity.cosine_min > 0.9999
    assert any("EMBEDDING_LOOKUP" in note for note in bundle.text.rungs[0].notes)


def test_photos_and_texts_embed_as_by_the_model_that_was_converted(
    given: str, bundle: mcad.Bundle
) -> None:
    source = mcad.load_student(f"hf:{_files(given)[0].parent}")
    engine, photos = mcad.SearchEngine(bundle), packaged_photos()[:3]
    pixels = np.stack([bundle.preprocess(photo) for photo in photos])
    seen = float_embeddings(source.tower("image"), {"pixels": pixels})
    read = float_embeddings(source.tower("text"), source.read(TEXTS).inputs())
    photo_rows = np.stack([engine.embed_photo(photo) for photo in photos])
    text_rows = np.stack([engine.embed_text(text) for text in TEXTS])
    assert (seen * photo_rows).sum(1).min() > 0.9999
    assert (read * text_rows).sum(1).min() > 0.9999


def test_an_index_finds_photos_on_this_computer(bundle: mcad.Bundle, tmp_path: Path) -> None:
    engine = mcad.SearchEngine(bundle)
    for photo in packaged_photos()[:5]:
        shutil.copy(photo, tmp_path)
    with mcad.open_index(bundle, tmp_path / "index", create=True) as index:
        assert engine.index_folder(index, tmp_path).added == 5
        assert len(engine.search(index, "a cat").results) == 5


@pytest.mark.slow
def test_files_of_an_export_come_back_as_they_went(given: str, tmp_path: Path) -> None:
    student = mcad.load_student(f"hf:{_files(given)[0].parent}")
    first = mcad.export_bundle("dimensity-8200", tmp_path / "first", student=student, samples=4)
    before = first.image.rungs[0]
    image = first.path(before.files[0])
    again = mcad.load_student(
        f"litert:{image},{_files(given)[1]}",
        tokenizer=_files(given)[0].with_name("tokenizer.json"),
        preprocess="clip",
    )
    second = mcad.export_bundle("dimensity-8200", tmp_path / "second", student=again, samples=4)
    after = second.image.rungs[0]
    assert (after.precision, after.npu_nodes) == (before.precision, before.npu_nodes)
    assert (after.files[0].sha256, after.inputs) == (before.files[0].sha256, before.inputs)
    engines = [mcad.SearchEngine(found, runtime="litert") for found in (first, second)]
    pixels = first.preprocess(packaged_photos()[0])
    assert np.array_equal(*(engine.embed_pixels(pixels) for engine in engines))


@pytest.mark.parametrize("target", ["SM8650", "cpu"])
def test_chips_whose_towers_litert_does_not_run_are_refused(
    given: str, target: str, tmp_path: Path
) -> None:
    student = mcad.load_student(given, preprocess="clip")
    with pytest.raises(TargetError, match=r"runs no LiteRT files: .* ONNX Runtime") as caught:
        mcad.export_bundle(target, tmp_path / "bundle", student=student, samples=4)
    assert caught.value.hint
    with pytest.raises(TargetError, match="as it is"):
        mcad.export_bundle("dimensity", tmp_path / "b", student=student, samples=4, read_text=True)


class _Embed(nn.Module):
    """Any inputs -> an embedding, several times if asked for."""

    def __init__(self, dim: int = DIM, outputs: int = 1) -> None:
        super().__init__()
        self.row, self.outputs = nn.Parameter(torch.rand(1, dim)), outputs

    def forward(self, *inputs: Tensor) -> Any:
        mean = sum(x.to(torch.float32).mean() for x in inputs)
        found = tuple(self.row * (mean + more) for more in range(self.outputs))
        return found if self.outputs > 1 else found[0]


class _Few(nn.Module):
    """A text tower that knows two tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, DIM)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).mean(1)


@pytest.mark.parametrize(
    ("tower", "module", "arguments", "message"),
    [
        ("image", _Embed(), (PIXELS[..., 8:],), r"not an image tower .* \[1, 3, 32, 24\]"),
        ("image", _Embed(), (torch.cat([PIXELS, PIXELS]),), r"\[2, 3, 32, 32\]"),
        ("image", _Embed(), (PIXELS, IDS), r"args_0 float32 .*, args_1 int32 \[1, 16\]"),
        ("text", _Embed(), (IDS.float(),), r"not a text tower .* args_0 float32 \[1, 16\]"),
        ("text", _Embed(), (IDS[:, :1],), r"int32 \[1, 1\]"),
        ("text", _Embed(), (IDS, IDS[:, 1:]), r"args_1 int32 \[1, 15\]"),
        ("text", _Embed(), (IDS, IDS, IDS), r"args_2 int32 \[1, 16\]"),
        ("text", _Embed(outputs=2), (IDS,), r"outputs of .* output_0 .*, output_1"),
        ("text", _Embed(32), (IDS,), r"48 numbers and .* 32"),
        ("text", _Few(), (IDS,), r"was token \d+, the tokenizer's last"),
    ],
)
def test_what_no_phone_can_run_is_refused_with_its_value(
    given: str, tmp_path: Path, tower: str, module: Any, arguments: Any, message: str
) -> None:
    image, text = _files(given)
    wrong = write_litert(module, tmp_path / "wrong.tflite", *arguments)
    pair = (wrong, text) if tower == "image" else (image, wrong)
    with pytest.raises(StudentError, match=message) as caught:
        _load(*pair, tokenizer=image.with_name("tokenizer.json"))
    assert caught.value.hint


def test_ids_may_have_64_bits(given: str, tmp_path: Path) -> None:
    """As TensorFlow's converter has them; torch's makes them 32."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    text = write_litert(_Embed(), tmp_path / "text.tflite", IDS)
    model = flatbuffer_utils.read_model(str(text))
    (graph,) = model.subgraphs
    graph.tensors[graph.inputs[0]].type = schema.TensorType.INT64
    flatbuffer_utils.write_model(model, str(text))
    image = _files(given)[0]
    student = _load(image, text, tokenizer=image.with_name("tokenizer.json"))
    assert student.tower("text").inputs[0].dtype == "int64"
    assert np.isfinite(float_embeddings(student.tower("text"), student.read(TEXTS).inputs())).all()


def _load(*files: Path, **options: Any) -> Any:
    spec = f"litert:{','.join(map(str, files))}"
    return mcad.load_student(spec, **({"preprocess": "clip"} | options))


def test_missing_and_damaged_parts_are_named(given: str, tmp_path: Path) -> None:
    image, text = _files(given)
    for files, options, named in (
        ((image, text), {"preprocess": None}, Remedy.GIVE_PREPROCESS),
        ((image, text), {"tokenizer": tmp_path / "no.json"}, Remedy.GIVE_TOKENIZER),
        ((image, tmp_path / "no.tflite"), {}, Remedy.GIVE_FILES),
    ):
        with pytest.raises(StudentError) as caught:
            _load(*files, **options)
        assert caught.value.remedy is named
    with pytest.raises(StudentError, match="1 LiteRT files"):
        _load(image)
    (tmp_path / "damaged.tflite").write_bytes(image.read_bytes()[:1000])
    with pytest.raises(StudentError, match=r"LiteRT cannot load .*damaged\.tflite"):
        _load(tmp_path / "damaged.tflite", text)


def test_towers_in_files_keep_their_text_tower(given: str, tmp_path: Path) -> None:
    with pytest.raises(StudentError) as caught:
        load_with_text(str(tmp_path), given)
    assert caught.value.remedy is Remedy.TRAIN_TEXT_TOWER
