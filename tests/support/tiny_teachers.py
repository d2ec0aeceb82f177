"""A tiny random checkpoint of BLIP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mcad_mobile.distill.pretrained import minilm_directory

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 32, "intermediate_size": 64} | {
    f"num_{part}": 2 for part in ("hidden_layers", "attention_heads")
}
SIDE, PATCH = 32, 8


def write_blip(folder: Path) -> Path:
    t = transformers
    tokenizer = t.BertTokenizer(vocab=str(minilm_directory() / "vocab.txt"))
    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    text = {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    model = t.BlipForImageTextRetrieval(t.BlipConfig(text_config=text, vision_config=vision))
    spread(model)
    processor = t.BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    for part in (model, processor, tokenizer):
        part.save_pretrained(folder)
    return folder


@torch.no_grad()
def spread(model) -> None:
    """Enlarge the weights, so that each input affects the output."""
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))


def letters_tokenizer():
    """Return CLIP's tokenizer without merges: one token per letter."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[])
