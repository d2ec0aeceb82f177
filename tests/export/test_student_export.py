"""Towers of every kind of student as ONNX, and compiled for a Snapdragon."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers.protocol import normalize, split_batch, without_padding
from mcad_mobile.export.float_onnx import export_onnx
from mcad_mobile.students.load import load_student
from tests.support.tiny_students import CAPTIONS, HF, OPEN_CLIP, write_hf, write_open_clip

TEXTS = CAPTIONS.splitlines()[:4]
ALL = [*(("open_clip", kind) for kind in OPEN_CLIP), *(("hf", kind) for kind in HF)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=ALL, ids=" ".join)
def student(request, tmp_path_factory):
    library, kind = request.param
    folder = tmp_path_factory.mktemp("students") / "student"
    if library == "open_clip":
        return load_student(f"open_clip:local-dir:{write_open_clip(folder, kind)}")
    return load_student(f"hf:{write_hf(folder, kind)}")


def specs(inputs):
    return tuple(
        TensorSpec(name, "float32", (1, *value.shape[1:]), "ND") for name, value in inputs.items()
    )


def inputs_of(student, tower):
    if tower == "text":
        return student.read(TEXTS).inputs()
    return {"pixels": np.stack([student.preprocess(path) for path in packaged_photos()[:4]])}


@torch.no_grad()
def expected(student, tower, inputs):
    arguments = (torch.from_numpy(value) for value in inputs.values())
    return normalize(student.tower(tower)(*arguments).numpy())


@pytest.mark.parametrize("tower", ["image", "text"])
def test_an_exported_tower_says_what_the_float_one_does(student, tower, tmp_path):
    inputs = inputs_of(student, tower)
    output = TensorSpec("embedding", "float32", (1, student.dim), "ND")
    variants = (False, True) if tower == "text" else (False,)
    for any_length in variants:
        path = tmp_path / f"{any_length}.onnx"
        export_onnx(student.tower(tower), path, specs(inputs), output, any_length)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [taken.name for taken in session.get_inputs()] == list(inputs)
        singles = split_batch(inputs)
        if any_length:
            singles = [without_padding(single) for single in singles]
        found = np.concatenate([session.run(None, single)[0] for single in singles])
        cosines = (normalize(found) * expected(student, tower, inputs)).sum(1)
        assert cosines.min() > 1 - 1e-5


@pytest.mark.parametrize("tower", ["image", "text"])
def test_every_node_runs_on_the_npu_of_a_snapdragon(student, tower, tmp_path):
    from mcad_mobile.engine.towers.qnn import QnnTower
    from mcad_mobile.export.backends.qnn import compile_context
    from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
    from mcad_mobile.targets import find_target

    inputs, target = inputs_of(student, tower), find_target("SM8750")
    output = TensorSpec("embedding", "float32", (1, student.dim), "ND")
    exported, quantized, context = (tmp_path / f"{name}.onnx" for name in ("float", "q", "context"))
    export_onnx(student.tower(tower), exported, specs(inputs), output)
    quantize_for_htp(exported, quantized, inputs, "w8a16")
    compile_context(quantized, context, target)  # an error names what stays outside
    found = QnnTower(context, target.soc_model, target.htp_arch)(inputs)
    assert (normalize(found) * expected(student, tower, inputs)).sum(1).mean() > 0.99
