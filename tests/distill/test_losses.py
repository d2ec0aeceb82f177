"""Losses against loops written from their formulas, and their gradients against differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from mcad_mobile.distill.losses import (
    capped,
    contrastive_loss,
    distribution_loss,
    feature_loss,
    matching_loss,
    naming_loss,
    showing_loss,
)


def pairs(batch, dim):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, batch, dim, generator=generator, dtype=torch.float64)
    return F.normalize(vectors, dim=-1)


def logits(seed, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(5, 6, generator=generator, dtype=torch.float64)


def log_softmax(scores):
    return [score - math.log(sum(math.exp(other) for other in scores)) for score in scores]


def divergence(student, teacher):
    log_p, log_q = log_softmax(teacher), log_softmax(student)
    return sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))


def test_contrastive_loss_is_the_mean_of_both_directions_cross_entropy():
    image, text = pairs(5, 3)
    scale = torch.tensor(7.0, dtype=torch.float64)
    total = 0.0
    for i in range(5):
        to_text = [float(scale * image[i] @ text[j]) for j in range(5)]
        to_image = [float(scale * text[i] @ image[j]) for j in range(5)]
        for scores in (to_text, to_image):
            total -= scores[i] - math.log(sum(math.exp(score) for score in scores))
    assert math.isclose(contrastive_loss(image, text, scale).item(), total / 10, rel_tol=1e-9)


def test_the_inverse_temperature_stops_at_100():
    assert math.isclose(capped(torch.tensor(2.0)).item(), math.exp(2.0), rel_tol=1e-6)
    assert capped(torch.tensor(9.0)).item() == 100.0


def test_matching_loss_takes_logits_that_are_no_product_of_embeddings():
    square = logits(1)[:, :5]
    total = 0.0
    for i in range(5):
        total -= log_softmax([float(score) for score in square[i]])[i]
        total -= log_softmax([float(score) for score in square[:, i]])[i]
    assert math.isclose(matching_loss(square).item(), total / 10, rel_tol=1e-9)
    assert gradcheck(matching_loss, (square.requires_grad_(),))


def test_distribution_loss_agrees_with_torchs_own_divergence():
    student, teacher = logits(2), logits(3)
    rows, columns = (
        F.kl_div(student.log_softmax(d), teacher.log_softmax(d), log_target=True, reduction="none")
        .sum(d)
        .mean()
        for d in (1, 0)
    )
    assert torch.allclose(distribution_loss(student, teacher), (rows + columns) / 2)


def test_logits_as_large_as_the_smallest_temperature_makes_them_stay_finite():
    student = (100 * torch.tanh(logits(2))).float().requires_grad_()
    value = distribution_loss(student, (100 * torch.tanh(logits(3))).float())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_feature_loss_is_the_mean_squared_distance_of_rows():
    student, teacher = pairs(5, 3)
    total = 0.0
    for i in range(5):
        total += sum((float(student[i, d]) - float(teacher[i, d])) ** 2 for d in range(3))
    loss = feature_loss(student, teacher)
    assert math.isclose(loss.item(), total / 5, rel_tol=1e-9)
    assert torch.allclose(loss, (2 - 2 * F.cosine_similarity(student, teacher)).mean())
    assert gradcheck(feature_loss, (student.requires_grad_(), teacher))


def test_naming_is_the_divergence_of_each_photo_weighted_by_what_its_classes_hold():
    student, teacher = logits(0), logits(1)
    teacher = teacher.log_softmax(1)[:, :4]  # of six classes, four are asked about
    student = student[:, :4]
    mass = [sum(math.exp(float(message)) for message in row) for row in teacher]
    expected = sum(
        held * divergence([float(s) for s in mine], [float(t) for t in theirs])
        for held, mine, theirs in zip(mass, student, teacher, strict=True)
    ) / sum(mass)
    assert float(naming_loss(student, teacher)) == pytest.approx(expected)


def test_a_photo_of_none_of_the_classes_says_nothing():
    student, teacher = logits(0), logits(1).log_softmax(1)
    teacher[2] = -50.0
    rest = [row for row in range(len(teacher)) if row != 2]
    expected = naming_loss(student[rest], teacher[rest])
    assert float(naming_loss(student, teacher)) == pytest.approx(float(expected))


def test_showing_is_the_divergence_of_each_class_over_photos():
    student, teacher = logits(0), logits(1).log_softmax(1)
    expected = [
        divergence([float(s) for s in mine], [float(t) for t in theirs])
        for mine, theirs in zip(student.T, teacher.T, strict=True)
    ]
    found = float(showing_loss(student, teacher))
    assert found == pytest.approx(sum(expected) / len(expected))
