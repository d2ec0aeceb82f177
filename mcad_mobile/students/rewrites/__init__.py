"""A library's tower -> one that exporters take whole: one rewrite a file, named by what it leaves.
Each keeps what the tower computes, and is tested against the tower as it was."""

from __future__ import annotations

from torch import Tensor, nn

from mcad_mobile.students.rewrites.attention_pooling import spell_attention_pooling
from mcad_mobile.students.rewrites.baked_positions import bake_positions
from mcad_mobile.students.rewrites.folded_norms import fold_batch_norms
from mcad_mobile.students.rewrites.quick_gelu import fold_quick_gelu
from mcad_mobile.students.rewrites.reparameterized import reparameterize
from mcad_mobile.students.rewrites.spelled_attention import spell_attention

__all__ = ["for_export"]


def for_export(tower: nn.Module, *example: Tensor) -> None:
    """Every rewrite, in place, on a tower in eval mode. `example`: inputs that it can be run on."""
    reparameterize(tower)
    fold_batch_norms(tower, *example)
    spell_attention_pooling(tower)
    spell_attention(tower)
    fold_quick_gelu(tower)
    bake_positions(tower)
