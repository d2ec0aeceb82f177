"""Students of open_clip: its own transformers and ResNets, and timm's image towers."""

from __future__ import annotations

import copy
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec.structs import asdict
from torch import Tensor, nn

from mcad_mobile.base.standard_output import advice_muted
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import StudentError, require
from mcad_mobile.students.hub import find_folder, read_licence
from mcad_mobile.students.image_transforms import open_clip_preprocess
from mcad_mobile.students.open_clip_checkpoint import Checkpoint, find_checkpoint, write_open_clip
from mcad_mobile.students.protocol import Source, TextSpec
from mcad_mobile.students.published import (
    Hides,
    PublishedStudent,
    RowTower,
    StudentTowers,
    TextLayers,
    Trainable,
    build_student,
)
from mcad_mobile.students.rewrites.spelled_attention import linear

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class LoadedModel:
    """A model of open_clip, with its tokenizer and preprocess."""

    spec: str
    found: Checkpoint
    model: Any
    tokenizer: Any
    preprocess: Preprocess
    preprocess_from: str


def load_open_clip(spec: str) -> PublishedStudent:
    """`NAME:CHECKPOINT`, an architecture of open_clip with a published tag or a file of weights;
    `NAME` where one checkpoint is published; `local-dir:DIR` or `hf-hub:ORG/REPO`.

    StudentError if it is unknown, missing, damaged, of another architecture, or not one that a
    phone can run; MissingExtra without open_clip.
    """
    return as_student(read_model(spec))


def trainable_open_clip(spec: str, from_scratch: bool) -> Trainable:
    """The same, to be trained: from its weights, or `from_scratch`, from an architecture's random
    ones, which needs no checkpoint. Raises what `load_open_clip` does."""
    loaded = read_model(spec, from_scratch)
    model = loaded.model

    def write(directory: Path) -> None:
        config = _config(loaded.found)
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
    """Rewrites the model in place."""
    spec, found, model = loaded.spec, loaded.found, loaded.model
    return build_student(
        _short_name(spec),
        Source(
            f"open_clip:{spec}",
            loaded.preprocess_from,
            read_licence(found.weights.parent) if found.weights else None,
        ),
        loaded.preprocess,
        _towers(model, loaded.tokenizer, spec),
        loaded.tokenizer,
        lambda texts: (loaded.tokenizer(texts).numpy(), None),
        model,
        {"config": _config(found), "preprocess": asdict(loaded.preprocess)},
    )


def _config(found: Checkpoint) -> dict[str, Any]:
    return {**found.config, "quick_gelu": found.quick_gelu}


def _refuse(spec: str, config: dict[str, Any]) -> None:
    text = config["text_cfg"]
    why = None
    if "multimodal_cfg" in config or text.get("embed_cls"):
        why = "CoCa's text tower ends in a token of its own and a decoder that looks at photos"
    elif text.get("hf_model_name"):
        why = f"its text tower is {text['hf_model_name']}, for which no rewrite is known"
    elif text.get("pool_type") == "none":
        why = "its text tower pools nothing"
    if why:
        raise StudentError(
            f"open_clip:{spec} cannot be exported: {why}.", "Give a CLIP, SigLIP or MobileCLIP."
        )


def _build(open_clip: Any, found: Checkpoint, spec: str) -> Any:
    try:
        with advice_muted(logging.CRITICAL):  # of weights that are loaded later
            model = open_clip.create_model(
                found.model,
                # A folder brings its weights.
                pretrained=None if ":" in found.model or not found.weights else str(found.weights),
                load_weights=found.weights is not None,
                precision="fp32",
                force_quick_gelu=found.quick_gelu,
                pretrained_text=False,
                require_pretrained=found.weights is not None,
                weights_only=True,
            )
            if found.weights:
                _check_positions(model, found.weights)
    except StudentError:
        raise
    # No narrower: the errors of json, safetensors, pickle, torch and timm all come through.
    except Exception as error:
        raise StudentError(
            f"open_clip:{spec} cannot be loaded: {_reason(error)}",
            "Give weights of this very architecture, as safetensors or a state dict of tensors.",
        ) from error
    return model.eval()


def _check_positions(model: Any, weights: Path) -> None:
    """open_clip stretches position embeddings of another size to fit, without a word."""
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
        # CLIP pools at the largest id, which its vocabulary gives to the end of a text.
        pool, eos = "eos", len(table) - 1
        if _end(tokenizer) != eos:
            raise StudentError(
                f"open_clip:{spec} pools at the largest of {len(table)} tokens, and its tokenizer "
                f"ends a text with {_end(tokenizer)}.",
                "Tokenizer and weights do not belong together: give both of one checkpoint.",
            )
    elif pool == "eos":
        eos = getattr(text, "eos_id", None) or model.text_eos_id
    text_spec = TextSpec(
        length=text.context_length,
        width=table.shape[1],
        pool=pool,
        eos=eos,
        attends_to_padding=not causal or pool == "last",
    )
    parts = TextLayers(
        text.positional_embedding,
        [_Block(block) for block in text.transformer.resblocks],
        _projection(text.text_projection),
        after=text.ln_final,
    )
    hides: Hides = "future" if causal else "nothing"
    tower = RowTower(parts, hides=hides, length=text_spec.length)
    return StudentTowers(text_spec, table, model.visual, tower)


class _Block(nn.Module):
    """A block of open_clip, called as transformers calls its layers."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, scores: Tensor | None) -> Tensor:
        return self.block(x, attn_mask=scores)  # type: ignore[no-any-return]


def _projection(projection: Any) -> nn.Module:
    if projection is None:
        return nn.Identity()
    return projection if isinstance(projection, nn.Module) else linear(projection.T, None)


def _tokenizer(open_clip: Any, found: Checkpoint) -> Any:
    """The architecture's own. One of transformers' is looked for beside the weights first."""
    text = found.config["text_cfg"]
    name = text.get("hf_tokenizer_name")
    if not name:
        return open_clip.get_tokenizer(found.model)
    beside = found.folder or Path()
    if not any((beside / file).is_file() for file in _TOKENIZER):
        beside = find_folder(name, _TOKENIZER)
    try:
        return require("open_clip.tokenizer", "students").HFTokenizer(
            str(beside),
            context_length=text.get("context_length", 77),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
    except Exception as error:
        raise StudentError(
            f"The tokenizer in {beside} cannot be loaded: {_reason(error)}",
            f"Give one of {name}, beside the weights.",
        ) from error


def _end(tokenizer: Any) -> int | None:
    inner = getattr(tokenizer, "tokenizer", None)
    end = tokenizer.eot_token_id if inner is None else inner.eos_token_id
    return None if end is None else int(end)


def _short_name(spec: str) -> str:
    if spec.startswith(("local-dir:", "hf-hub:")):
        return Path(spec.partition(":")[2]).resolve().name
    return spec.partition(":")[0].replace("/", "-")


def _reason(error: Exception) -> str:
    """A short form of an error: torch lists every key, and explains pickles at length."""
    text = str(error)
    if "Weights only load failed" in text or "weights_only" in text:
        return "reading it would run code that it brings along, and that is not done."
    lists = {
        f"{kind.lower()} keys": re.findall(r'"([^"]+)"', match[1])
        for kind in ("Missing", "Unexpected")
        if (match := re.search(rf"{kind} key\(s\) in state_dict: (.*?)\. ?(\n|$)", text, re.DOTALL))
    }
    lists["other sizes of"] = re.findall(r"size mismatch for (\S+):", text)
    found = [
        f"{label} {', '.join(keys[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        for label, keys in lists.items()
        if keys
    ]
    if found:
        return "; ".join(found) + "."
    return f"{type(error).__name__}: {' '.join(text.split())[:400]}"
