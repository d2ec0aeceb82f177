"""Tiny random checkpoints of CLIP, SigLIP, BLIP and ViLT."""

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


def write_checkpoint(kind: str, folder: Path) -> Path:
    t = transformers
    words = t.BertTokenizer(vocab=str(minilm_directory() / "vocab.txt"))
    tokenizer = letters_tokenizer() if kind == "clip" else words
    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    text = {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 16}
    square = {"height": SIDE, "width": SIDE}
    if kind == "clip":
        # A real end token: with CLIP's old id 2, the model would look for the largest id.
        text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
        config = t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        model = t.CLIPModel(config)
        processor = t.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square)
    elif kind == "siglip":
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
        processor = t.SiglipImageProcessorPil(size=square)
    elif kind == "blip":
        text["max_position_embeddings"] = 64
        config = t.BlipConfig(text_config=text, vision_config=vision)
        model = t.BlipForImageTextRetrieval(config)
        processor = t.BlipImageProcessorPil(size=square)
    else:
        text["max_position_embeddings"] = 20
        model = t.ViltForImageAndTextRetrieval(t.ViltConfig(**vision | text, max_image_length=8))
        processor = t.ViltImageProcessorPil(size={"shortest_edge": SIDE})
    spread(model)
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
