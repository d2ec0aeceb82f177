"""What `open_clip:` names: an architecture and its weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.errors import StudentError
from mcad_mobile.students.hub import folder_of
from mcad_mobile.typed import decode

_HINT = "Give a folder that open_clip's push_to_hf_hub or a hub's download made."
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClipConfig(msgspec.Struct, frozen=True):
    """What its open_clip_config.json says of a model: open_clip's own, and more than is read."""

    model_cfg: dict[str, Any] = msgspec.field(default_factory=dict)
    preprocess_cfg: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What to build, and what to load into it."""

    model: str  # as open_clip's factory names it
    config: dict[str, Any]
    checkpoint: str  # the tag of what is published, or the file
    weights: Path
    quick_gelu: bool


def find_checkpoint(open_clip: Any, spec: str) -> Checkpoint:
    """What `spec`, without its `open_clip:`, stands for. Weights that are published are fetched
    where they are not in the cache. StudentError where there is none."""
    if spec.startswith("hf-hub:"):
        return _in_folder(folder_of(spec[7:], ["open_clip_config.json"], _WEIGHTS))
    if spec.startswith("local-dir:"):
        return _in_folder(Path(spec[10:]).expanduser())
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
    if not checkpoint and len(tags) == 1:
        checkpoint = tags[0]
    if checkpoint in tags:
        published = open_clip.get_pretrained_cfg(name, checkpoint)
        weights = _published_weights(open_clip, published)
        quick_gelu = published.get("quick_gelu", config.get("quick_gelu", False))
        return Checkpoint(name, config, checkpoint, weights, quick_gelu)
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
    return Checkpoint(name, config, checkpoint, weights, config.get("quick_gelu", False))


def read_config(folder: Path) -> OpenClipConfig:
    """open_clip_config.json of a folder. StudentError if it cannot be read."""
    path = folder / "open_clip_config.json"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StudentError(f"{path} cannot be read: {error}.", _HINT) from error
    what = f"{path} is no configuration of open_clip: it"
    return decode(raw, OpenClipConfig, what, StudentError, _HINT)


def _in_folder(folder: Path) -> Checkpoint:
    config = read_config(folder).model_cfg
    if not config:
        raise StudentError(f"{folder / 'open_clip_config.json'} has no model_cfg.", _HINT)
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise StudentError(
            f"{folder} holds no weights of open_clip.", f"It needs {' or '.join(_WEIGHTS)}."
        )
    return Checkpoint(
        model=f"local-dir:{folder}",
        config=config,
        checkpoint="",
        weights=weights,
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
    folder = folder_of(repository, names)
    return next(folder / name for name in names if (folder / name).is_file())
