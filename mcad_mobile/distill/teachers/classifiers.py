"""Classifiers of torchvision and timm as teachers: any checkpoint whose classes have names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mcad_mobile.distill.teachers.class_names import ClassNames, names_for
from mcad_mobile.distill.teachers.identity import cannot_load, identity_of, in_batches
from mcad_mobile.errors import TeacherError, require


class GivenClassifier:
    """A model that gives logits [B, C], and how its library prepares a photo."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        transform: Callable[[Image.Image], Tensor],
        preprocessing: Mapping[str, Any],
        names: ClassNames,
        device: torch.device,
    ) -> None:
        self.name = name
        self.identity = identity_of(model, preprocessing)
        self.names = names
        self._model = model.eval().to(device)
        self._transform = transform
        self._device = device

    def classify(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, C] float32 on the CPU: probabilities."""

        def probabilities(some: list[Image.Image]) -> Tensor:
            pixels = torch.stack([self._transform(photo) for photo in some])
            said: Tensor = self._model(pixels.to(self._device)).float().softmax(1)
            return said

        return in_batches(probabilities, photos, torch.empty(0, len(self.names)))


def load_torchvision(
    name: str, weights: Path | None = None, class_names: Path | None = None, device: str = "cpu"
) -> GivenClassifier:
    """A classifier by torchvision's name of its architecture, with its published weights or those
    of `weights`, a state dict, which may have classes of its own. Photos are prepared as for the
    published weights. TeacherError if weights are missing, damaged or of another architecture, or
    if nobody names the classes; MissingExtra without torchvision."""
    models = require("torchvision.models", "students")
    try:
        published = models.get_model_weights(name).DEFAULT
        if weights is None:
            model, labels = models.get_model(name, weights=published), published.meta["categories"]
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            model, labels = models.get_model(name, num_classes=_classes_of(state)), None
            model.load_state_dict(state)
        transform = published.transforms()
    # No narrower: the errors of pickle, torch, urllib and the registry all come through.
    except Exception as error:
        raise cannot_load(_source(f"torchvision:{name}", weights), error) from error
    return _given(
        name, model, transform, {"transform": repr(transform)}, labels, class_names, device
    )


def load_timm(
    name: str, weights: Path | None = None, class_names: Path | None = None, device: str = "cpu"
) -> GivenClassifier:
    """A classifier by timm's name ("local-dir:DIR" and "hf-hub:ORG/REPO" are such names), with its
    published weights or those of the checkpoint `weights`, which may have classes of its own.
    Photos are prepared as the model's configuration says. Errors as above; MissingExtra without
    timm."""
    timm, data = require("timm", "students"), require("timm.data", "students")
    try:
        if weights is None:
            model = timm.create_model(name, pretrained=True)
        else:
            state = require("timm.models", "students").load_state_dict(str(weights), use_ema=False)
            model = timm.create_model(name, num_classes=_classes_of(state))
            model.load_state_dict(state)
        settings = data.resolve_model_data_config(model)
        transform = data.create_transform(**settings, is_training=False)
    # No narrower: the errors of safetensors, pickle, torch and the hub all come through.
    except Exception as error:
        raise cannot_load(_source(f"timm:{name}", weights), error) from error
    labels = (model.pretrained_cfg or {}).get("label_names") if weights is None else None
    return _given(name, model, transform, settings, labels, class_names, device)


def _given(
    name: str,
    model: nn.Module,
    transform: Callable[[Image.Image], Tensor],
    preprocessing: Mapping[str, Any],
    labels: Sequence[str] | None,
    class_names: Path | None,
    device: str,
) -> GivenClassifier:
    classes = _classes_of(model.state_dict())
    # Of ImageNet's 1,000 classes the library's own labels are its WordNet names, one each.
    known = labels if labels is not None and len(labels) != 1000 else None
    names = names_for(classes, class_names, known)
    return GivenClassifier(name, model, transform, preprocessing, names, torch.device(device))


def _classes_of(state: Mapping[str, Tensor]) -> int:
    """How many classes a state dict's last weight tells apart."""
    weights = [value for name, value in state.items() if name.endswith("weight") and value.ndim > 1]
    if not weights:
        raise TeacherError(
            "The checkpoint holds no weights of a classifier.",
            "Give a state dict, as torch.save(model.state_dict(), FILE) writes it.",
        )
    return len(weights[-1])


def _source(name: str, weights: Path | None) -> str:
    return f"{name} with {weights}" if weights else name
