"""The reader's models: what is made of the published ones computes the same."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mcad_mobile.engine.bundle import (
    DETECTOR_SHAPE,
    RECOGNIZER_SHAPE,
    RECOGNIZER_STEP,
    TensorSpec,
)
from mcad_mobile.errors import install_line
from mcad_mobile.export.reader.models import (
    characters,
    float_model,
    licence_document,
    published_model,
)
from mcad_mobile.export.reader.pictures import line_pictures, pixels, scene_pictures
from tests.support.processes import run_python

pytestmark = pytest.mark.long

MODELS = {
    "detector": (DETECTOR_SHAPE, (1, 3, 96, 160), scene_pictures, "NCHW"),
    "recognizer": (RECOGNIZER_SHAPE, (1, 3, 48, 168), line_pictures, "NTC"),
}
WITHOUT = """
import importlib.metadata as metadata
def missing(name): raise metadata.PackageNotFoundError(name)
metadata.distribution = missing
from mcad_mobile.export import check_arguments
check_arguments(None, [], None, read_text=True)
"""


def run(model, inputs):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("any_size", [False, True])
def test_a_float_tower_computes_what_the_published_model_does_of_red_green_and_blue(
    name, any_size, tmp_path
):
    shape, other, make, layout = MODELS[name]
    published, path = published_model(name), tmp_path / "float.onnx"
    before = published.SerializeToString()
    inputs = TensorSpec("pixels", "float32", shape, "NCHW")
    output = TensorSpec("output", "float32", (1,), layout)
    float_model(published, inputs, output, path, any_size=any_size)
    picture = pixels([make(1, 5)[0].image], shape)
    for size in (shape, other) if any_size else (shape,):
        rgb = picture[:, :, : size[2], : size[3]]
        bgr = np.ascontiguousarray(rgb[:, ::-1])
        assert np.allclose(run(str(path), rgb), run(before, bgr), atol=2e-4 if any_size else 5e-3)
    operators = collections.Counter(node.op_type for node in onnx.load(path).graph.node)
    assert operators["Gelu"] == 13
    assert not {"Erf", "Shape", "Identity"} & set(operators) or any_size
    assert {opset.domain for opset in onnx.load(path).opset_import} == {""}


def test_the_recognizer_knows_a_character_for_each_output_but_the_blank():
    published = published_model("recognizer")
    listed = characters(published)
    outputs = run(published.SerializeToString(), np.zeros(RECOGNIZER_SHAPE, np.float32)).shape
    assert outputs == (1, RECOGNIZER_SHAPE[3] // RECOGNIZER_STEP, len(listed) + 1)
    assert listed[0] == "!" and listed[-1] == " "
    assert all(len(character) == 1 for character in listed)


def test_the_licence_names_the_models_and_holds_the_text_of_apaches():
    document = licence_document()
    assert "PP-OCRv6" in document and "PaddleOCR" in document
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in document


def test_pictures_are_the_same_in_each_run_and_others_for_another_seed():
    first, again, other = (line_pictures(4, seed) for seed in (1, 1, 2))
    assert [picture.lines for picture in first] == [picture.lines for picture in again]
    assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(first, again, strict=True))
    assert [picture.lines for picture in first] != [picture.lines for picture in other]
    scenes = scene_pictures(4, 1)
    assert {picture.image.size for picture in scenes} == {DETECTOR_SHAPE[:1:-1]}
    assert len(scenes[3].lines) > 8  # a page


def test_lines_stand_out_from_what_they_are_written_on():
    for picture in line_pictures(40, 3):
        grey = np.asarray(picture.image.convert("L"), np.float32)
        assert np.percentile(grey, 99) - np.percentile(grey, 1) > 60, picture.lines


def test_without_the_models_the_error_names_the_pip_command():
    done = run_python("-c", WITHOUT)
    assert "MissingExtra" in done.stderr
    assert install_line("reader") in done.stderr
