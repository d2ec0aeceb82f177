"""What towers are calibrated on, chosen by and compared on."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mcad_mobile.engine.bundle import TOWERS
from mcad_mobile.errors import MissingExtra, install_line
from mcad_mobile.export import export_bundle, pipeline
from mcad_mobile.export.bundle_builder import BundleBuilder, BundleRequest
from mcad_mobile.export.comparison import PARITY_INPUTS
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.quantization.calibration import load_samples
from mcad_mobile.export.targets import find_target
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.students.load import load_student
from tests.support.tiny_students import write_open_clip


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = write_open_clip(tmp_path_factory.mktemp("builder") / "student")
    return load_student(f"open_clip:local-dir:{folder}")


@pytest.fixture(scope="module")
def samples(student):
    return load_samples(student, None, 4)


def jobs_of(student, calibrate, held_out, folder) -> dict[str, TowerJob]:
    """By tower; those that will be quantized."""
    builder = BundleBuilder(
        student, calibrate, held_out, folder, allow_low_parity=True, simulated_inputs=PARITY_INPUTS
    )
    return builder.jobs


def test_a_recipe_is_chosen_on_inputs_that_are_neither_calibrated_on_nor_reported(
    student, samples, tmp_path
):
    calibrate, held_out = samples
    jobs = jobs_of(student, calibrate, held_out, tmp_path)
    pixels = held_out.pixels[PARITY_INPUTS:]
    assert np.array_equal(jobs["image"].validation["pixels"], pixels)
    mask = held_out.text_inputs["attention_mask"][PARITY_INPUTS:]
    assert np.array_equal(jobs["text"].validation["attention_mask"], mask)
    for name in TOWERS:
        inputs = {key: value[PARITY_INPUTS:] for key, value in held_out.inputs(name).items()}
        assert np.array_equal(jobs[name].expected, float_embeddings(student.tower(name), inputs))
        assert len(jobs[name].expected) == len(pixels) == len(mask) > 0


def test_calibration_inputs_also_choose_where_too_few_are_held_out(student, samples, tmp_path):
    calibrate, held_out = samples
    few = held_out[:PARITY_INPUTS]
    jobs = jobs_of(student, calibrate, few, tmp_path)
    assert np.array_equal(jobs["image"].validation["pixels"], calibrate.pixels)
    assert len(jobs["text"].expected) == len(calibrate.ids)


@pytest.mark.parametrize(
    ("chip", "module", "extra"),
    [("snapdragon", "onnxruntime_qnn", "snapdragon"), ("dimensity", "litert_torch", "dimensity")],
)
def test_a_missing_compiler_is_an_error_before_any_work(
    student, tmp_path, monkeypatch, chip, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(pipeline, "load_samples", lambda *given: pytest.fail("work was begun"))
    request = BundleRequest(find_target(chip), tmp_path / "bundle")
    with pytest.raises(MissingExtra) as raised:
        pipeline.export(student, [request])
    assert install_line(extra) in raised.value.hint


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript", "safetensors"])
def test_export_bundle_names_the_extra_that_is_missing(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=module) as raised:
        export_bundle("cpu", tmp_path / "bundle")
    assert install_line("export") in raised.value.hint
