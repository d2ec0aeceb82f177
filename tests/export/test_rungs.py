"""Which rungs a target's bundle gets, what they need, and which chips share them."""

from __future__ import annotations

import sys

import pytest

from mcad_mobile.engine.bundle import FileRecord, Parity, Rung
from mcad_mobile.errors import MissingExtra, install_line
from mcad_mobile.export import build
from mcad_mobile.targets import find_target
from tests.support.backends import replace_methods


@pytest.mark.parametrize(
    ("chip", "cloud", "needed"),
    [
        ("snapdragon-8-elite", False, "snapdragon"),
        ("snapdragon-8-elite", True, None),
        ("dimensity-9400", False, "dimensity"),
        ("cpu", False, None),
    ],
)
def test_an_export_needs_the_compilers_that_it_does_not_find_in_the_cloud(
    chip, cloud, needed, monkeypatch
):
    for module in ("onnxruntime_qnn", "litert_torch"):
        monkeypatch.setitem(sys.modules, module, None)
    if needed is None:
        build.require_compilers(find_target(chip), cloud=cloud)
        return
    with pytest.raises(MissingExtra) as raised:
        build.require_compilers(find_target(chip), cloud=cloud)
    assert install_line(needed) in raised.value.hint


def test_rungs_whose_files_or_notes_differ_have_keys_of_their_own(monkeypatch):
    replace_methods(monkeypatch, "neuropilot", can_build=lambda runtime, target: True)

    def key(chip: str, runtime: str) -> tuple[str, ...]:
        plans = build.keyed_plans([find_target(chip)])["image"]
        return next(key for key, plan in plans.items() if plan.runtime == runtime)

    # The notes of a .tflite say which SDK would compile it.
    by_sdk = [key(chip, "litert") for chip in ("MT6991", "MT6993", "MT6896", "cpu-litert")]
    assert len(set(by_sdk)) == len(by_sdk)
    assert key("MT6989", "litert") == by_sdk[0]
    for runtime, chips in (("neuropilot", ("MT6991", "MT6989")), ("qnn", ("SM8650", "SM8550"))):
        assert len({key(chip, runtime) for chip in chips}) == 2
    assert len({key(chip, "onnx") for chip in ("MT6991", "SM8650", "cpu")}) == 1


def test_a_compiled_rung_and_its_source_have_the_precision_that_was_chosen(monkeypatch):
    replace_methods(monkeypatch, "neuropilot", can_build=lambda runtime, target: True)
    chosen = {"image": "w8a16", "text": "w4a16"}
    for name, precision in chosen.items():
        usual = build.tower_plans(name, find_target("MT6991"))
        plans = build.tower_plans(name, find_target("MT6991"), chosen)
        assert [plan.runtime for plan in plans] == ["neuropilot", "litert", "onnx"]
        assert [plan.precision for plan in plans] == [precision] * 2 + [usual[2].precision]
    recognizer = build.tower_plans("recognizer", find_target("MT6991"))
    assert [plan.runtime for plan in recognizer] == ["neuropilot", "litert", "onnx"]
    assert "fp32" not in [plan.precision for plan in recognizer]


def test_what_cannot_run_here_has_the_facts_of_its_source():
    def rung(runtime, cosine):
        record = FileRecord(f"{runtime}.npy", "0" * 64, 1)
        return Rung(runtime=runtime, precision="w8a8", files=(), inputs=(), outputs=(),
                    expected=record, total_nodes=1, parity=Parity(16, cosine, cosine))  # fmt: skip

    compiled, source, last = rung("neuropilot", 0.1), rung("litert", 0.98), rung("onnx", 0.99)
    found = build.with_source_facts([compiled, source, last])
    assert found[1:] == (source, last)
    assert (found[0].runtime, found[0].parity) == ("neuropilot", source.parity)
    assert found[0].expected == source.expected
