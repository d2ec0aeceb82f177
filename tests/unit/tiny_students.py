"""Checkpoints of the students that export takes: small, of random weights, written here."""

from __future__ import annotations

import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from tiny_teachers import letters_tokenizer
from torch import nn

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.preprocess import open_photo

CAPTIONS = resources.files("mcad_mobile.quantize").joinpath("captions.txt").read_text("utf-8")
TEXTS = CAPTIONS.splitlines()[:4]
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
_SIGLIP_TEXT = _TEXT | {
    "context_length": 64,
    "vocab_size": 500,
    "hf_tokenizer_name": "somewhere/else",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}
_VIT = {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
_RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "vit": {"vision_cfg": _VIT, "text_cfg": _TEXT},
    "vit-quickgelu": {"vision_cfg": _VIT, "text_cfg": _TEXT, "quick_gelu": True},
    "resnet": {"vision_cfg": _RESNET, "text_cfg": _TEXT, "quick_gelu": True},
    "custom blocks": {
        "vision_cfg": _VIT | {"qk_norm": True, "scale_fc": True},
        "text_cfg": _TEXT,
        "quick_gelu": True,
    },
    "bidirectional": {"vision_cfg": _VIT, "text_cfg": _TEXT | {"no_causal_mask": True}},
    "siglip": {"vision_cfg": _VIT, "text_cfg": _SIGLIP_TEXT, "custom_text": True},
}
HF = ("clip", "clip-quickgelu", "siglip", "chinese_clip")


def write_open_clip(folder: Path, kind: str = "vit", seed: int = 0) -> Path:
    """A folder for `open_clip:local-dir:`, of one of OPEN_CLIP."""
    torch.manual_seed(seed)
    config = {"embed_dim": 48, **OPEN_CLIP[kind]}
    folder.mkdir(parents=True)
    write_config(folder, config)
    if config["text_cfg"].get("hf_tokenizer_name"):
        sentences_tokenizer(folder).save_pretrained(folder)
    custom = {key: value for key, value in config.items() if key != "custom_text"}
    model = (open_clip.CustomTextCLIP if "custom_text" in config else open_clip.CLIP)(**custom)
    spread(model)
    settle(model.visual, config["vision_cfg"]["image_size"])
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_config(folder: Path, config: dict[str, Any]) -> None:
    said = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": "squash"}
    data = {"model_cfg": config, "preprocess_cfg": said}
    (folder / "open_clip_config.json").write_text(json.dumps(data))


def write_named(folder: Path, name: str, seed: int = 0) -> Path:
    """Weights of an architecture that open_clip has by name."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = open_clip.create_model(name, pretrained=None, pretrained_text=False)
    spread(model)
    size = model.visual.image_size
    settle(model.visual, size[0] if isinstance(size, tuple) else size)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def write_hf(folder: Path, kind: str, seed: int = 0) -> Path:
    """A folder for `hf:`, of one of HF."""
    torch.manual_seed(seed)
    t, side = transformers, 32
    tower = {"hidden_size": 64, "intermediate_size": 128}
    tower |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    vision = tower | {"image_size": side, "patch_size": 8}
    square = {"height": side, "width": side}
    if kind.startswith("clip"):
        tokenizer: Any = letters_tokenizer()
        ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
        act = {"hidden_act": "quick_gelu" if kind == "clip-quickgelu" else "gelu"}
        text = tower | ends | act | {"vocab_size": len(tokenizer)}
        config = t.CLIPConfig(text_config=text, vision_config=vision | act, projection_dim=48)
        model = t.CLIPModel(config)
        processor = t.CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square)
    elif kind == "siglip":
        tokenizer = sentences_tokenizer(folder)
        text = tower | {"vocab_size": len(tokenizer), "projection_size": 64}
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
        processor = t.SiglipImageProcessorPil(size=square)
    else:
        tokenizer = t.BertTokenizer(vocab=str(minilm_directory() / "vocab.txt"))
        text = tower | {"vocab_size": len(tokenizer), "max_position_embeddings": 128}
        config = t.ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=48)
        model = t.ChineseCLIPModel(config)
        processor = t.ChineseCLIPImageProcessorPil(size=square, do_center_crop=False)
    spread(model)
    for part in (model, processor, tokenizer):
        part.save_pretrained(folder)
    return folder


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Weights and running statistics so far from an initialisation's that each of them tells."""
    for parameter in model.parameters():
        size = 0.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.add_(size * torch.randn_like(parameter))


@torch.no_grad()
def settle(image: nn.Module, size: int) -> None:
    """Batch norms as training leaves them: with the statistics of photos, and none that is 0, 1."""
    norms = [module for module in image.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches, of which there is one
        norm.reset_running_stats()
    if norms:
        photos = [np.asarray(open_photo(path).resize((size, size))) for path in packaged_photos()]
        image.train()(torch.from_numpy(np.stack(photos[:8])).permute(0, 3, 1, 2) / 255.0)
        image.eval()


def sentences_tokenizer(folder: Path, size: int = 500) -> Any:
    """SigLIP's, of a SentencePiece model that is trained on our captions."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS.splitlines()),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=-1,
        unk_id=2,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    return transformers.SiglipTokenizer(str(folder / "spiece.model"))
