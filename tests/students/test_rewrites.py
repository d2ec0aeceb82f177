"""Each rewrite keeps what a tower computes, and leaves what it is named for."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from timm.layers import Attention, AttentionPoolLatent
from torch import nn
from torch.nn import functional as F

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.students.published import HIDDEN_SCORE, causal_scores, padding_scores
from mcad_mobile.students.rewrites.attention import (
    ProbePool,
    SpelledAttention,
    spell_attention,
    spell_attention_pooling,
)
from mcad_mobile.students.rewrites.for_export import (
    fold_batch_norms,
    fold_quick_gelu,
    for_export,
    reparameterize,
)
from tests.support.tiny_students import settle, spread

SIDE = 64


@pytest.fixture(scope="module")
def photos():
    images = [np.asarray(open_photo(path).resize((SIDE, SIDE))) for path in packaged_photos()[:4]]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255.0


def tower(name, **settings):
    torch.manual_seed(0)
    made = timm.create_model(name, pretrained=False, num_classes=16, **settings)
    spread(made)
    settle(made, SIDE)
    return made.eval()


@torch.no_grad()
def same(before, after, photos):
    expected = before(photos)
    assert expected.std(0).min() > 1e-3, "the tower says the same of all photos"
    return torch.allclose(
        after(photos), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )


class Net(nn.Module):
    """A norm that a convolution alone writes for, one whose convolution is read twice, one after a
    sum, and one of vectors."""

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.second, self.second_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.alone = nn.BatchNorm2d(8, affine=False)
        self.vectors = nn.BatchNorm1d(8)

    def forward(self, x):
        x = F.relu(self.first_norm(self.first(x)))
        y = self.second(x)
        return self.vectors(self.alone(x + y + self.second_norm(y)).mean((2, 3)))


def fold_norms(net: nn.Module, last: nn.Module, photos: torch.Tensor) -> nn.Module:
    """Return `net` with its norms, of which `last` is not at rest, folded into convolutions."""
    settle(net, SIDE)
    last.running_mean.normal_()
    folded = copy.deepcopy(net.eval())
    fold_batch_norms(folded, photos[:1])
    return folded


@torch.no_grad()
def test_a_batch_norm_goes_into_its_convolution_only_where_nothing_else_reads_that(photos):
    torch.manual_seed(0)
    net = Net()
    folded = fold_norms(net, net.vectors, photos)
    assert same(net, folded, photos)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    assert isinstance(folded.first_norm, nn.Identity)
    assert torch.equal(folded.second.weight, net.second.weight)


class Twice(nn.Module):
    """A convolution that runs twice, and only once before the norm."""

    def __init__(self):
        super().__init__()
        self.shared, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.shared(F.relu(self.shared(x)))).mean((2, 3))


@torch.no_grad()
def test_a_convolution_that_runs_twice_keeps_its_weights(photos):
    torch.manual_seed(0)
    net = Twice()
    folded = fold_norms(net, net.norm, photos)
    assert same(net, folded, photos)
    assert torch.equal(folded.shared.weight, net.shared.weight)


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet"])
def test_the_norms_of_a_convolutional_tower_leave_nothing_behind(photos, name):
    """Of the second, whose norms hold their activations, these alone."""
    before = tower(name)
    after = copy.deepcopy(before)
    fold_batch_norms(after, photos[:1])
    assert same(before, after, photos)
    kinds = {type(module).__name__ for module in after.modules()}
    assert not kinds & {"BatchNorm2d", "BatchNormAct2d", "_Scale"}


def test_branches_become_one_convolution(photos):
    before = tower("fastvit_mci0")
    after = copy.deepcopy(before)
    reparameterize(after)
    assert same(before, after, photos)
    assert any(hasattr(module, "conv_kxk") for module in before.modules())
    assert not any(hasattr(module, "conv_kxk") for module in after.modules())


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_multi_head_attention_spelled_out_is_the_same_with_other_keys_and_a_mask(bias):
    torch.manual_seed(0)
    holder = nn.Sequential(
        nn.MultiheadAttention(32, 4, bias=bias, batch_first=True, kdim=24, vdim=16)
    )
    spread(holder)
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 24), torch.randn(2, 7, 16)
    mask = torch.randn(5, 7)
    expected = holder[0](query, key, value, attn_mask=mask, need_weights=False)[0]
    spell_attention(holder)
    assert isinstance(holder[0], SpelledAttention)
    found = holder[0](query, key, value, attn_mask=mask)[0]
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "fastvit_mci0", "eva02_tiny_patch14_224"])
def test_timms_attention_spelled_out_is_the_same(photos, name):
    before = tower(name, **({} if name.startswith("fastvit") else {"img_size": SIDE}))
    after = copy.deepcopy(before)
    spell_attention(after)
    assert same(before, after, photos)
    assert not any(getattr(module, "fused_attn", False) for module in after.modules())
    spelled = any(isinstance(module, SpelledAttention) for module in after.modules())
    assert spelled == (not name.startswith("eva"))


@pytest.mark.parametrize(
    "settings", [{"batch_first": False}, {"add_bias_kv": True}, {"add_zero_attn": True}]
)
@torch.no_grad()
def test_multi_head_attention_of_another_kind_is_left_as_it_is(settings):
    torch.manual_seed(0)
    holder = nn.Sequential(nn.MultiheadAttention(32, 4, **({"batch_first": True} | settings)))
    spread(holder)
    x = torch.randn(3, 5, 32)
    expected = holder[0](x, x, x)[0]
    spell_attention(holder)
    assert torch.allclose(holder[0](x, x, x)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attention(32, 4, qk_norm=True, norm_layer=nn.LayerNorm),
        lambda: Attention(32, 4, scale_norm=True, norm_layer=nn.LayerNorm),
        lambda: AttentionPoolLatent(32, num_heads=4, latent_len=2, pool_type="avg"),
        lambda: AttentionPoolLatent(32, num_heads=4, latent_len=2),
        lambda: AttentionPoolLatent(32, num_heads=4, pool_type=""),
        lambda: AttentionPoolLatent(32, num_heads=4, pos_embed="abs", feat_size=5),
        lambda: AttentionPoolLatent(32, num_heads=4, qk_norm=True, norm_layer=nn.LayerNorm),
    ],
)
@torch.no_grad()
def test_attention_of_timm_with_more_to_it_computes_what_it_did(make):
    torch.manual_seed(0)
    holder = nn.Sequential(make()).eval()
    spread(holder)
    x = torch.randn(3, 5, 32)
    expected = holder(x)
    spell_attention_pooling(holder)
    spell_attention(holder)
    assert torch.allclose(holder(x), expected, atol=1e-5)


@torch.no_grad()
def test_pooling_by_a_learned_query_needs_no_keys(photos):
    before = tower("vit_base_patch32_siglip_256", img_size=SIDE, depth=2)
    after = copy.deepcopy(before)
    spell_attention_pooling(after)
    assert same(before, after, photos)
    assert isinstance(after.attn_pool, ProbePool)
    assert after.attn_pool.scores.out_features == after.attn_pool.heads


@torch.no_grad()
def test_a_quick_gelu_becomes_a_silu_between_linear_maps():
    from open_clip.transformer import QuickGELU, ResidualAttentionBlock

    torch.manual_seed(0)
    block = ResidualAttentionBlock(32, 2, act_layer=QuickGELU).eval()
    x = torch.randn(2, 5, 32)
    expected = block(x)
    fold_quick_gelu(block)
    assert torch.allclose(block(x), expected, atol=1e-5)
    assert isinstance(block.mlp.gelu, nn.SiLU)


def test_masks_are_finite_and_hide_what_minus_infinity_hides():
    torch.manual_seed(0)
    scores = 5 * torch.randn(1, 2, 6, 6)
    future = torch.full((6, 6), float("-inf")).triu(1)
    found = (scores + causal_scores(6)).softmax(-1)
    assert torch.allclose(found, (scores + future).softmax(-1), atol=1e-7)
    mask = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    hidden = scores.masked_fill(mask[:, None, None] == 0, float("-inf")).softmax(-1)
    assert torch.allclose((scores + padding_scores(mask)).softmax(-1), hidden, atol=1e-7)
    assert causal_scores(6).min() == padding_scores(mask).min() == HIDDEN_SCORE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fastvit_mci1", "fastvit_mci2", "fastvit_mci3"])
def test_all_rewrites_together_keep_mobileclips_towers(photos, name):
    before = tower(name)
    after = copy.deepcopy(before)
    for_export(after, photos[:1])
    assert same(before, after, photos)
