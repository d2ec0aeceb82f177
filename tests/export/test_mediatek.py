"""What MediaTek's compiler takes, by our list and by LiteRT's own plugin, and compiling by it: with
all of LiteRT, and a stand-in for the one library that MediaTek gives to its customers."""

from __future__ import annotations

import tempfile
from collections import Counter

import numpy as np
import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.errors import ExportError
from mcad_mobile.export.backends.litert.convert import channels_last, convert_litert
from mcad_mobile.export.backends.litert.flatbuffer import Operator, Stored, operators
from mcad_mobile.export.backends.litert.quantize import quantize_litert
from mcad_mobile.export.backends.litert.vendors import (
    VENDORS,
    compile_for_npu,
    counted,
    refusal,
    refusals,
    why_not_compiled,
)
from mcad_mobile.export.prepare import tower_specs
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import all_targets, find_target
from tests.support.neuropilot_sdk import PACKAGE, install, uninstall, write_sdk
from tests.support.pythons import needs_litert
from tests.support.small_nets import Many, Net, Plain, write
from tests.support.tiny_students import HF, OPEN_CLIP, TEXTS, write_hf, write_open_clip
from tests.support.variants import first_of

pytestmark = needs_litert
QUICK = [("open_clip", "siglip")]
ALL = [*(("open_clip", kind) for kind in OPEN_CLIP), *(("hf", kind) for kind in HF)]
LIBRARIES = [
    pytest.param(pair, id=" ".join(pair), marks=() if pair in QUICK else pytest.mark.slow)
    for pair in ALL
]
MEDIATEK = VENDORS["MediaTek"]
COMPILED_FOR = [target for target in all_targets() if target.neuropilot is not None]


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    return write_sdk(tmp_path_factory.mktemp("sdk"))


@pytest.fixture
def installed(sdk, monkeypatch):
    install(monkeypatch, sdk)


def write_tower(student, tower, precision, folder):
    """An integer .tflite of a student's tower, quantized on a few real inputs."""
    inputs = student.read(TEXTS).inputs()
    if tower == "image":
        inputs = {"pixels": np.stack([student.preprocess(p) for p in packaged_photos()[:4]])}
    specs = channels_last(tower_specs(student, tower)[0])
    source, integer = folder / "float.tflite", folder / "integer.tflite"
    convert_litert(student.tower(tower), source, specs)
    quantize_litert(source, integer, inputs, specs, precision)
    return integer


# ---- the list


@pytest.mark.parametrize(
    ("tensor", "taken"),
    [
        (Stored("INT8", "per tensor"), True),
        (Stored("INT8", "per channel", 16), True),
        (Stored("INT8", "none"), False),
        (Stored("INT16", "per tensor"), True),
        (Stored("INT16", "per channel"), False),
        (Stored("INT64", "per channel", 16), True),
        (Stored("INT64", "none"), False),
        (Stored("FLOAT32", "none"), True),
        (Stored("INT8", "per block", 16), False),
    ],
    ids=str,
)
def test_an_operator_is_taken_with_some_types_of_tensors(tensor, taken):
    of_floats = Stored("FLOAT32", "none")
    recorded = refusal(Operator("ADD", (of_floats, tensor)), MEDIATEK)
    assert recorded == (None if taken else f"ADD of {tensor}")


def test_operators_outside_the_list_are_named_and_counted(tmp_path):
    found = operators(write(Net(), tmp_path / "net.tflite"))
    refused = refusals(found, MEDIATEK)
    assert refused == {"SIN": 2, "ARG_MAX": 1}
    assert counted(refused) == "SIN (2), ARG_MAX (1)"
    assert len(found) > refused.total()


@pytest.mark.parametrize("pair", LIBRARIES)
@pytest.mark.parametrize(
    ("tower", "precision"),
    [("image", "w8a8"), pytest.param("text", "w8a16", marks=pytest.mark.slow)],
)
def test_a_students_towers_hold_nothing_that_the_compiler_refuses(pair, tower, precision, tmp_path):
    library, kind = pair
    if library == "hf":
        student = load_student(f"hf:{write_hf(tmp_path / 'student', kind)}")
    else:
        student = load_student(f"open_clip:local-dir:{write_open_clip(tmp_path / 'student', kind)}")
    found = operators(write_tower(student, tower, precision, tmp_path))
    assert not refusals(found, MEDIATEK), counted(refusals(found, MEDIATEK))
    kinds = {tensor.dtype for operator in found for tensor in operator.tensors}
    assert "FLOAT32" not in kinds
    assert len(found) > 20


# ---- the plugin


@pytest.mark.slow
def test_the_list_is_that_of_litert_s_plugin(installed, tmp_path):
    """With a library of version 8 the plugin goes by its own list."""
    source = write(Many(), tmp_path / "many.tflite")
    ours = Counter(op.name for op in operators(source) if refusal(op, MEDIATEK) is not None)
    target = find_target("dimensity-9400")
    left = compile_for_npu(source, tmp_path / "compiled.tflite", target)
    assert Counter(operator.name for operator in left) == ours
    taken = {op.name for op in operators(source)} - set(ours)
    assert len(ours) > 10
    assert len(taken) > 25


@pytest.fixture(scope="module", params=["w8a8", "w8a16"])
def plain(request, tmp_path_factory):
    return write(Plain(), tmp_path_factory.mktemp("plain") / "plain.tflite", request.param)


@pytest.mark.parametrize("target", first_of(COMPILED_FOR), ids=lambda target: target.id)
def test_a_model_is_compiled_for_every_chip_of_the_table(installed, plain, target, tmp_path):
    """By LiteRT's compiler plugin; version 9 of the SDK, for the 9500, is asked what it takes."""
    out = tmp_path / "compiled.tflite"
    assert why_not_compiled(target) is None
    assert compile_for_npu(plain, out, target) == []
    assert {operator.name for operator in operators(out)} == {"DISPATCH_OP"}
    assert f"stand-in network for {target.chip.lower()}: ".encode() in out.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("tower", "precision"), [("image", "w8a8"), ("text", "w8a16")])
def test_the_default_students_towers_become_one_network_each(installed, tower, precision, tmp_path):
    student = load_student()
    source = write_tower(student, tower, precision, tmp_path)
    for chip in ("dimensity-9400", "dimensity-9500"):
        out = tmp_path / f"{chip}.tflite"
        assert compile_for_npu(source, out, find_target(chip)) == []
        assert [operator.name for operator in operators(out)] == ["DISPATCH_OP"]


def test_operators_that_the_compiler_refuses_stay_in_the_model(installed, tmp_path):
    source, out = write(Net(), tmp_path / "net.tflite"), tmp_path / "compiled.tflite"
    left = compile_for_npu(source, out, find_target("dimensity-9400"))
    assert Counter(operator.name for operator in left) == refusals(operators(source), MEDIATEK)
    assert {operator.name for operator in operators(out)} > {"DISPATCH_OP", "ARG_MAX"}


def test_a_compiler_that_fails_is_an_error_with_its_words(tmp_path, monkeypatch):
    install(monkeypatch, write_sdk(tmp_path / "sdk", "-DREFUSES"))
    source = write(Plain(), tmp_path / "plain.tflite", "w8a8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(
        ExportError, match=r"(?s)w8a8\.tflite.*MT6991.*NeuronCompilation_finish failed.*uninstall"
    ):
        compile_for_npu(source, tmp_path / "out.tflite", find_target("dimensity-9400"))
    assert not (tmp_path / "out.tflite").exists()
    assert not list(temporary.iterdir())


# ---- where there is no SDK


def test_without_the_sdk_the_reason_says_how_to_install_it(monkeypatch):
    uninstall(monkeypatch)
    assert "pip install ai-edge-litert-sdk-mediatek" in why_not_compiled(find_target("dimensity"))


def test_an_sdk_whose_download_failed_has_a_reason_of_its_own(tmp_path, monkeypatch):
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("def path_to_sdk_libs(version):\n    print('no data')\n")
    install(monkeypatch, tmp_path)
    assert "without MediaTek's libraries" in why_not_compiled(find_target("dimensity"))


def test_an_sdk_for_another_machine_says_so(tmp_path, monkeypatch):
    package = tmp_path / PACKAGE
    package.mkdir()
    raises = "raise NotImplementedError('Linux x86 alone.')"
    (package / "__init__.py").write_text(f"def path_to_sdk_libs(version):\n    {raises}\n")
    install(monkeypatch, tmp_path)
    assert "Linux x86 alone." in why_not_compiled(find_target("dimensity"))


def test_a_chip_that_the_compiler_does_not_know_is_an_error(installed):
    assert "MT6896" in why_not_compiled(find_target("dimensity-8200"))
