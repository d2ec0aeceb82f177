"""Recall of a bundle's rungs, each beside each: what is measured, kept and told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle, Tower
from mcad_mobile.export.export_report import (
    DataFacts,
    PairRecall,
    RecallRecord,
    Recalls,
)
from mcad_mobile.export.recall_drop import recall_warnings, shared_recall
from mcad_mobile.recall import RecallAt
from tests.support.tiny_bundle import make_tiny_bundle


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
