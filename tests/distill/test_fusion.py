"""Fusion against loops over single pairs, and what it may not know."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mcad_mobile.distill.labels import Fusion, candidates
from mcad_mobile.distill.teachers.teacher import Fused

IMAGES, TEXTS, DIM, FUSED = 5, 7, 6, 4


@pytest.fixture
def sides():
    """Images [5, 6] and texts [7, 6] of unit length."""
    generator = torch.Generator().manual_seed(0)
    rows = normalize(torch.randn(IMAGES + TEXTS, DIM, generator=generator), dim=1)
    return rows[:IMAGES], rows[IMAGES:]


def look_at(seen: torch.Tensor) -> Fused:
    """What a single-stream teacher might say of the pairs of `seen`."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(IMAGES, TEXTS, FUSED, generator=generator)
    scores = torch.rand(IMAGES, TEXTS, generator=generator)
    return Fused(features[seen], scores[seen])


def trained() -> Fusion:
    """A fusion with projections that are not nothing, another weight and another temperature."""
    torch.manual_seed(2)
    fusion = Fusion(DIM, FUSED)
    with torch.no_grad():
        fusion.to_image.weight.normal_()
        fusion.to_text.weight.normal_()
        fusion.score_weight.fill_(0.7)
        fusion.log_sharpness.fill_(math.log(3.0))
    return fusion


def nearest(scores, k):
    return sorted(range(len(scores)), key=lambda number: -scores[number])[:k]


@pytest.mark.parametrize("k", [1, 3, 6, 100])
def test_candidates_are_each_images_nearest_texts_and_each_texts_nearest_images(sides, k):
    image, text = sides
    expected = torch.zeros(IMAGES, TEXTS, dtype=torch.bool)
    for i in range(IMAGES):
        for j in nearest([float(image[i] @ text[j]) for j in range(TEXTS)], k):
            expected[i, j] = True
    for j in range(TEXTS):
        for i in nearest([float(image[i] @ text[j]) for i in range(IMAGES)], k):
            expected[i, j] = True
    found = candidates(image, text, k)
    assert found.equal(expected)
    assert candidates(text, image, k).T.equal(found)
    assert found.all() == (k >= IMAGES)


def test_at_its_start_fusion_leaves_the_features_as_they_are_and_averages_the_scores_in(sides):
    image, text = sides
    seen = candidates(image, text, 3)
    fused = look_at(seen)
    modified = Fusion(DIM, FUSED)(image, text, seen, fused)
    assert torch.allclose(modified.image, image, atol=1e-6)
    assert torch.allclose(modified.text, text, atol=1e-6)
    expected = ((image @ text.T)[seen] + fused.scores) / 2
    assert torch.allclose(modified.similarity[seen], expected, atol=1e-6)


def softmax(scores: dict[int, float], sharpness: float) -> dict[int, float]:
    total = sum(math.exp(sharpness * score) for score in scores.values())
    return {key: math.exp(sharpness * score) / total for key, score in scores.items()}


@torch.no_grad()
def test_fusion_is_its_formula_pair_by_pair(sides):
    image, text = sides
    seen = candidates(image, text, 2)
    fused, fusion = look_at(seen), trained()
    feature, score = {}, {}
    rows = iter(range(len(fused.scores)))
    for i in range(IMAGES):
        for j in range(TEXTS):
            if seen[i, j]:
                row = next(rows)
                feature[i, j], score[i, j] = fused.features[row], float(fused.scores[row])

    new_image, new_text = [], []
    for i in range(IMAGES):
        weights = softmax({j: score[a, j] for a, j in score if a == i}, 3.0)
        pooled = sum(weights[j] * feature[i, j] for j in weights)
        row = image[i] + fusion.to_image.weight @ pooled
        new_image.append(row / row.norm())
    for j in range(TEXTS):
        weights = softmax({i: score[i, b] for i, b in score if b == j}, 3.0)
        pooled = sum(weights[i] * feature[i, j] for i in weights)
        row = text[j] + fusion.to_text.weight @ pooled
        new_text.append(row / row.norm())

    modified = fusion(image, text, seen, fused)
    assert torch.allclose(modified.image, torch.stack(new_image), atol=1e-5)
    assert torch.allclose(modified.text, torch.stack(new_text), atol=1e-5)
    assert (modified.image - image).norm(dim=1).min() > 0.1
    for i, j in score:
        expected = (float(new_image[i] @ new_text[j]) + 0.7 * score[i, j]) / 1.7
        assert math.isclose(float(modified.similarity[i, j]), expected, abs_tol=1e-5)

    # A pair that was not looked at: its dual-stream similarity, lifted to where scores lie.
    lift = sum(score[i, j] - float(image[i] @ text[j]) for i, j in score) / len(score)
    unseen = [(i, j) for i in range(IMAGES) for j in range(TEXTS) if (i, j) not in score]
    assert len(unseen) > 5
    for i, j in unseen:
        guess = float(image[i] @ text[j]) + lift
        expected = (float(new_image[i] @ new_text[j]) + 0.7 * guess) / 1.7
        assert math.isclose(float(modified.similarity[i, j]), expected, abs_tol=1e-5)


def test_a_fusion_starts_with_a_sharpness_of_twenty_and_equal_words():
    fusion = Fusion(DIM, FUSED)
    assert fusion.log_sharpness.exp().item() == pytest.approx(20)
    assert fusion.score_weight.item() == 1
