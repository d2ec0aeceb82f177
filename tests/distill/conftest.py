"""Pairs to train on, and a cache of features."""

from __future__ import annotations

import pytest

from mcad_mobile.distill.dataset import load_pairs
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.train_student import Material


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", lambda *step: None)


@pytest.fixture(scope="module")
def material(packaged_pairs) -> Material:
    return Material(load_pairs([packaged_pairs], "train"), load_pairs([packaged_pairs], "val"))
