"""Students from Hugging Face's transformers: CLIP, MetaCLIP 2, SigLIP, fixed-size SigLIP 2,
Chinese-CLIP."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import asdict
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.errors import StudentError, require, short_message
from mcad_mobile.students.hub import find_folder, loading
from mcad_mobile.students.image_transforms import transformers_preprocess
from mcad_mobile.students.published import (
    PublishedStudent,
    StudentTowers,
    TextLayers,
    Tokenize,
    Trainable,
    build_student,
    trained_widths,
)
from mcad_mobile.students.student import Source, TextSpec
from mcad_mobile.students.weights_licences import weights_licence

WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin")
# Types that cannot be exported: their models and why. docs/models.md lists them.
REFUSED = {
    "embedding_gemma2": (
        "EmbeddingGemma 2",
        "its vision tower embeds no photo by itself: it makes tokens, and its text model would "
        "have to read them for each photo",
    ),
    "jina_clip": (
        "jina-clip v1 and v2",
        "its towers are code that comes with the checkpoint, which mcad-mobile does not run",
    ),
    "siglip2": (
        "SigLIP 2 NaFlex",
        "its tower takes photos of any shape as lists of patches, and a phone's graph has one "
        "shape. Published SigLIP 2 of a fixed size has the type siglip",
    ),
    **dict.fromkeys(
        ("blip", "blip-2", "vilt", "albef", "flava", "bridgetower"),
        (
            "BLIP, BLIP-2, ViLT, ALBEF, FLAVA, BridgeTower",
            "it has layers that read a photo and a text together, and no rewrite of it as two "
            "towers is known",
        ),
    ),
}
# Chinese-CLIP was trained on captions of up to 52 tokens (cn_clip/clip/utils.py, tokenize); its
# BERT has 512 positions, and a graph of that length would be needlessly slow.
_CHINESE_LENGTH = 52


@dataclass(frozen=True)
class LoadedModel:
    """A transformers model with its image processor and tokenizer."""

    name: str
    folder: Path
    config: Any
    model: Any
    processor: Any
    tokenizer: Any


def load_transformers(name: str) -> PublishedStudent:
    """Load the model in the folder `name`, or published under that name."""
    return as_student(read_model(name))


def trainable_transformers(name: str, from_scratch: bool) -> Trainable:
    """Load the same model for training: its weights, or random ones if `from_scratch`."""
    loaded = read_model(name, from_scratch)
    model = loaded.model

    def text(ids: Tensor, mask: Tensor) -> Tensor:
        given = {"input_ids": ids}
        if model.config.model_type != "siglip":  # which was trained to attend to padding
            longest = int(mask.sum(1).max())
            given = {"input_ids": ids[:, :longest], "attention_mask": mask[:, :longest].long()}
        return model.get_text_features(**given).pooler_output  # type: ignore[no-any-return]

    def write(directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for part in (model, loaded.processor, loaded.tokenizer):
            part.save_pretrained(directory)

    return Trainable(
        as_exported=as_student(replace(loaded, model=copy.deepcopy(model))),
        module=model,
        image=lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output,
        text=text,
        write=write,
        new=tuple(model.parameters()) if from_scratch else (),
    )


def read_model(name: str, from_scratch: bool = False) -> LoadedModel:
    transformers = require("transformers", "students")
    needed = () if from_scratch else (WEIGHTS,)
    folder = find_folder(name, ["config.json"], *needed)
    config = _config(transformers, folder, name)
    kind, _ = _KINDS[config.model_type]
    return load_parts(transformers, kind, folder, config, name, from_scratch)


def load_parts(
    transformers: Any,
    kind: str,
    folder: Path,
    config: Any,
    name: str,
    from_scratch: bool = False,
    attention: str | None = "eager",
) -> LoadedModel:
    """Load class `kind` in eval mode, float32, with its image processor and tokenizer. `attention`:
    transformers' implementation; None for its default."""
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": attention}
    maker, missing = getattr(transformers, kind), []
    with loading(name, kind):
        if from_scratch:
            model = maker._from_config(config, **options).eval()
        else:
            options |= {"trust_remote_code": False, "output_loading_info": True}
            model, report = maker.from_pretrained(folder, config=config, **options)
            missing = sorted(report["missing_keys"])
    # transformers only logs missing weights and initializes them randomly.
    if missing:
        raise StudentError(
            f"{name} lacks {len(missing)} weights of {kind}: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}.",
            f"Give a checkpoint that was trained as {kind}.",
        )
    with loading(name, kind):
        # transformers picks this backend itself without torchvision. With it, photos would be
        # resized differently, and one identity would stand for two sets of features.
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, backend="pil", trust_remote_code=False
        )
        tokenizer = load_tokenizer(folder, config.model_type)
    return LoadedModel(name, folder, config, model, processor, tokenizer)


def load_tokenizer(folder: Path, model_type: str) -> Any:
    """Load the tokenizer in `folder`, as transformers does but for that of SigLIP 2."""
    tokenizers = require("transformers.models.auto.tokenization_auto", "students")
    loader = tokenizers.AutoTokenizer
    declared = tokenizers.get_tokenizer_config(folder).get("tokenizer_class", "")
    if model_type == "siglip" and declared.startswith("GemmaTokenizer"):
        # SigLIP 2 was trained on lower-case texts, and Gemma's tokenizer keeps capitals.
        loader = require("transformers", "students").Siglip2Tokenizer
    return loader.from_pretrained(folder, trust_remote_code=False)


def as_student(loaded: LoadedModel) -> PublishedStudent:
    """Convert to a student, rewriting the model in place."""
    name, folder, config = loaded.name, loaded.folder, loaded.config
    _, towers_of = _KINDS[config.model_type]
    preprocess, source = transformers_preprocess(loaded.processor)
    towers = towers_of(loaded.model, loaded.tokenizer)
    return build_student(
        folder.resolve().name if Path(name).exists() else name.rpartition("/")[2],
        Source(f"hf:{name}", source, weights_licence(folder, name), trained_widths(folder)),
        preprocess,
        towers,
        loaded.tokenizer,
        tokenize_with(loaded.tokenizer, towers.text_spec),
        loaded.model,
        {"config": plain_config(config), "preprocess": asdict(preprocess)},
    )


def _clip(model: Any, tokenizer: Any) -> StudentTowers:
    text, config = model.text_model, model.config.text_config
    table = text.embeddings.token_embedding.weight
    # The oldest CLIP checkpoints have 2, which transformers treats as the largest id.
    oldest = config.eos_token_id == 2 and config.model_type == "clip_text_model"
    eos = len(table) - 1 if oldest else config.eos_token_id
    if eos != tokenizer.eos_token_id:
        raise StudentError(
            f"The text tower pools at token {eos}, and the tokenizer ends a text with "
            f"{tokenizer.eos_token_id}.",
            "Tokenizer and weights do not belong together: give both of one checkpoint.",
        )
    spec = TextSpec(known_length(tokenizer, config), table.shape[1], "eos", eos)
    parts = TextLayers(
        text.embeddings.position_embedding.weight,
        text.encoder.layers,
        model.text_projection,
        after=text.final_layer_norm,
    )
    return StudentTowers(spec, table, _ImageTower(model), parts, "future")


def _siglip(model: Any, tokenizer: Any) -> StudentTowers:
    text, config = model.text_model, model.config.text_config
    if not model.vision_model.use_head:
        raise StudentError(
            "This SigLIP has no pooling head, so it cannot embed a photo.",
            "Give a checkpoint with vision_use_head.",
        )
    table = text.embeddings.token_embedding.weight
    length = config.max_position_embeddings
    spec = TextSpec(length, table.shape[1], "last", attends_to_padding=True)
    parts = TextLayers(
        text.embeddings.position_embedding.weight,
        text.encoder.layers,
        text.head,
        after=text.final_layer_norm,
    )
    return StudentTowers(spec, table, _ImageTower(model), parts, "nothing")


def _chinese_clip(model: Any, tokenizer: Any) -> StudentTowers:
    text = model.text_model
    embeddings = text.embeddings
    table = embeddings.word_embeddings.weight
    length = min(_CHINESE_LENGTH, known_length(tokenizer, model.config.text_config))
    spec = TextSpec(length, table.shape[1], "first")
    parts = TextLayers(
        embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0],
        text.encoder.layer,
        model.text_projection,
        before=embeddings.LayerNorm,
    )
    return StudentTowers(spec, table, _ImageTower(model), parts, "padding")


_KINDS: dict[str, tuple[str, Callable[[Any, Any], StudentTowers]]] = {
    "clip": ("CLIPModel", _clip),
    "metaclip_2": ("MetaClip2Model", _clip),
    "siglip": ("SiglipModel", _siglip),
    "chinese_clip": ("ChineseCLIPModel", _chinese_clip),
}


class _ImageTower(nn.Module):
    """Photos [B, 3, S, S] -> embeddings [B, dim]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.projection = getattr(model, "visual_projection", nn.Identity())  # SigLIP has none

    def forward(self, pixels: Tensor) -> Tensor:
        return self.projection(self.vision_model(pixel_values=pixels).pooler_output)  # type: ignore[no-any-return]


def _config(transformers: Any, folder: Path, name: str) -> Any:
    """Read the model's configuration. StudentError for a type that cannot be exported."""
    if not (folder / "config.json").is_file() and (folder / "open_clip_config.json").is_file():
        raise StudentError(f"{name} is a model of open_clip.", f"Name it open_clip:hf-hub:{name}.")
    try:
        # The type comes first: AutoConfig cannot read one whose code is in the checkpoint.
        kind = transformers.PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
        if kind not in REFUSED:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
            kind = config.model_type
    except Exception as error:
        raise StudentError(
            f"{name} has no configuration that transformers {transformers.__version__} can read: "
            f"{short_message(error)}",
            "Models with code of their own are not run. Give a CLIP, SigLIP or Chinese-CLIP.",
        ) from error
    if kind not in _KINDS:
        _, why = REFUSED.get(kind, (kind, "no rewrite of it for phones is known"))
        raise StudentError(
            f"{name} is a {kind} model, which cannot be exported: {why}.",
            f"Give a model of type {', '.join(_KINDS)}, or one of open_clip.",
        )
    return config


def known_length(tokenizer: Any, config: Any) -> int:
    """Return the most tokens that both accept. Tokenizers without a limit report 10^30."""
    return int(min(tokenizer.model_max_length, config.max_position_embeddings))


def tokenize_with(tokenizer: Any, spec: TextSpec) -> Tokenize:
    def tokenize(texts: list[str]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        # Some SigLIP tokenizers return a mask only on request.
        cut = {"padding": "max_length", "truncation": True, "max_length": spec.length}
        found = tokenizer(texts, **cut, return_attention_mask=True, return_tensors="np")
        return found["input_ids"], found["attention_mask"]

    return tokenize


def plain_config(config: Any) -> dict[str, Any]:
    """Return a configuration without the fields that do not affect embeddings."""
    apart = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")

    def kept(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in apart}

    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False), object_hook=kept)
    return plain
