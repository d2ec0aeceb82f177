"""Pairs to train on, a cache of features, and a small text tower."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcad_mobile.distill.dataset import load_pairs
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.train_student import Material
from tests.support.tiny_students import write_text_tower


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", lambda *step: None)


@pytest.fixture(scope="module")
def material(packaged_pairs) -> Material:
    return Material(load_pairs([packaged_pairs], "train"), load_pairs([packaged_pairs], "val"))


@pytest.fixture(scope="module")
def text_tower(tmp_path_factory) -> Path:
    return write_text_tower(tmp_path_factory.mktemp("text") / "bert")
