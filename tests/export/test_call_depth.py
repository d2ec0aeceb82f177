"""A reader who follows an export reaches the runtime's quantizer in six calls."""

from __future__ import annotations

import traceback
from pathlib import Path

import onnxruntime.quantization as ort_quantization
import pytest

import mcad_mobile
from mcad_mobile.export import export_bundle
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.backends.qnn import quantize as htp
from mcad_mobile.students.load import load_student
from tests.support.pythons import needs_litert
from tests.support.tiny_students import write_open_clip

pytestmark = pytest.mark.usefixtures("traced_once")

PACKAGE = str(Path(mcad_mobile.__file__).parent)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = write_open_clip(tmp_path_factory.mktemp("depth") / "student")
    return load_student(f"open_clip:local-dir:{folder}")


def depths_of(monkeypatch, owner, name: str) -> list[list[str]]:
    """Note our functions on the stack from `export_bundle` on, each time that a quantizer of a
    library is called through `owner`."""
    stacks: list[list[str]] = []
    quantizer = getattr(owner, name)

    def noted(*arguments, **options):
        frames = traceback.extract_stack()
        ours = [frame.name for frame in frames if frame.filename.startswith(PACKAGE)]
        stacks.append(ours[ours.index("export_bundle") :])
        return quantizer(*arguments, **options)

    monkeypatch.setattr(owner, name, noted)
    return stacks


def export(student, chip: str, folder: Path) -> None:
    export_bundle(chip, folder, student=student, samples=4, allow_low_parity=True)


def test_onnx_runtime_quantizes_for_cpus_six_calls_below_an_export(tmp_path, monkeypatch):
    folder = write_open_clip(tmp_path / "student", "resnet")
    convolutional = load_student(f"open_clip:local-dir:{folder}")
    names = ("quantize_static", "quantize_dynamic")  # of the image tower, of the text tower
    assert all(getattr(cpu, name) is getattr(ort_quantization, name) for name in names)
    stacks = [depths_of(monkeypatch, cpu, name) for name in names]
    export(convolutional, "cpu", tmp_path / "bundle")
    assert all(stacks)
    assert max(len(stack) for found in stacks for stack in found) <= 6, stacks


@pytest.mark.slow
def test_onnx_runtime_quantizes_for_a_snapdragon_six_calls_below_an_export(
    student, tmp_path, monkeypatch
):
    assert htp.quantize is ort_quantization.quantize
    stacks = depths_of(monkeypatch, htp, "quantize")
    export(student, "snapdragon", tmp_path / "bundle")
    assert len(stacks) == 2  # a tower each
    assert max(map(len, stacks)) <= 6, stacks


@pytest.mark.slow
@needs_litert
def test_litert_s_quantizer_is_six_calls_below_an_export(student, tmp_path, monkeypatch):
    from ai_edge_quantizer.quantizer import Quantizer

    stacks = depths_of(monkeypatch, Quantizer, "quantize")
    export(student, "dimensity", tmp_path / "bundle")
    assert stacks
    assert max(map(len, stacks)) <= 6, stacks
