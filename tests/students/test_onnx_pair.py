"""Students that are ONNX models embed as the given models do, or are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mcad_mobile as mcad
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.errors import Remedy, StudentError
from mcad_mobile.export.parity import float_embeddings
from tests.support.onnx_towers import edit, given_embeddings, write_clip

pytestmark = pytest.mark.long
TEXTS = ["a cat", "two dogs on a beach", "a"]


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip(tmp_path_factory.mktemp("legacy") / "clip", "legacy", 14)


@pytest.fixture
def copied(legacy: str, tmp_path: Path) -> Path:
    shutil.copytree(_folder(legacy), tmp_path / "clip")
    return tmp_path / "clip"


def _folder(spec: str) -> Path:
    return Path(spec.rpartition(",")[2]).parent


def _load(folder: Path, **options: Any) -> Any:
    spec = f"onnx:{folder}/vision_model.onnx,{folder}/text_model.onnx"
    return mcad.load_student(spec, **({"preprocess": "clip"} | options))


def _exported(spec: str, target: str, out: Path) -> tuple[mcad.Bundle, float, float]:
    """Return a bundle, and its least cosines to the given models for photos and texts."""
    student = mcad.load_student(spec, preprocess="clip")
    bundle = mcad.export_bundle(target, out, student=student, samples=4)
    engine, photos = mcad.SearchEngine(bundle), packaged_photos()[:3]
    seen, read = given_embeddings(spec, student, TEXTS, photos)
    photo_rows = np.stack([engine.embed_photo(photo) for photo in photos])
    text_rows = np.stack([engine.embed_text(text) for text in TEXTS])
    return bundle, (seen * photo_rows).sum(1).min(), (read * text_rows).sum(1).min()


def test_a_bundle_embeds_as_the_given_models_do(legacy: str, tmp_path: Path) -> None:
    bundle, photos, texts = _exported(legacy, "cpu", tmp_path / "bundle")
    assert bundle.dim == 48
    assert photos > 0.99 and texts > 0.99


def test_one_model_with_both_towers_is_split(legacy: str) -> None:
    parts = _load(_folder(legacy))
    whole = mcad.load_student(f"onnx:{_folder(legacy)}/model.onnx", preprocess="clip")
    for one, other in zip(_embeddings(parts), _embeddings(whole), strict=True):
        assert np.allclose(one, other, atol=1e-5)


def _embeddings(student: Any) -> list[np.ndarray]:
    inputs = student.read(TEXTS).inputs()
    pixels = np.stack([student.preprocess(photo) for photo in packaged_photos()[:2]])
    return [
        float_embeddings(student.tower("text"), inputs),
        float_embeddings(student.tower("image"), {"pixels": pixels}),
    ]


def test_a_tokenizer_file_alone_is_enough(copied: Path, tmp_path: Path) -> None:
    alone = tmp_path / "tokenizer.json"
    shutil.copy(copied / "tokenizer.json", alone)
    described, plain = _load(copied), _load(copied, tokenizer=alone)
    assert (described.read(TEXTS).ids == plain.read(TEXTS).ids).all()


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 20])
def test_files_of_the_newer_exporter_are_read_too(opset: int, tmp_path: Path) -> None:
    spec = write_clip(tmp_path / "clip", "dynamo", opset)
    _, photos, texts = _exported(spec, "cpu", tmp_path / "bundle")
    assert photos > 0.99 and texts > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("target", ["SM8650", "dimensity"])
def test_every_operator_runs_on_an_npu(legacy: str, target: str, tmp_path: Path) -> None:
    bundle, photos, texts = _exported(legacy, target, tmp_path / "bundle")
    assert photos > 0.98 and texts > 0.98
    for tower in (bundle.image, bundle.text):
        rung = tower.rungs[0]
        assert rung.npu_nodes == rung.total_nodes and rung.parity.cosine_mean > 0.99


def test_missing_parts_are_named_with_what_to_give(copied: Path) -> None:
    with pytest.raises(StudentError) as caught:
        _load(copied, preprocess=None)
    assert caught.value.remedy is Remedy.GIVE_PREPROCESS
    with pytest.raises(StudentError) as caught:
        _load(copied, tokenizer=copied / "none.json")
    assert caught.value.remedy is Remedy.GIVE_TOKENIZER and "none.json" in caught.value.message
    with pytest.raises(StudentError) as caught:
        mcad.load_student(f"onnx:{copied}/vision_model.onnx,{copied}/no.onnx", preprocess="clip")
    assert caught.value.remedy is Remedy.GIVE_FILES and "no.onnx" in caught.value.message


def test_external_data_that_is_missing_is_named(copied: Path) -> None:
    file = copied / "text_model.onnx"
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="text.data")
    _load(copied)
    (copied / "text.data").unlink()
    with pytest.raises(StudentError, match=r"text\.data"):
        _load(copied)


def _flat(graph: onnx.GraphProto) -> None:
    del graph.input[0].type.tensor_type.shape.dim[3:]


def _float_ids(graph: onnx.GraphProto) -> None:
    for value in graph.input:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _nameless_outputs(graph: onnx.GraphProto) -> None:
    more = onnx.helper.make_node("Neg", [graph.output[0].name], ["second"], "more")
    again = onnx.helper.make_node("Identity", [graph.output[0].name], ["first"], "again")
    graph.node.extend([more, again])
    del graph.output[:]
    kind = onnx.TensorProto.FLOAT
    graph.output.extend(
        onnx.helper.make_tensor_value_info(name, kind, ["n", 48]) for name in ("first", "second")
    )


def _strange_operator(graph: onnx.GraphProto) -> None:
    last = graph.output[0].name
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == last:
                node.output[place] = "before_strange"
    graph.node.append(onnx.helper.make_node("Sinh", ["before_strange"], [last], "strange_node"))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("vision_model.onnx", _flat, r"is not an image tower: its inputs are pixel_values"),
        ("text_model.onnx", _float_ids, r"is not a text tower: its inputs are input_ids float"),
        ("vision_model.onnx", _nameless_outputs, r"2 outputs .* first, second"),
        ("vision_model.onnx", _strange_operator, r"Sinh \(node 'strange_node'\)"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(
    copied: Path, file: str, change: Any, message: str
) -> None:
    edit(copied / file, change)
    with pytest.raises(StudentError, match=message) as caught:
        _load(copied)
    assert caught.value.hint


def test_a_tokenizer_that_ends_texts_otherwise_is_refused(copied: Path) -> None:
    settings = copied / "tokenizer_config.json"
    document = json.loads(settings.read_text())
    document["eos_token"] = document["bos_token"]
    settings.write_text(json.dumps(document))
    with pytest.raises(StudentError, match=r"text_model\.onnx .* cosine"):
        _load(copied)
