"""Embeddings that can be cut: their first numbers are embeddings, too (Matryoshka representation
learning, arXiv 2205.13147)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.recipe import Recipe


def cut(embeddings: Tensor, width: int) -> Tensor:
    """The first numbers of unit vectors [..., D] -> [..., width] of unit length."""
    return F.normalize(embeddings[..., :width], dim=-1)


def at_widths(
    losses: Callable[[dict[str, Tensor], int], dict[str, Tensor]],
    made: dict[str, Tensor],
    dim: int,
    recipe: Recipe,
) -> dict[str, Tensor]:
    """`losses(made, width)` of a student's embeddings as they are, [B, dim], plus those of what
    remains of them at each of the recipe's narrower widths, which count as much as it says."""
    parts = losses(made, dim)
    for width in recipe.widths if recipe.narrow else ():
        if width >= dim:
            continue
        narrow = {name: cut(rows, width) if rows.ndim else rows for name, rows in made.items()}
        for name, part in losses(narrow, width).items():
            parts[name] = parts[name] + recipe.narrow * part
    return parts
