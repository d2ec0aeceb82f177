"""Students from open_clip: its own transformers and ResNets, and timm's image towers."""

from __future__ import annotations

import copy
import difflib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec.structs import asdict
from torch import Tensor, nn

from mcad_mobile.base.standard_output import advice_muted
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import StudentError, require
from mcad_mobile.students.hub import (
    OPEN_CLIP_HINT,
    check_open_clip_name,
    find_folder,
    find_weights,
    loading,
    read_open_clip_config,
)
from mcad_mobile.students.image_transforms import open_clip_preprocess
from mcad_mobile.students.published import (
    MaskKind,
    PublishedStudent,
    StudentTowers,
    TextLayers,
    Trainable,
    build_student,
    trained_widths,
)
from mcad_mobile.students.rewrites.attention import linear
from mcad_mobile.students.student import Source, TextSpec, save_weights
from mcad_mobile.students.weights_licences import WeightsLicence, weights_licence

_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
# Models that cannot be exported, and why. docs/models.md lists them.
_COCA = ("CoCa", "CoCa's text tower ends in a token of its own and a decoder that looks at photos")
_FOREIGN_TEXT = (
    "CLIP with a text tower of transformers: NLLB, XLM-RoBERTa, RoBERTa, mT5",
    "no rewrite of its text tower is known",
)
_UNPOOLED = ("models with `pool_type` none", "its text tower pools nothing")
REFUSED = (_COCA, _FOREIGN_TEXT, _UNPOOLED)


@dataclass(frozen=True)
class Checkpoint:
    """An architecture and the weights to load into it."""

    model: str  # name in open_clip's factory
    config: dict[str, Any]  # with the activation that the weights were trained with
    checkpoint: str  # a published tag or a file
    weights: Path | None  # None: random
    folder: Path | None  # may hold its tokenizer


@dataclass(frozen=True)
class LoadedModel:
    """An open_clip model with its tokenizer and preprocess."""

    spec: str
    checkpoint: Checkpoint
    model: Any
    tokenizer: Any
    preprocess: Preprocess
    preprocess_from: str


def load_open_clip(spec: str) -> PublishedStudent:
    """Load `NAME:CHECKPOINT` (a published tag or a weights file), `NAME` if only one checkpoint is
    published, `local-dir:DIR` or `hf-hub:ORG/REPO`."""
    return as_student(read_model(spec))


def trainable_open_clip(loaded: LoadedModel, from_scratch: bool) -> Trainable:
    """Return the same model for training, whose weights are random if `from_scratch`."""
    model = loaded.model

    def write(directory: Path) -> None:
        config = loaded.checkpoint.config
        write_open_clip(directory, model, loaded.tokenizer, config, loaded.preprocess)

    return Trainable(
        as_exported=as_student(replace(loaded, model=copy.deepcopy(model))),
        module=model,
        image=model.encode_image,
        text=lambda ids, mask: model.encode_text(ids),
        write=write,
        new=tuple(model.parameters()) if from_scratch else (),
    )


def read_model(spec: str, from_scratch: bool = False) -> LoadedModel:
    """Load a model. StudentError if it cannot be loaded or exported."""
    open_clip = require("open_clip", "students")
    found = find_checkpoint(open_clip, spec, from_scratch)
    _refuse(spec, found.config)
    model = _build(open_clip, found, spec)
    tokenizer = _tokenizer(open_clip, found)
    preprocess, source = open_clip_preprocess(
        model.visual.preprocess_cfg, found.model, found.checkpoint, from_scratch
    )
    return LoadedModel(spec, found, model, tokenizer, preprocess, source)


def as_student(loaded: LoadedModel) -> PublishedStudent:
    """Convert to a student, rewriting the model in place."""
    spec, checkpoint, model = loaded.spec, loaded.checkpoint, loaded.model
    widths = () if checkpoint.folder is None else trained_widths(checkpoint.folder)
    return build_student(
        _short_name(spec),
        Source(f"open_clip:{spec}", loaded.preprocess_from, _licence(spec, checkpoint), widths),
        loaded.preprocess,
        _towers(model, loaded.tokenizer, spec),
        loaded.tokenizer,
        lambda texts: (loaded.tokenizer(texts).numpy(), None),
        model,
        {"config": checkpoint.config, "preprocess": asdict(loaded.preprocess)},
    )


def _licence(spec: str, found: Checkpoint) -> WeightsLicence:
    if found.weights is None:
        return WeightsLicence()
    if found.weights == Path(found.checkpoint).expanduser():  # a file, not a tag
        return weights_licence(found.weights.parent)
    tag = f"{found.model}:{found.checkpoint}"
    name = tag if found.checkpoint else spec.removeprefix("hf-hub:")
    return weights_licence(found.weights.parent, name)


def find_checkpoint(open_clip: Any, spec: str, from_scratch: bool = False) -> Checkpoint:
    """Return the checkpoint that `spec` names, without weights if `from_scratch`."""
    if spec.startswith("hf-hub:"):
        needed = () if from_scratch else (_WEIGHTS,)
        return _in_folder(find_folder(spec[7:], ["open_clip_config.json"], *needed), from_scratch)
    if spec.startswith("local-dir:"):
        return _in_folder(Path(spec[10:]).expanduser(), from_scratch)
    check_open_clip_name(spec)
    name, _, checkpoint = spec.partition(":")
    name = name.replace("/", "-")
    config = open_clip.get_model_config(name)
    config.setdefault("quick_gelu", False)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if from_scratch:
        if checkpoint:
            raise StudentError(
                f"open_clip:{spec} names weights, and training from scratch starts from none.",
                f"Give open_clip:{name}, or train from those weights.",
            )
        return Checkpoint(name, config, "", None, None)
    if not checkpoint and len(tags) == 1:
        checkpoint = tags[0]
    if checkpoint in tags:
        published = open_clip.get_pretrained_cfg(name, checkpoint)
        weights = _published_weights(open_clip, published)
        config["quick_gelu"] = published.get("quick_gelu", config["quick_gelu"])
        return Checkpoint(name, config, checkpoint, weights, weights.parent)
    weights = Path(checkpoint).expanduser()
    if not checkpoint or not weights.is_file():
        near = difflib.get_close_matches(checkpoint, tags, 5, 0.0) if checkpoint else tags
        raise StudentError(
            f"{checkpoint!r} is neither a published checkpoint of {name} nor a file."
            if checkpoint
            else f"open_clip:{name} does not say which weights to load.",
            f"Write open_clip:{name}:CHECKPOINT, a file of weights"
            + (f" or one of: {', '.join(near)}." if near else "; none are published."),
        )
    return Checkpoint(name, config, checkpoint, weights, weights.parent)


def write_open_clip(
    folder: Path, model: Any, tokenizer: Any, config: dict[str, Any], preprocess: Preprocess
) -> None:
    """Write a folder for `open_clip:local-dir:`, in the layout of open_clip's push_to_hf_hub."""
    save_weights(model.state_dict(), folder / _WEIGHTS[0])
    names = ("size", "mean", "std", "interpolation")
    photos = {name: getattr(preprocess, name) for name in names}
    photos |= {"resize_mode": preprocess.resize, "fill_color": preprocess.fill[0]}
    data = json.dumps({"model_cfg": config, "preprocess_cfg": photos}, indent=2)
    (folder / "open_clip_config.json").write_text(data + "\n", "utf-8")
    inner = getattr(tokenizer, "tokenizer", None)  # set if it is transformers', not open_clip's
    if inner is not None:
        inner.save_pretrained(folder)


def _in_folder(folder: Path, from_scratch: bool = False) -> Checkpoint:
    config = read_open_clip_config(folder).model_cfg
    if not config:
        raise StudentError(f"{folder / 'open_clip_config.json'} has no model_cfg.", OPEN_CLIP_HINT)
    names = () if from_scratch else _WEIGHTS
    weights = next((folder / name for name in names if (folder / name).is_file()), None)
    if weights is None and not from_scratch:
        raise StudentError(
            f"{folder} contains no open_clip weights.", f"It needs {' or '.join(_WEIGHTS)}."
        )
    config["quick_gelu"] = bool(config.get("quick_gelu", False))
    return Checkpoint(f"local-dir:{folder}", config, "", weights, folder)


def _published_weights(open_clip: Any, config: dict[str, Any]) -> Path:
    if not config.get("hf_hub"):
        try:
            return Path(open_clip.download_pretrained(config))
        except Exception as error:
            raise StudentError(
                f"{config['url']} cannot be fetched: {error}.",
                "Fetch it where there is a network, and give the file: open_clip:NAME:FILE.",
            ) from error
    repository, _, file = config["hf_hub"].rpartition("/")
    return find_weights(repository, _WEIGHTS, file)


def _refuse(spec: str, config: dict[str, Any]) -> None:
    text = config["text_cfg"]
    tower = text.get("hf_model_name")
    if "multimodal_cfg" in config or text.get("embed_cls"):
        _, why = _COCA
    elif tower:
        why = f"{_FOREIGN_TEXT[1]} ({tower})"
    elif text.get("pool_type") == "none":
        _, why = _UNPOOLED
    else:
        return
    raise StudentError(f"open_clip:{spec} cannot be exported: {why}.", "Give a CLIP or SigLIP.")


def _build(open_clip: Any, found: Checkpoint, spec: str) -> Any:
    hint = "Give weights of this very architecture, as safetensors or a state dict of tensors."
    # Muted: warnings about weights that are loaded later.
    with loading(f"open_clip:{spec}", hint=hint), advice_muted(logging.CRITICAL):
        model = open_clip.create_model(
            found.model,
            # open_clip finds a folder's weights itself.
            pretrained=None if ":" in found.model or not found.weights else str(found.weights),
            load_weights=found.weights is not None,
            precision="fp32",
            force_quick_gelu=bool(found.config["quick_gelu"]),
            pretrained_text=False,
            require_pretrained=found.weights is not None,
            weights_only=True,
        )
        if found.weights:
            _check_positions(model, found.weights)
    return model.eval()


def _check_positions(model: Any, weights: Path) -> None:
    """Reject position embeddings of another size: open_clip would silently resize them."""
    stored = require("open_clip.factory", "students").load_state_dict(str(weights))
    own = model.state_dict()
    for name in ("visual.positional_embedding", "positional_embedding"):
        for key in (name, f"text.{name}"):
            if key in stored and key in own and stored[key].shape != own[key].shape:
                raise StudentError(
                    f"{weights} has {key} of {list(stored[key].shape)}, and this architecture of "
                    f"{list(own[key].shape)}.",
                    "Give the architecture that these weights were trained as.",
                )


def _towers(model: Any, tokenizer: Any, spec: str) -> StudentTowers:
    text = getattr(model, "text", model)
    table: Tensor = text.token_embedding.weight
    pool = getattr(text, "pool_type", None) or model.text_pool_type
    causal = text.attn_mask is not None
    eos = None
    if pool == "argmax":
        # CLIP pools at the largest id, which is its end-of-text token.
        pool, eos = "eos", len(table) - 1
        inner = getattr(tokenizer, "tokenizer", None)
        end = tokenizer.eot_token_id if inner is None else inner.eos_token_id
        if end != eos:
            raise StudentError(
                f"open_clip:{spec} pools at the largest of {len(table)} tokens, and its tokenizer "
                f"ends a text with {end}.",
                "Tokenizer and weights do not belong together: give both of one checkpoint.",
            )
    elif pool == "eos":
        eos = getattr(text, "eos_id", None) or model.text_eos_id
    attends = not causal or pool == "last"
    head = text.text_projection
    if not isinstance(head, nn.Module):
        head = nn.Identity() if head is None else linear(head.T, None)
    text_spec = TextSpec(text.context_length, table.shape[1], pool, eos, attends_to_padding=attends)
    parts = TextLayers(
        text.positional_embedding,
        [_Block(block) for block in text.transformer.resblocks],
        head,
        after=text.ln_final,
    )
    mask_kind: MaskKind = "future" if causal else "nothing"
    return StudentTowers(text_spec, table, model.visual, parts, mask_kind)


class _Block(nn.Module):
    """An open_clip block with the call signature of transformers' layers."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, scores: Tensor | None) -> Tensor:
        return self.block(x, attn_mask=scores)  # type: ignore[no-any-return]


def _tokenizer(open_clip: Any, found: Checkpoint) -> Any:
    """Return open_clip's tokenizer, or transformers', from beside the weights or by name."""
    text = found.config["text_cfg"]
    name = text.get("hf_tokenizer_name")
    if not name:
        return open_clip.get_tokenizer(found.model)
    beside = found.folder or Path()
    if not any((beside / file).is_file() for file in _TOKENIZER):
        beside = find_folder(name, _TOKENIZER)
    with loading(f"The tokenizer in {beside}", hint=f"Give one of {name}, beside the weights."):
        return require("open_clip.tokenizer", "students").HFTokenizer(
            str(beside),
            context_length=text.get("context_length", 77),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )


def _short_name(spec: str) -> str:
    if spec.startswith(("local-dir:", "hf-hub:")):
        return Path(spec.partition(":")[2]).resolve().name
    return spec.partition(":")[0].replace("/", "-")
