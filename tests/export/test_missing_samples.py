"""How large a difference of two recalls a data set can tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcad_mobile.engine.towers import normalize
from mcad_mobile.export.recall_drop import recall_drop
from mcad_mobile.recall import evaluate_retrieval


def two_towers(photos: int, noise: float, seed: int = 0):
    """Recall by photo of embeddings, and of the same with `noise`; three captions a photo."""
    random = np.random.default_rng(seed)
    images = normalize(random.normal(size=(photos, 24)).astype(np.float32))
    owners = np.repeat(np.arange(photos), 3)
    texts = normalize(
        images[owners] + random.normal(size=(3 * photos, 24)).astype(np.float32) * 0.3
    )
    other = normalize(texts + random.normal(size=texts.shape).astype(np.float32) * noise)
    return [evaluate_retrieval(images, embedded, owners) for embedded in (texts, other)]


def test_the_mean_over_photos_is_the_mean_recall():
    for found in two_towers(80, 0.1):
        assert found.by_photo.mean() == pytest.approx(found.mean_recall, abs=0.01)
        assert "by_photo" not in found.to_json()


def test_captions_weigh_alike_however_many_a_photo_has():
    images = np.eye(3, dtype=np.float32)
    owners = np.array([0, 0, 0, 1, 2])
    found = evaluate_retrieval(images, images[[0, 1, 1, 1, 2]], owners)
    assert found.by_photo.mean() == pytest.approx(found.mean_recall, abs=0.01)


def test_the_drop_and_its_margin_are_those_of_a_paired_bootstrap():
    floats, exported = two_towers(400, 0.1)
    found = recall_drop(floats, exported)
    assert found.points == pytest.approx(floats.mean_recall - exported.mean_recall, abs=0.02)
    random = np.random.default_rng(1)
    lost = floats.by_photo - exported.by_photo
    means = [lost[random.integers(0, 400, 400)].mean() for _ in range(4000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert found.margin == pytest.approx((high - low) / 2, rel=0.08)


def test_four_times_the_photos_tell_half_the_difference():
    floats, exported = two_towers(400, 0.1)
    found = recall_drop(floats, exported)
    assert found.photos_to_tell(found.margin / 2) == pytest.approx(1600, abs=1)
    more = recall_drop(
        *(replace(found, by_photo=np.tile(found.by_photo, 4)) for found in (floats, exported))
    )
    assert more.margin == pytest.approx(found.margin / 2, rel=0.01)


def test_towers_that_find_the_same_have_no_drop_and_no_margin():
    floats, _ = two_towers(50, 0)
    found = recall_drop(floats, floats)
    assert (found.points, found.margin, found.photos_to_tell(0.5)) == (0, 0, 0)


def test_one_photo_tells_nothing_and_no_number_is_infinite():
    found = recall_drop(*two_towers(1, 0.0))
    assert 100 <= found.margin <= found.photos_to_tell(0.5)
    assert 100 <= found.expected < np.inf
