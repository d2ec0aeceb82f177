"""Load teachers by their name on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.distill.teachers.teacher import (
    ClassifierTeacher,
    DualStreamTeacher,
    SingleStreamTeacher,
)
from mcad_mobile.errors import TeacherError


def load_duals(specs: Sequence[str], device: str) -> list[DualStreamTeacher] | None:
    """Load any number of `hf:NAME_OR_FOLDER` (CLIP, SigLIP) and `open_clip:NAME[:CHECKPOINT]`, or
    return None for `reference` alone. Raises TeacherError."""
    if list(specs) == ["reference"]:
        return None
    return [_load_dual(spec, device) for spec in specs]


def _load_dual(spec: str, device: str) -> DualStreamTeacher:
    kind, _, name = spec.partition(":")
    if kind == "hf" and name:
        from mcad_mobile.distill.teachers.transformers import TransformersDualTeacher

        return TransformersDualTeacher(name, device)
    if kind == "open_clip" and name:
        from mcad_mobile.distill.teachers.open_clip import OpenClipTeacher

        return OpenClipTeacher(name, device)
    raise TeacherError(
        f"{spec!r} is not a dual-stream teacher.",
        "Write reference (alone), hf:NAME_OR_FOLDER, or open_clip:NAME:CHECKPOINT.",
    )


def _architecture_and_weights(name: str) -> tuple[str, str | None]:
    # The names local-dir:DIR and hf-hub:ORG/REPO contain a colon themselves.
    if name.startswith(("local-dir:", "hf-hub:")):
        return name, None
    architecture, _, weights = name.partition(":")
    return architecture, weights or None


def load_single(spec: str, device: str) -> SingleStreamTeacher | None:
    """Load `hf:NAME_OR_FOLDER` (BLIP, ViLT); None for `reference`. Raises TeacherError."""
    kind, _, name = spec.partition(":")
    if spec == "reference":
        return None
    if kind != "hf" or not name:
        raise TeacherError(
            f"{spec!r} is not a single-stream teacher.",
            "Write reference, or hf:NAME_OR_FOLDER of a BLIP or ViLT checkpoint.",
        )
    from mcad_mobile.distill.teachers import transformers

    if transformers.model_type(name) == "vilt":
        return transformers.ViltTeacher(name, device)
    return transformers.BlipTeacher(name, device)


def load_classifier(spec: str, class_names: Path | None, device: str) -> ClassifierTeacher | None:
    """Load `timm:NAME[:FILE]` or `torchvision:NAME[:FILE]`, with classes named by the file
    `class_names`, if given; None for `reference`. Raises TeacherError."""
    kind, _, name = spec.partition(":")
    if spec == "reference":
        if class_names is not None:
            raise TeacherError(
                f"{class_names} names the classes of the reference classifier, which has names.",
                "Give a --classifier too, or no --class-names.",
            )
        return None
    if kind not in ("timm", "torchvision") or not name:
        raise TeacherError(
            f"{spec!r} is not a classifier.",
            "Write reference, timm:NAME, timm:NAME:FILE, torchvision:NAME or"
            " torchvision:NAME:FILE.",
        )
    from mcad_mobile.distill.teachers.classifiers import load_timm, load_torchvision

    architecture, file = _architecture_and_weights(name)
    load = load_timm if kind == "timm" else load_torchvision
    return load(architecture, Path(file) if file else None, class_names, device)
