"""Losses as pure functions of similarities and embeddings.

Shapes throughout: I images, T texts. Similarities are [I, T] float32. docs/distillation.md says
which losses are MCAD's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.recipe import StudentRecipe

_MAX_SCALE = 100.0  # CLIP's cap on the inverse temperature (arXiv 2103.00020, section 2.5)


def cut(embeddings: Tensor, width: int) -> Tensor:
    """The first numbers of unit vectors [..., D] -> [..., width] of unit length (Matryoshka
    representation learning, arXiv 2205.13147)."""
    return F.normalize(embeddings[..., :width], dim=-1)


def at_widths(
    losses: Callable[[dict[str, Tensor], int], dict[str, Tensor]],
    embeddings: dict[str, Tensor],
    dim: int,
    recipe: StudentRecipe,
) -> dict[str, Tensor]:
    """Add to `losses(embeddings, width)` of whole embeddings [B, dim] those of their first numbers
    at each narrower width of the recipe, times its `narrow`."""
    parts = losses(embeddings, dim)
    for width in recipe.widths if recipe.narrow else ():
        if width >= dim:
            continue
        narrow = {
            name: cut(rows, width) if rows.ndim else rows for name, rows in embeddings.items()
        }
        for name, part in losses(narrow, width).items():
            parts[name] = parts[name] + recipe.narrow * part
    return parts


def capped(log_scale: Tensor) -> Tensor:
    """Return the inverse temperature from its logarithm, [] float32, at most 100."""
    return log_scale.exp().clamp(max=_MAX_SCALE)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE (CLIP, arXiv 2103.00020, figure 3) of pairs: image and text [B, D] of unit
    length, scale [], the inverse temperature.
      L = -1/2B sum_i [log softmax_j(s t_i.v_j) + log softmax_j(s v_i.t_j)]_i
    """
    return matching_loss(scale * image @ text.T)


def matching_loss(logits: Tensor) -> Tensor:
    """The cross entropy of contrastive_loss, from logits [B, B] whose diagonal holds the pairs."""
    matched = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, matched) + F.cross_entropy(logits.T, matched)) / 2


def distribution_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Match the student's similarity distributions to the teacher's, in both directions (MCAD,
    arXiv 2310.19654), given logits already multiplied by their inverse temperature:
      L = 1/2 [ mean_i KL(softmax_j t_ij || softmax_j s_ij)
              + mean_j KL(softmax_i t_ij || softmax_i s_ij) ]
    """
    columns = _row_divergence(student.T.contiguous(), teacher.T.contiguous())
    return (_row_divergence(student, teacher).mean() + columns.mean()) / 2


def ranking_loss(student: Tensor, order: Tensor) -> Tensor:
    """Put candidates into the teachers' order, in both directions, without their scores (ListMLE,
    Xia et al., ICML 2008, as partial ranking in arXiv 2407.07479). `order` [I, T] is -inf for pairs
    that are no candidates; row i's are sorted by it, and k runs over them:
      L = 1/2 [ mean_ik (log sum_{l >= k} exp s_il - s_ik) + the same of columns ]
    """
    return (_row_ranking(student, order) + _row_ranking(student.T, order.T)) / 2


def _row_ranking(student: Tensor, order: Tensor) -> Tensor:
    """The first half of ranking_loss -> []."""
    number = int((order > -torch.inf).sum(1).max())
    scores, places = order.topk(number, 1)
    there = scores > -torch.inf
    sorted_ = student.gather(1, places).masked_fill(~there, -1e4)
    below = sorted_.flip(1).logcumsumexp(1).flip(1)
    return (below - sorted_)[there].mean()


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of unit vectors [B, D], which is 2 - 2 cosine (MCAD's feature
    distillation): L = 1/B sum_i ||s_i - t_i||^2."""
    return (student - teacher).square().sum(1).mean()


def naming_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Learn which class a photo shows: match the student's distribution over names, logits [I, C],
    to a classifier's log probabilities [I, C], whose rows may sum to less than 1:
      L = sum_i m_i KL(p_i. / m_i || softmax_j s_ij) / sum_i m_i,  m_i = sum_j p_ij
    """
    mass = teacher.logsumexp(1).exp()
    return (mass * _row_divergence(student, teacher)).sum() / mass.sum().clamp(min=1e-6)


def showing_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Learn which photos a name means: match the student's distribution over photos, for each name,
    to the classifier's. With naming_loss alone, a few photos attract all names:
      L = 1/C sum_j KL(softmax_i log p_ij || softmax_i s_ij)
    """
    return _row_divergence(student.T, teacher.T).mean()


def _row_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax_j t_ij || softmax_j s_ij) of each row -> [I]."""
    log_p = F.log_softmax(teacher.detach(), 1)
    return (log_p.exp() * (log_p - F.log_softmax(student, 1))).sum(1)
