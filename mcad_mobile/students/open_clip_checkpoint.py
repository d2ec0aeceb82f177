"""Checkpoints of open_clip: an architecture and its weights, by the name after `open_clip:`."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.base.documents import decode
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import StudentError
from mcad_mobile.students.hub import find_folder

_HINT = "Give a folder that open_clip's push_to_hf_hub or a hub's download made."
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClipConfig(msgspec.Struct, frozen=True):
    """open_clip_config.json, of which only these fields are read."""

    model_cfg: dict[str, Any] = msgspec.field(default_factory=dict)
    preprocess_cfg: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """An architecture, and the weights to load into it."""

    model: str  # as open_clip's factory names it
    config: dict[str, Any]
    checkpoint: str  # the tag of what is published, or the file
    weights: Path | None  # None: random ones
    folder: Path | None  # where its tokenizer may lie
    quick_gelu: bool


def find_checkpoint(open_clip: Any, spec: str, from_scratch: bool = False) -> Checkpoint:
    """The checkpoint that `spec` names, without its `open_clip:`. Published weights are fetched
    where they are not in the cache; `from_scratch` takes none. StudentError where there is none."""
    if spec.startswith("hf-hub:"):
        needed = () if from_scratch else (_WEIGHTS,)
        return _in_folder(find_folder(spec[7:], ["open_clip_config.json"], *needed), from_scratch)
    if spec.startswith("local-dir:"):
        return _in_folder(Path(spec[10:]).expanduser(), from_scratch)
    name, _, checkpoint = spec.partition(":")
    name = name.replace("/", "-")
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), 5, 0.4)
        raise StudentError(
            f"open_clip {open_clip.__version__} knows no model {name!r}.",
            f"Nearest: {', '.join(near) or 'none'}. All: python -c 'import open_clip; "
            "print(open_clip.list_models())'.",
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if from_scratch:
        if checkpoint:
            raise StudentError(
                f"open_clip:{spec} names weights, and --from-scratch starts from none.",
                f"Give open_clip:{name}, or leave --from-scratch out.",
            )
        return Checkpoint(name, config, "", None, None, config.get("quick_gelu", False))
    if not checkpoint and len(tags) == 1:
        checkpoint = tags[0]
    if checkpoint in tags:
        published = open_clip.get_pretrained_cfg(name, checkpoint)
        weights = _published_weights(open_clip, published)
        quick_gelu = published.get("quick_gelu", config.get("quick_gelu", False))
        return Checkpoint(name, config, checkpoint, weights, weights.parent, quick_gelu)
    weights = Path(checkpoint).expanduser()
    if not checkpoint or not weights.is_file():
        near = difflib.get_close_matches(checkpoint, tags, 5, 0.0) if checkpoint else tags
        raise StudentError(
            f"{checkpoint!r} is neither a published checkpoint of {name} nor a file."
            if checkpoint
            else f"Which weights of {name}?",
            f"Write open_clip:{name}:CHECKPOINT, a file of weights"
            + (f" or one of: {', '.join(near)}." if near else "; none are published."),
        )
    quick_gelu = config.get("quick_gelu", False)
    return Checkpoint(name, config, checkpoint, weights, weights.parent, quick_gelu)


def read_config(folder: Path) -> OpenClipConfig:
    """open_clip_config.json of a folder. StudentError if it cannot be read."""
    path = folder / "open_clip_config.json"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StudentError(f"{path} cannot be read: {error}.", _HINT) from error
    subject = f"{path} is no configuration of open_clip: it"
    return decode(raw, OpenClipConfig, subject, StudentError, _HINT)


def write_open_clip(
    folder: Path, model: Any, tokenizer: Any, config: dict[str, Any], preprocess: Preprocess
) -> None:
    """A folder for `open_clip:local-dir:`, as open_clip's own push_to_hf_hub writes it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / _WEIGHTS[0])
    (folder / _WEIGHTS[0]).chmod(0o644)  # safetensors leaves it readable to its owner only
    photos = {
        "size": preprocess.size,
        "mean": preprocess.mean,
        "std": preprocess.std,
        "interpolation": preprocess.interpolation,
        "resize_mode": preprocess.resize,
        "fill_color": preprocess.fill[0],
    }
    data = json.dumps({"model_cfg": config, "preprocess_cfg": photos}, indent=2)
    (folder / "open_clip_config.json").write_text(data + "\n", "utf-8")
    inner = getattr(tokenizer, "tokenizer", None)  # of transformers, where it is not open_clip's
    if inner is not None:
        inner.save_pretrained(folder)


def _in_folder(folder: Path, from_scratch: bool = False) -> Checkpoint:
    config = read_config(folder).model_cfg
    if not config:
        raise StudentError(f"{folder / 'open_clip_config.json'} has no model_cfg.", _HINT)
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if from_scratch:
        weights = None
    elif weights is None:
        raise StudentError(
            f"{folder} holds no weights of open_clip.", f"It needs {' or '.join(_WEIGHTS)}."
        )
    return Checkpoint(
        model=f"local-dir:{folder}",
        config=config,
        checkpoint="",
        weights=weights,
        folder=folder,
        quick_gelu=bool(config.get("quick_gelu", False)),
    )


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
    names = _WEIGHTS if not file else (str(Path(file).with_suffix(".safetensors")), file)
    folder = find_folder(repository, names)
    return next(folder / name for name in names if (folder / name).is_file())
