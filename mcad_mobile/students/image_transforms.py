"""Convert a library's image transform to our `Preprocess`. For a checkpoint file, open_clip
silently assumes OpenAI's mean and std; here unknown values are an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mcad_mobile.base.documents import convert
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import StudentError, require
from mcad_mobile.students.hub import read_open_clip_config

_FIELDS = ("mean", "std", "interpolation", "resize_mode", "fill_color")
_FIXED = (
    "Use a student whose photos are resized to one fixed square, such as "
    "open_clip:ViT-B-32-SigLIP2-256:webli (docs/models.md lists more)."
)
_PILLOW = {2: "bilinear", 3: "bicubic"}


def open_clip_preprocess(
    config: Mapping[str, Any], name: str, checkpoint: str, from_scratch: bool = False
) -> tuple[Preprocess, str]:
    """Return the preprocess of `model.visual.preprocess_cfg`, and the source of its numbers."""
    known: dict[str, Any] = {}
    source = "open_clip's default"
    if name.startswith("local-dir:") or not from_scratch:
        known, source = _known(name, checkpoint)
    found = {**{key: config[key] for key in _FIELDS if key in config}, **known}
    preprocess = _checked(
        size=_side(config["size"], "size"),
        resize=found.get("resize_mode") or "shortest",
        # open_clip's "random" is for training; at inference it resizes bicubically.
        interpolation="bilinear" if found.get("interpolation") == "bilinear" else "bicubic",
        mean=_three(found["mean"]),
        std=_three(found["std"]),
        centre="round",
        fill=_three(found.get("fill_color") or 0),
    )
    return preprocess, source


def _known(name: str, checkpoint: str) -> tuple[dict[str, Any], str]:
    if name.startswith("local-dir:"):
        return _of_folder(Path(name.removeprefix("local-dir:")))
    pretrained = require("open_clip.pretrained", "students")
    tags = pretrained.list_pretrained_tags_by_model(name)
    if pretrained.is_pretrained_cfg(name, checkpoint):
        return _of_tag(pretrained, name, checkpoint), f"open_clip's {name} {checkpoint}"
    found = [_of_tag(pretrained, name, tag) for tag in tags]
    if found and all(config == found[0] for config in found):
        return found[0], f"all of open_clip's {name} checkpoints ({', '.join(tags)})"
    why = "differ between its published checkpoints" if found else "are of no published checkpoint"
    raise StudentError(
        f"The mean and std of {name} in {checkpoint or 'no checkpoint'} are not known: they {why}.",
        "Give a folder with the open_clip_config.json of the checkpoint: "
        "open_clip:local-dir:FOLDER.",
    )


def _of_tag(pretrained: Any, name: str, tag: str) -> dict[str, Any]:
    """Return open_clip's preprocessing of a checkpoint; missing fields default to OpenAI's."""
    default = require("open_clip.transform", "students").PreprocessCfg()
    known = pretrained.get_pretrained_cfg(name, tag)
    return {key: known.get(key) or getattr(default, key) for key in _FIELDS}


def _of_folder(folder: Path) -> tuple[dict[str, Any], str]:
    path = folder / "open_clip_config.json"
    known = read_open_clip_config(folder).preprocess_cfg
    if not {"mean", "std"} <= set(known):
        raise StudentError(
            f"{path} has no mean and std in its preprocess_cfg.",
            'Add them: "preprocess_cfg": {"mean": [R, G, B], "std": [R, G, B]}.',
        )
    return {key: known[key] for key in _FIELDS if key in known}, f"preprocess_cfg of {path.name}"


def transformers_preprocess(processor: Any) -> tuple[Preprocess, str]:
    """Return the preprocess of an image processor, and the source of its numbers."""
    kind = type(processor).__name__
    if hasattr(processor, "max_num_patches"):
        raise StudentError(f"{kind} resizes each photo to a size of its own (NaFlex).", _FIXED)
    get = partial(_field, processor)
    if not get("do_resize", True):
        raise StudentError(f"{kind} does not resize photos.", _FIXED)
    if get("do_pad", False):
        raise StudentError(f"{kind} pads photos (do_pad).", _FIXED)
    size = {key: value for key, value in dict(get("size", {})).items() if value is not None}
    resample = _PILLOW.get(int(get("resample", -1)))
    if resample is None:
        raise StudentError(
            f"{kind} resamples by Pillow's filter {get('resample', None)}.",
            "Only 2 (bilinear) and 3 (bicubic) are supported.",
        )
    if set(size) == {"shortest_edge"}:
        resize, resize_to = "shortest", int(size["shortest_edge"])
    elif set(size) == {"height", "width"}:
        resize, resize_to = "squash", _side(list(size.values()), "size")
    else:
        raise StudentError(f"{kind} resizes to {size}.", _FIXED)
    cropped = resize_to
    if get("do_center_crop", False):
        crop = dict(get("crop_size", {}))
        cropped = _side([crop.get("height"), crop.get("width")], "crop_size")
    elif resize == "shortest":
        raise StudentError(f"{kind} keeps what lies outside a photo's square.", _FIXED)
    if cropped > resize_to:
        raise StudentError(f"{kind} crops {cropped} pixels out of {resize_to}.", _FIXED)
    mean, std = _scaling(processor)
    preprocess = _checked(
        size=cropped,
        resize=resize,
        interpolation=resample,
        mean=mean,
        std=std,
        resize_to=None if resize_to == cropped else resize_to,
    )
    return preprocess, f"{kind} of the student's preprocessor_config.json"


def _checked(**fields: Any) -> Preprocess:
    return convert(fields, Preprocess, "The student's image preprocessing", StudentError, _FIXED)


def _field(processor: Any, name: str, otherwise: Any) -> Any:
    """Return a processor's setting, or `otherwise` where it is missing or None."""
    value = getattr(processor, name, None)
    return otherwise if value is None else value


def _scaling(processor: Any) -> tuple[list[float], list[float]]:
    """Return mean and std for pixels / 255, adjusted for the processor's own rescale factor."""
    get = partial(_field, processor)
    unit = 255 * float(get("rescale_factor", 1 / 255) if get("do_rescale", True) else 1)
    if abs(unit - 1) < 1e-6:  # 1/255 as rounded in JSON
        unit = 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if get("do_normalize", True):
        mean, std = _three(get("image_mean", ())), _three(get("image_std", ()))
    return [value / unit for value in mean], [value / unit for value in std]


def _side(size: Any, field: str) -> int:
    sides = {int(side) for side in (size if isinstance(size, Sequence) else [size]) if side}
    if len(sides) != 1:
        raise StudentError(f"The student's {field} is {size}, not one square.", _FIXED)
    return sides.pop()


def _three(values: Any) -> list[Any]:
    """Return values for R, G and B; a scalar is repeated."""
    return [values] * 3 if isinstance(values, int | float) else list(values or ())
