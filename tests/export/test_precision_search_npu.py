"""Precisions that are chosen by recall for NPUs: by what it was judged, and what is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.bundle import TOWERS
from mcad_mobile.engine.towers.qnn import QnnTower
from mcad_mobile.export.build import BundleRequest, tower_plans
from mcad_mobile.export.export_report import read_report
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.export.recall_drop import RecallMeter, data_facts
from mcad_mobile.export.smallest_pair import Budget
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.backends import replace_methods
from tests.support.pythons import needs_litert
from tests.support.tiny_students import write_open_clip

pytestmark = pytest.mark.usefixtures("traced_once")

# Points of mR that a tower in this precision costs here: towers of random weights lose nothing.
COSTS = {"w4a16": 2.0, "w8a8": 0.3, "w8a16": 0.0}
SIMULATED = 2


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = write_open_clip(tmp_path_factory.mktemp("npu") / "student")
    return load_student(f"open_clip:local-dir:{folder}")


@pytest.fixture
def make(student, packaged_pairs, tmp_path, monkeypatch):
    photos = load_captions(packaged_pairs, None)
    split = {name: [photo for photo in photos if photo.split == name] for name in ("train", "val")}
    real = RecallMeter.drop

    def dearer(self, towers):
        cost = sum(COSTS[recipe.precision] for recipe in towers.values())
        found = real(self, towers)
        # What the files find is near what float ones do, where there are photos enough to tell.
        assert abs(found.points) < 10
        return replace(found, points=cost, margin=0.0)

    monkeypatch.setattr(RecallMeter, "drop", dearer)

    def run(chip: str, points: float):
        budget = Budget(points, split["val"], data_facts(packaged_pairs, split["val"]))
        (exported,) = export(
            student,
            [BundleRequest(find_target(chip), tmp_path / "bundle")],
            ExportOptions(
                samples=4,
                calibrate_on=split["train"],
                allow_low_parity=True,
                simulated_inputs=SIMULATED,
                budget=budget,
            ),
        )
        return exported.bundle

    return run


@pytest.fixture
def low_cosines(monkeypatch):
    """Every quantized tower is too far from float for 8-bit activations on an NPU."""
    monkeypatch.setattr(TowerJob, "cosine", lambda self, path, load: 0.97)


@pytest.mark.slow
def test_a_snapdragon_gets_the_fewest_bits_that_the_budget_allows(make, monkeypatch):
    simulated: Counter[str] = Counter()
    run = QnnTower.__call__

    def counted(self, inputs):
        simulated["image" if "pixels" in inputs else "text"] += len(next(iter(inputs.values())))
        return run(self, inputs)

    monkeypatch.setattr(QnnTower, "__call__", counted)
    bundle = make("snapdragon", 0.7)
    record = read_report(bundle).precision
    for name in TOWERS:
        npu, cpu = bundle.tower(name).rungs
        assert (npu.precision, cpu.precision) == ("w8a8", "int8")
        alone = {row.precision: row for row in record.alone if row.tower == name}
        assert set(alone) == {"w8a8", "w4a16", "w8a16"}
        assert alone["w8a8"].bytes == sum(file.bytes for file in npu.files)
        assert alone["w4a16"].bytes < alone["w8a8"].bytes
        assert npu.parity.inputs == SIMULATED
    assert "not on an HTP" in record.judged_by
    assert simulated == dict.fromkeys(TOWERS, SIMULATED)  # recall is not judged by the simulator
    tried = [(step.image, step.text) for step in record.steps]
    assert ("w4a16", "w4a16") in tried
    assert tried[-1] == ("w8a8", "w8a8")
    assert ("w8a16", "w8a16") not in tried  # larger
    assert "The image tower has w8a8, the text tower w8a8" in record.why


@pytest.mark.slow
def test_weights_of_4_bits_are_compiled_where_the_budget_allows_them(make):
    bundle = make("snapdragon", 5)
    for name in TOWERS:
        rung = bundle.tower(name).rungs[0]
        assert (rung.runtime, rung.precision) == ("qnn", "w4a16")
        assert rung.npu_nodes == rung.total_nodes


@pytest.mark.slow
@needs_litert
def test_a_dimensity_gets_what_recall_chose_whatever_its_cosine(make, low_cosines, monkeypatch):
    replace_methods(monkeypatch, "neuropilot", can_build=lambda runtime, target: False)
    bundle = make("dimensity", 0.7)
    for name in TOWERS:
        rung, cpu = bundle.tower(name).rungs
        assert (rung.runtime, rung.precision, cpu.precision) == ("litert", "w8a8", "int8")
        alone = {
            row.precision: row for row in read_report(bundle).precision.alone if row.tower == name
        }
        assert set(alone) == {"w8a8", "w8a16", "w4a16"}
        assert alone["w4a16"].bytes < alone["w8a16"].bytes
        assert alone["w8a8"].bytes == rung.files[0].bytes
        assert not any("16-bit activations" in note for note in rung.notes)
    assert "by LiteRT" in read_report(bundle).precision.judged_by


@pytest.mark.slow
@needs_litert
@pytest.mark.parametrize(("asked", "precision"), [(True, "w8a8"), (False, "w8a16")])
def test_a_dimensity_gets_8_bits_where_they_are_asked_for(
    student, tmp_path, low_cosines, asked, precision
):
    precisions = {"image": "w8a8", "text": "w8a8"} if asked else None
    request = BundleRequest(find_target("dimensity"), tmp_path / "bundle", precisions=precisions)
    (made,) = export(student, [request], ExportOptions(samples=4, allow_low_parity=True))
    assert made.bundle.image.rungs[0].precision == precision


@pytest.mark.slow
@needs_litert
def test_where_litert_runs_the_image_tower_a_text_tower_s_bits_are_mixed_as_on_any_cpu(
    make, monkeypatch
):
    for precision in ("fp32", "int8", "mixed"):
        monkeypatch.setitem(COSTS, precision, 0.1)
    bundle = make("cpu-litert", 0.5)
    alone = read_report(bundle).precision.alone
    tried = {name: [row.precision for row in alone if row.tower == name] for name in TOWERS}
    assert tried["image"] == ["w8a8"]
    assert tried["text"][:2] == ["fp32", "int8"]
    recorded = {
        name: [(r.runtime, r.precision) for r in bundle.tower(name).rungs] for name in TOWERS
    }
    assert recorded["image"] == [("litert", "w8a8"), ("onnx", "int8"), ("onnx", "fp32")]
    assert recorded["text"] == [("onnx", "mixed"), ("onnx", "fp32")]
    assert {weight.tower for weight in read_report(bundle).precision.weights} == {"text"}


def plans_of(*arguments):
    """The runtimes and precisions of a tower's rungs."""
    return [(plan.runtime, plan.precision) for plan in tower_plans(*arguments)]


def test_the_source_of_a_compiled_rung_has_its_chosen_precision(monkeypatch):
    replace_methods(monkeypatch, "neuropilot", can_build=lambda runtime, target: True)
    chosen = {"image": "w8a16", "text": "w8a8"}
    for name, precision in chosen.items():
        plans = plans_of(name, find_target("dimensity"), chosen)
        assert plans == [("neuropilot", precision), ("litert", precision), ("onnx", "int8")]
    mixed = plans_of("image", find_target("cpu"), {"image": "mixed", "text": "int8"})
    assert mixed == [("onnx", "mixed"), ("onnx", "fp32")]


def test_the_precision_that_was_chosen_for_a_tower_is_that_of_its_own_first_rung():
    chosen = {"image": "w8a8", "text": "mixed"}
    computer = find_target("cpu-litert")
    image = [("litert", "w8a8"), ("onnx", "int8"), ("onnx", "fp32")]
    assert plans_of("image", computer, chosen) == plans_of("image", computer) == image
    assert plans_of("text", computer, chosen) == [("onnx", "mixed"), ("onnx", "fp32")]
    assert plans_of("text", computer) == [("onnx", "int8"), ("onnx", "fp32")]
