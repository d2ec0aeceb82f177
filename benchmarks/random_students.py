"""Published architectures with seeded random weights, saved as checkpoints that export takes.

Placement, parity, bytes, time and memory are real; recall is not. The weights vary more than an
initialization's, so that each affects the embeddings. No package ships SigLIP's vocabularies, so a
small one is trained, and the token table keeps the published size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import open_clip.tokenizer
import torch
import transformers
from safetensors.torch import save_file

from benchmarks.random_weights import sentences_tokenizer, settle, spread
from mcad_mobile.distill.pretrained import minilm_directory

Write = Callable[[Path], str]
_SEED = 0
_PIECES = 4000
# wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M, config.json on Hugging Face
_TINY_VISION = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 10}
_HALF = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
_TINY_TEXT = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 3}


def open_clip_student(name: str) -> Write:
    """Return a writer of a weights file for `open_clip:NAME:FILE`."""

    def write(folder: Path) -> str:
        torch.manual_seed(_SEED)
        model = open_clip.create_model(name, pretrained=None, pretrained_text=False)
        spread(model)
        settle(model.visual, model.visual.image_size)
        tokenizer = open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name")
        if tokenizer:
            sentences_tokenizer(folder, _PIECES).save_pretrained(folder)
        file = folder / "weights.safetensors"
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
        return f"open_clip:{name}:{file}"

    return write


def clip_tokenizer() -> Any:
    """Return transformers' tokenizer of CLIP, with the vocabulary that open_clip ships."""
    bpe = open_clip.tokenizer.SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {ends.get(token, token): number for token, number in bpe.encoder.items()}
    return transformers.CLIPTokenizer(vocab=vocab, merges=list(bpe.bpe_ranks), model_max_length=77)


def clip_student(**sizes: dict[str, Any]) -> Write:
    """Return a writer of a folder for `hf:`: transformers' CLIP ViT-B/32, changed by `sizes`."""

    def write(folder: Path) -> str:
        tokenizer = clip_tokenizer()
        config = transformers.CLIPConfig(**sizes)
        config.text_config.bos_token_id = tokenizer.bos_token_id
        config.text_config.eos_token_id = tokenizer.eos_token_id
        processor = transformers.CLIPImageProcessorPil()
        return _save(folder, transformers.CLIPModel, config, processor, tokenizer)

    return write


def siglip_student(vocabulary: int, patch: int, size: int) -> Write:
    """Return a writer of a folder for `hf:` with transformers' SigLIP, base size. Published
    fixed-size SigLIP 2 has this type, with 256,000 tokens."""

    def write(folder: Path) -> str:
        config = transformers.SiglipConfig(
            text_config={"vocab_size": vocabulary},
            vision_config={"patch_size": patch, "image_size": size},
        )
        processor = transformers.SiglipImageProcessorPil(size={"height": size, "width": size})
        return _save(
            folder,
            transformers.SiglipModel,
            config,
            processor,
            sentences_tokenizer(folder, _PIECES),
        )

    return write


def metaclip_2_student(folder: Path) -> str:
    """Write a folder for `hf:` with MetaCLIP 2's smallest architecture, ViT-S/16 worldwide."""
    tower = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6}
    config = transformers.MetaClip2Config(
        text_config={**tower, "num_hidden_layers": 12, "vocab_size": 901_629},
        vision_config={**tower, "num_hidden_layers": 12, "patch_size": 16},
        projection_dim=384,
    )
    tokenizer = sentences_tokenizer(folder, _PIECES)
    config.text_config.eos_token_id = tokenizer.eos_token_id
    processor = transformers.CLIPImageProcessorPil()
    return _save(folder, transformers.MetaClip2Model, config, processor, tokenizer)


def chinese_clip_student(folder: Path) -> str:
    """Write a folder for `hf:` with Chinese-CLIP, base size, but English BERT's vocabulary."""
    tokenizer = transformers.BertTokenizer(vocab=str(minilm_directory() / "vocab.txt"))
    config = transformers.ChineseCLIPConfig()
    processor = transformers.ChineseCLIPImageProcessorPil()
    return _save(folder, transformers.ChineseCLIPModel, config, processor, tokenizer)


STUDENTS: dict[str, Write] = {
    **{
        name: open_clip_student(name)
        for name in (
            "MobileCLIP2-S0",
            "MobileCLIP2-S2",
            "MobileCLIP2-S3",
            "MobileCLIP2-S4",
            "MobileCLIP-S1",
            "MobileCLIP-B",
            "ViT-B-32",
            "ViT-B-16",
            "RN50",
            "ViT-B-16-SigLIP",
            "ViT-B-32-SigLIP2-256",
            "PE-Core-T-16-384",
            "PE-Core-S-16-384",
        )
    },
    "CLIP ViT-B/32, transformers": clip_student(),
    "TinyCLIP-ViT-8M-16-Text-3M": clip_student(
        vision_config={**_TINY_VISION, "num_attention_heads": 4, "patch_size": 16},
        text_config={**_TINY_TEXT, "num_attention_heads": 4},
    ),
    # Sizes that match its name: 12 layers of 512 have 38 million parameters, 6 have 19 million.
    "TinyCLIP-ViT-40M-32-Text-19M": clip_student(
        vision_config={**_HALF, "num_hidden_layers": 12, "patch_size": 32},
        text_config={**_HALF, "num_hidden_layers": 6},
    ),
    "SigLIP, transformers": siglip_student(32000, 16, 224),
    "SigLIP 2, transformers": siglip_student(256000, 16, 224),
    "Chinese-CLIP": chinese_clip_student,
    "MetaCLIP-2-S16, transformers": metaclip_2_student,
}


def _save(folder: Path, kind: Any, config: Any, processor: Any, tokenizer: Any) -> str:
    torch.manual_seed(_SEED)
    model = kind(config)
    spread(model)
    for part in (model, processor, tokenizer):
        part.save_pretrained(folder)
    return f"hf:{folder}"
