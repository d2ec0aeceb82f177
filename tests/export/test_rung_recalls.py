"""Recall of a bundle's rungs, each beside each: what is measured, kept and told."""

from __future__ import annotations

import json
import shutil
from itertools import product

import pytest
from msgspec import to_builtins
from msgspec.structs import replace
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.bundle import Bundle, Tower
from mcad_mobile.export.export_report import (
    DataFacts,
    PairRecall,
    RecallRecord,
    Recalls,
    read_report,
)
from mcad_mobile.export.recall_drop import data_facts, recall_warnings, shared_recall
from mcad_mobile.recall import RecallAt
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_students import write_open_clip


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """Of one image rung, int8, and two text rungs."""
    tiny = make_tiny_bundle(tmp_path / "bundle")

    def tower(source: Tower, *precisions: str) -> Tower:
        return replace(
            source, rungs=tuple(replace(source.rungs[0], precision=p) for p in precisions)
        )

    return replace(tiny, image=tower(tiny.image, "int8"), text=tower(tiny.text, "int8", "fp32"))


def told_pairs(**drops: float) -> RecallRecord:
    """Of one image rung, int8, beside texts by these."""
    recalls = Recalls(RecallAt(20, 40, 60), RecallAt(30, 50, 70), 45.0)
    pairs = tuple(
        PairRecall("onnx int8", f"onnx {text}", 45 - lost, lost, 0.2)
        for text, lost in drops.items()
    )
    data = DataFacts("photos", "test", 100, 500, "0" * 64)
    return RecallRecord("onnx int8", "onnx int8", data, recalls, recalls, 0.1, 0.2, pairs)


def test_a_pair_of_rungs_that_loses_more_than_the_budget_has_a_warning():
    (sentence,) = recall_warnings(told_pairs(int8=0.5, fp32=0.51), 0.5)
    assert "photos embedded by onnx int8 and texts by onnx fp32, mR is 0.51 ± 0.20" in sentence


def test_a_bundle_tells_the_recall_of_its_own_rungs_alone(bundle):
    record = told_pairs(int8=0.1, fp32=0.2)
    assert shared_recall(record, bundle, bundle) == record
    text = replace(bundle.text, rungs=bundle.text.rungs[:1])
    fewer = replace(bundle, text=text)
    assert [pair.text for pair in shared_recall(record, fewer, bundle).pairs] == ["onnx int8"]
    other = replace(bundle.image.rungs[0], total_nodes=1)
    image = replace(bundle.image, rungs=(other,))
    assert shared_recall(record, replace(bundle, image=image), bundle) is None


@pytest.mark.slow
def test_recall_float_and_exported_is_kept_with_the_bundle(packaged_pairs, tmp_path):
    checkpoint = write_open_clip(tmp_path / "student")
    data = tmp_path / "data"
    shutil.copytree(packaged_pairs, data)
    file = data / "dataset_packaged.json"
    file.write_text(file.read_text().replace('"val"', '"test"'))
    student = f"open_clip:local-dir:{checkpoint}"
    given = ["--student", student, "--data", str(data), "--samples", "4", "--allow-low-parity"]
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["export", "--target", "cpu", "--out", str(out), "--json", *given]
    )
    assert result.exit_code == 0, result.output
    document, recall = json.loads(result.stdout)["recall"], read_report(Bundle.load(out)).recall
    for way in ("text_to_image", "image_to_text"):
        assert document["float"][way] == to_builtins(getattr(recall.exact, way))
        assert document["exported"][way] == to_builtins(getattr(recall.exported, way))
    lost = document["float"]["mean_recall"] - document["exported"]["mean_recall"]
    assert recall.drop == pytest.approx(lost, abs=0.02)
    assert (recall.image, recall.text) == ("onnx int8", "onnx int8")
    pairs = {(pair.image, pair.text): pair for pair in recall.pairs}
    assert set(pairs) == set(product(("float", "onnx int8", "onnx fp32"), repeat=2))
    assert document["pairs"] == [to_builtins(pair) for pair in recall.pairs]
    assert pairs["float", "float"].mean_recall == recall.exact.mean_recall
    assert pairs["float", "float"].drop == 0
    assert pairs["onnx int8", "onnx int8"].mean_recall == recall.exported.mean_recall
    assert pairs["onnx fp32", "onnx fp32"].drop == pytest.approx(0, abs=0.01)
    assert recall.data == data_facts(data, load_captions(data, "test"))
