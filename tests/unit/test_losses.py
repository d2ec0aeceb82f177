"""Losses against loops written from their formulas, and their gradients against differences."""

from __future__ import annotations

import math

import torch

from mcad_mobile.distill.losses import contrastive_loss


def pairs(batch, dim):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, batch, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


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


def test_contrastive_loss_has_the_gradient_of_its_value():
    image, text = (vectors.requires_grad_() for vectors in pairs(4, 3))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(contrastive_loss, (image, text, scale))
