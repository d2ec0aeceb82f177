"""Fake quantization: what it rounds, what it leaves, and that gradients do not notice."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from mcad_mobile.distill.trainees.protocol import FakeQuantization


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 8))


def inputs(seed: int = 0) -> torch.Tensor:
    return torch.randn(2000, 16, generator=torch.Generator().manual_seed(seed))


def tensors_of(model: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What goes into each Linear and LayerNorm and what comes out, after every other hook."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in model.named_children():
        if not isinstance(module, nn.GELU):

            def keep(module, inputs, output, name=name):
                seen.update({f"{name}.in": inputs[0], f"{name}.out": output})

            handles.append(module.register_forward_hook(keep))
    model(x)
    for handle in handles:
        handle.remove()
    return seen


@torch.no_grad()
def test_fake_quantization_does_nothing_until_it_is_on_nor_in_evaluation():
    plain, model = network(), network()
    quantization = FakeQuantization(model)
    assert model(inputs()).equal(plain(inputs()))
    quantization.on = True
    assert model.eval()(inputs()).equal(plain(inputs()))
    assert not model.train()(inputs()).equal(plain(inputs()))
    assert model.state_dict().keys() == plain.state_dict().keys()
    quantization.on = False
    assert model(inputs()).equal(plain(inputs()))


@torch.no_grad()
def test_fake_quantization_rounds_each_tensor_to_256_evenly_spaced_levels():
    model, plain = network(), network()
    exact = tensors_of(plain, inputs())
    FakeQuantization(model).on = True
    rounded = tensors_of(model, inputs())
    assert len(rounded) == 6
    for name, tensor in rounded.items():
        levels = tensor.unique()
        assert 100 < len(levels) <= 256, name
        step = levels.diff().min()
        width = exact[name].max().clamp(min=0) - exact[name].min().clamp(max=0)
        assert math.isclose(step, width / 255, rel_tol=0.03), name
        steps = levels / step
        assert (steps - steps.round()).abs().max() < 0.02, name  # zero is one of them
    first = exact["0.in"]
    step = (first.max() - first.min()) / 255
    assert (rounded["0.in"] - first).abs().max() < 1.01 * step
    error = (rounded["3.out"] - exact["3.out"]).abs().max()
    assert error < 0.05 * exact["3.out"].abs().max()


@torch.no_grad()
def test_fake_quantization_rounds_what_a_convolution_takes_and_leaves_what_it_gives():
    generator = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU6())
    seen = {}
    FakeQuantization(model).on = True
    model[0].register_forward_hook(lambda _, args, out: seen.update(taken=args[0], given=out))
    model(torch.randn(16, 3, 7, 7, generator=generator))
    assert 100 < len(seen["taken"].unique()) <= 256
    assert len(seen["given"].unique()) > 2000


def test_fake_quantization_lets_gradients_through_as_if_it_were_not_there():
    plain, model = network(), network()
    FakeQuantization(model).on = True
    weight = torch.randn(8, generator=torch.Generator().manual_seed(1))
    for entry in (plain, model):
        (entry(inputs()) @ weight).mean().backward()
    for (name, exact), rounded in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert F.cosine_similarity(exact.grad.flatten(), rounded.grad.flatten(), 0) > 0.99, name
        assert rounded.grad.norm() > 0.9 * exact.grad.norm()


@torch.no_grad()
def test_ranges_follow_slowly_so_that_one_outlier_is_cut():
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    model[0].weight.copy_(torch.eye(4))
    FakeQuantization(model).on = True
    model(torch.linspace(-1, 1, 400).view(100, 4))
    outlier = torch.tensor([[101.0, -0.5, 0.25, 0.0]])
    found = model(outlier)[0]
    # One hundredth of the way from 1 to 101, and a second hundredth at the output.
    assert 1.0 < found[0] < 2.1
    assert torch.allclose(found[1:], outlier[0, 1:], atol=2e-2)
    assert found[3] == 0
