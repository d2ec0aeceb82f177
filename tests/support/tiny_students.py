"""Small checkpoints with random weights, of the students that export accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file

from benchmarks.random_weights import CAPTIONS, sentences_tokenizer, settle, spread
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.students.load import load_student
from mcad_mobile.students.published import PublishedStudent
from tests.support.tiny_teachers import letters_tokenizer

TEXTS = CAPTIONS.splitlines()[:4]
_PIECES = 500
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
_SIGLIP_TEXT = _TEXT | {
    "context_length": 64,
    "vocab_size": _PIECES,
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
HF = ("clip", "clip-quickgelu", "metaclip_2", "siglip", "chinese_clip")


def write_open_clip(folder: Path, kind: str = "vit", seed: int = 0, dim: int = 48) -> Path:
    """Write a folder for `open_clip:local-dir:`, of a kind in OPEN_CLIP."""
    torch.manual_seed(seed)
    config = {"embed_dim": dim, **OPEN_CLIP[kind]}
    folder.mkdir(parents=True)
    write_config(folder, config)
    if config["text_cfg"].get("hf_tokenizer_name"):
        sentences_tokenizer(folder, _PIECES).save_pretrained(folder)
    custom = {key: value for key, value in config.items() if key != "custom_text"}
    model = (open_clip.CustomTextCLIP if "custom_text" in config else open_clip.CLIP)(**custom)
    spread(model)
    settle(model.visual, model.visual.image_size)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def with_other_texts(student: PublishedStudent, folder: Path) -> PublishedStudent:
    """Return a student with the image tower of `student`, and another text tower."""
    other = load_student(f"open_clip:local-dir:{write_open_clip(folder, 'siglip')}")
    image = {name: getattr(student, name) for name in ("image", "image_sha256", "preprocess")}
    return replace(other, **image)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    preprocessing = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": "squash"}
    data = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(data))


def write_named(folder: Path, name: str, seed: int = 0) -> Path:
    """Write weights of an architecture that open_clip knows by name."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = open_clip.create_model(name, pretrained=None, pretrained_text=False)
    spread(model)
    settle(model.visual, model.visual.image_size)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def write_hf(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write a folder for `hf:`, of a kind in HF."""
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
    elif kind == "metaclip_2":
        tokenizer = sentences_tokenizer(folder, _PIECES)
        text = tower | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
        config = t.MetaClip2Config(text_config=text, vision_config=vision, projection_dim=48)
        model = t.MetaClip2Model(config)
        processor = t.CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square)
    elif kind == "siglip":
        tokenizer = sentences_tokenizer(folder, _PIECES)
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


def edit(path: Path, *way: str, value: object) -> None:
    """Put a value into a JSON file."""
    document = json.loads(path.read_text())
    holder: Any = document
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = value
    path.write_text(json.dumps(document))


def register_open_clip(folder: Path, name: str, kind: str = "vit") -> str:
    """Register a kind in OPEN_CLIP as an architecture of open_clip called `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 48, **OPEN_CLIP[kind]}))
    open_clip.add_model_config(folder)
    return name
