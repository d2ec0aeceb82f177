"""Bundles for a Dimensity, where MediaTek's SDK is installed (a stand-in) and where it is not."""

from __future__ import annotations

import pytest

from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.towers import choose_rung, load_tower, why_not
from mcad_mobile.errors import Remedy, RuntimeUnavailable
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.neuropilot_sdk import install, uninstall, write_sdk
from tests.support.pythons import needs_litert
from tests.support.tiny_students import write_hf

pytestmark = [needs_litert, pytest.mark.usefixtures("traced_once")]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return load_student(f"hf:{write_hf(tmp_path_factory.mktemp('hf') / 'student', 'clip')}")


@pytest.mark.slow
def test_a_compiled_tower_leads_the_ladder_of_its_bundle(student, tmp_path, monkeypatch):
    install(monkeypatch, write_sdk(tmp_path / "sdk"))
    steps = []
    export(
        student,
        [BundleRequest(find_target("dimensity-9400"), tmp_path / "bundle")],
        ExportOptions(samples=4),
        lambda step, done=0, total=0: steps.append((done, total)),
    )
    whole = [done for done, total in steps if total == 6]
    assert whole == sorted(whole) and set(whole) == {*range(6)}
    bundle = Bundle.load(tmp_path / "bundle")
    for name in TOWERS:
        compiled, integer, last = bundle.tower(name).rungs
        assert (compiled.runtime, integer.runtime, last.runtime) == ("neuropilot", "litert", "onnx")
        assert compiled.precision == integer.precision
        assert compiled.npu_nodes == compiled.total_nodes == integer.npu_nodes > 20
        assert b"stand-in network for mt6991" in bundle.path(compiled.files[0]).read_bytes()
        assert (compiled.inputs, compiled.outputs) == (integer.inputs, integer.outputs)
        # Nothing here runs it: what is told of it is what was found of its source, and it says so.
        assert (compiled.parity, compiled.expected) == (integer.parity, integer.expected)
        assert any("cannot run here" in note for note in compiled.notes)
        assert not any("not compiled" in note for note in integer.notes)
        assert "runs only there" in why_not(compiled)
        with pytest.raises(RuntimeUnavailable, match="MT6991") as raised:
            load_tower(bundle, compiled)
        assert raised.value.remedy == Remedy.USE_LITERT
    assert choose_rung(bundle, "image").rung == bundle.image.rungs[1]
    assert choose_rung(bundle, "text").rung == bundle.text.rungs[2]


@pytest.mark.slow
def test_without_the_sdk_a_bundle_has_the_rest_and_tells_what_is_missing(
    student, tmp_path, monkeypatch
):
    uninstall(monkeypatch)
    request = BundleRequest(find_target("dimensity-9400"), tmp_path / "bundle")
    (made,) = export(student, [request], ExportOptions(samples=4))
    for name in TOWERS:
        integer, last = made.bundle.tower(name).rungs
        assert (integer.runtime, last.runtime) == ("litert", "onnx")
        assert integer.npu_nodes == integer.total_nodes > 20
        (note,) = integer.notes
        assert "those on the list of MediaTek's compiler" in note
        assert "not compiled" in note
        assert "Our app runs the ONNX rung" in note and "runs a w8a8 .tflite on the CPU" in note
        assert "pip install ai-edge-litert-sdk-mediatek" in note
