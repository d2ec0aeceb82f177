"""What Google's compiler plugin leaves to the CPU, by our list and by LiteRT's own plugin, and
compiling by it, with a stand-in for the one library that Google's SDK downloads."""

from __future__ import annotations

from collections import Counter

import pytest

from mcad_mobile.engine.bundle import TOWERS
from mcad_mobile.engine.towers import choose_rung, load_tower, runtime_of, why_not
from mcad_mobile.errors import ExportError, Remedy, RuntimeUnavailable
from mcad_mobile.export.backends.litert.flatbuffer import Operator, Stored, operators
from mcad_mobile.export.backends.litert.vendors import (
    VENDORS,
    compile_for_npu,
    refusal,
    refusals,
    why_not_compiled,
)
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import all_targets, find_target
from tests.export.tensor_sdk import PACKAGE, write_sdk
from tests.support.neuropilot_sdk import install, uninstall
from tests.support.pythons import needs_litert
from tests.support.small_nets import Many, Plain, write
from tests.support.tiny_students import write_hf
from tests.support.variants import first_of

pytestmark = needs_litert
GOOGLE = VENDORS["Google"]
TENSORS = [target for target in all_targets() if target.family == "tensor"]


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    return write_sdk(tmp_path_factory.mktemp("sdk"))


@pytest.fixture
def installed(sdk, monkeypatch):
    install(monkeypatch, sdk, PACKAGE)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("ADD", True),
        ("SIN", True),
        ("REDUCE_PROD", False),
        ("odml.rms_norm", True),
        ("odml.l2_norm", False),
        ("a custom operator", False),
    ],
)
def test_google_s_plugin_refuses_some_operators_whatever_their_types(name, taken):
    operator = Operator(name, (Stored("INT16", "per channel"),))
    assert refusal(operator, GOOGLE) == (None if taken else name)


@pytest.mark.slow
def test_the_list_is_that_of_litert_s_plugin(installed, tmp_path):
    source = write(Many(), tmp_path / "many.tflite")
    left = compile_for_npu(source, tmp_path / "compiled.tflite", find_target("tensor-g5"))
    assert Counter(operator.name for operator in left) == refusals(operators(source), GOOGLE)
    assert {operator.name for operator in left} == {"REDUCE_PROD"}


@pytest.mark.parametrize("target", first_of(TENSORS), ids=lambda target: target.id)
def test_a_model_is_compiled_for_every_tensor(installed, target, tmp_path):
    out = tmp_path / "compiled.tflite"
    assert why_not_compiled(target) is None
    assert compile_for_npu(write(Plain(), tmp_path / "p.tflite", "w8a8"), out, target) == []
    assert {operator.name for operator in operators(out)} == {"DISPATCH_OP"}
    assert (
        f"stand-in network for {target.id.title().replace('-', ' ')}".encode() in out.read_bytes()
    )


def test_google_s_compiler_that_fails_is_an_error_with_its_words(tmp_path, monkeypatch):
    install(monkeypatch, write_sdk(tmp_path / "sdk", "-DREFUSES"), PACKAGE)
    source = write(Plain(), tmp_path / "plain.tflite", "w8a8")
    with pytest.raises(ExportError, match=r"(?s)Tensor_G5.*the stand-in refuses.*google-tensor"):
        compile_for_npu(source, tmp_path / "out.tflite", find_target("tensor-g5"))


def test_without_google_s_sdk_the_reason_says_how_to_install_it(monkeypatch):
    uninstall(monkeypatch, PACKAGE)
    why = why_not_compiled(find_target("tensor-g5"))
    assert "Google's Tensor ML SDK (pip install ai-edge-litert-sdk-google-tensor" in why


@pytest.mark.slow
@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("with_sdk", [True, False], ids=["with the SDK", "without"])
def test_a_bundle_for_a_tensor_says_what_was_checked(sdk, tmp_path, monkeypatch, with_sdk):
    install(monkeypatch, sdk, PACKAGE) if with_sdk else uninstall(monkeypatch, PACKAGE)
    student = load_student(f"hf:{write_hf(tmp_path / 'student', 'clip')}")
    request = BundleRequest(find_target("tensor-g5"), tmp_path / "bundle")
    (made,) = export(student, [request], ExportOptions(samples=4))
    for name in TOWERS:
        *compiled, integer, last = made.bundle.tower(name).rungs
        assert (integer.runtime, last.runtime) == ("litert", "onnx")
        assert integer.npu_nodes == integer.total_nodes > 20
        if not with_sdk:
            assert compiled == []
            (note,) = integer.notes
            assert "not compiled" in note and "takes is not published" in note
            assert "pip install ai-edge-litert-sdk-google-tensor" in note
            continue
        (rung,) = compiled
        assert (rung.runtime, runtime_of(rung).for_npu(rung)[-8:]) == ("tpu", "compiled")
        assert (rung.parity, rung.expected) == (integer.parity, integer.expected)
        assert "for a Tensor cannot run here" in rung.notes[0]
        assert "runs only there" in why_not(rung)
        with pytest.raises(RuntimeUnavailable, match="Tensor_G5") as raised:
            load_tower(made.bundle, rung)
        assert raised.value.remedy == Remedy.USE_LITERT
    assert choose_rung(made.bundle, "text").rung.runtime == "onnx"
