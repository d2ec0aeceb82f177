"""Classifiers as teachers: the reference one (EfficientNet-Lites with their published heads), those
from timm, and the names of their classes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.accelerator import autocast, device_of
from mcad_mobile.distill.dataset import read_lines
from mcad_mobile.distill.features import FeatureCache, Features, GridTrunk
from mcad_mobile.distill.pretrained import load_imagenet_head
from mcad_mobile.distill.teachers.teacher import ClassifierTeacher, Kind
from mcad_mobile.errors import TeacherError, require
from mcad_mobile.students.student import model_sha256

IMAGENET = Path(__file__).parent / "imagenet_names.txt"
KINDS = Path(__file__).parent / "imagenet_kinds.txt"
# Imagined photos: the most gradient steps, and a step's length as a share of the grid's.
_MAX_STEPS, _STEP_LENGTH = 3, 0.2
ClassNames = tuple[tuple[str, ...], ...]  # of each class, the best name first


@cache
def imagenet_names() -> ClassNames:
    """Names of ImageNet-1k's 1,000 classes in WordNet id order, which every classifier uses."""
    lines = IMAGENET.read_text("utf-8").splitlines()  # each an id and names
    return tuple(_names(line.split(" ", 1)[1]) for line in lines)


@cache
def imagenet_kinds() -> tuple[Kind, ...]:
    """Words for several of ImageNet-1k's classes, from WordNet's hypernyms."""
    kinds = []
    for line in KINDS.read_text("utf-8").splitlines():  # NAME; NAME: FIRST-LAST NUMBER ...
        names, _, numbers = line.partition(": ")
        ends = [[int(end) for end in part.split("-")] for part in numbers.split()]
        classes = tuple(number for end in ends for number in range(end[0], end[-1] + 1))
        kinds.append(Kind(_names(names), classes))
    return tuple(kinds)


def _names(line: str) -> tuple[str, ...]:
    return tuple(name for part in line.split(";") if (name := part.strip()))


def read_class_names(path: Path, classes: int) -> ClassNames:
    """Read one class per line, in the classifier's order, its names separated by semicolons."""
    hint = "Give a UTF-8 text file with one class a line: NAME; NAME; ..."
    names = tuple(_names(line) for line in read_lines(path, TeacherError, hint))
    if len(names) != classes or () in names:
        named = sum(map(bool, names))
        raise TeacherError(f"{path} names {named} classes; the classifier has {classes}.", hint)
    return names


def names_for(classes: int, path: Path | None, labels: Sequence[str] | None = None) -> ClassNames:
    """Names from `path`, else ImageNet's for 1,000 classes, else `labels`, else TeacherError."""
    if path is not None:
        return read_class_names(path, classes)
    # The libraries' own labels of ImageNet are its WordNet names, one per class.
    if classes == len(imagenet_names()):
        return imagenet_names()
    if labels is not None and len(labels) == classes:
        return tuple(_names(label.replace(",", ";")) for label in labels)
    raise TeacherError(
        f"The names of the classifier's {classes} classes are not known.",
        "Name them with --class-names FILE, one class a line.",
    )


class TimmClassifier:
    """A classifier of timm by its name, with published weights or those in the file `weights`, and
    classes named by the file `class_names`, if given. TeacherError."""

    trunks: Sequence[GridTrunk] = ()

    def __init__(
        self, name: str, weights: Path | None, class_names: Path | None, device: str = "cpu"
    ) -> None:
        timm, data = require("timm", "students"), require("timm.data", "students")
        try:
            model = timm.create_model(name, pretrained=weights is None)
            if weights is not None:
                load = require("timm.models", "students").load_state_dict
                state = load(str(weights), use_ema=False)
                model = timm.create_model(name, num_classes=len(_head_weight(model, state)))
                model.load_state_dict(state)
            config = data.resolve_model_data_config(model)
            self._transform = data.create_transform(**config, is_training=False)
        # Broad on purpose: safetensors, pickle, torch and the hub all raise their own errors.
        except Exception as error:
            source = f"timm:{name} with {weights}" if weights else f"timm:{name}"
            raise TeacherError(
                f"{source} cannot be loaded as a teacher: {type(error).__name__}: {error}",
                "Give a complete local checkpoint, or a published name that can be reached from "
                "here.",
            ) from error
        head = _head_weight(model, model.state_dict())
        labels = (model.pretrained_cfg or {}).get("label_names") if weights is None else None
        self.name = name
        self.identity = model_sha256(model, {"model": name, "preprocessing": config})[:16]
        self.names = names_for(len(head), class_names, labels)
        self.kinds = imagenet_kinds() if self.names is imagenet_names() else ()
        self.weights = head.float().flatten(1).cpu()
        self._device = torch.device(device)
        self._model = model.eval().to(self._device)

    @torch.no_grad()
    def classify(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, C] float32 on the CPU: probabilities."""
        pixels = torch.stack([self._transform(photo) for photo in photos]).to(self._device)
        rows: Tensor = self._model(pixels).float().softmax(1).cpu()
        return rows


def _head_weight(model: Any, state: Mapping[str, Tensor]) -> Tensor:
    """The weight of a timm model's last layer in its state; a distilled transformer has two."""
    named: str | Sequence[str] = model.pretrained_cfg["classifier"]
    return state[f"{named if isinstance(named, str) else named[0]}.weight"]


def load_classifier(spec: str, class_names: Path | None, device: str) -> ClassifierTeacher | None:
    """Load `timm:NAME[:FILE]`, with classes named by the file `class_names`, if given; None for
    `reference`. Raises TeacherError."""
    kind, _, name = spec.partition(":")
    if spec == "reference":
        if class_names is not None:
            raise TeacherError(
                f"{class_names} names the classes of the reference classifier, which has names.",
                "Give a --classifier too, or no --class-names.",
            )
        return None
    if kind != "timm" or not name:
        raise TeacherError(
            f"{spec!r} is not a classifier.", "Write reference, timm:NAME or timm:NAME:FILE."
        )
    architecture, file = name, ""
    if not name.startswith(("local-dir:", "hf-hub:")):  # whose colon belongs to the name
        architecture, _, file = name.partition(":")
    return TimmClassifier(architecture, Path(file) if file else None, class_names, device)


class LiteClassifier:
    """The mean of several classifiers' ImageNet probabilities. `trunks`: by network size."""

    name = "ImageNet classifiers (EfficientNet-Lite0 and -Lite2)"

    def __init__(self, trunks: Mapping[int, GridTrunk]) -> None:
        self.trunks: Sequence[GridTrunk] = list(trunks.values())
        self.arithmetic = self.trunks[0].arithmetic
        self.names: ClassNames = imagenet_names()
        self.kinds = imagenet_kinds()
        self.heads = nn.ModuleList(load_imagenet_head(size) for size in trunks)
        self.heads.to(device_of(self.trunks[0].module)).eval()

    @cached_property
    def identity(self) -> str:
        convolutions = nn.ModuleList(trunk.module.head_conv for trunk in self.trunks)
        modules = nn.ModuleDict({"convolutions": convolutions, "heads": self.heads})
        return model_sha256(modules, {"trunks": [trunk.identity for trunk in self.trunks]})[:16]

    @property
    def weights(self) -> Tensor:
        """Those of the smallest network's head; the default student starts from that network."""
        return self.heads[-1].get_parameter("weight").detach().cpu()

    def imagined(self, cache: FeatureCache, photos: Sequence[Path]) -> Features:
        """Move each photo's grid one to three gradient steps toward a random class: [N, 7, 7, C]
        float16, the input of the last trunk's last blocks. A few thousand captioned photos show few
        classes, and imagined ones show how far a class reaches."""
        trunk = self.trunks[-1].shallower
        sources = [trunk.cached(cache, photos, 0)]
        name = f"{self.identity} imagines"
        return cache.of_features(
            sources, name, "imagined photos", lambda rows: self._imagine(rows[0])
        )

    def classify_imagined(self, grids: Features) -> Tensor:
        """Probabilities [B, C] from the last trunk alone."""
        rows = torch.from_numpy(grids.astype(np.float32)).to(device_of(self.heads))
        with torch.no_grad():
            return self._logits(rows.permute(0, 3, 1, 2)).softmax(1).cpu()

    def _imagine(self, grids: Features) -> Features:
        # Seeded by the photos, so that a resumed run imagines the same ones.
        random = np.random.default_rng(zlib.crc32(grids.tobytes()))
        device = device_of(self.heads)
        targets = torch.from_numpy(random.integers(0, len(self.names), len(grids))).to(device)
        steps = torch.from_numpy(random.integers(1, _MAX_STEPS + 1, len(grids))).to(device)
        rows = torch.from_numpy(grids.astype(np.float32)).to(device).permute(0, 3, 1, 2)
        length = _STEP_LENGTH * rows.square().mean((1, 2, 3), keepdim=True).sqrt()
        for step in range(_MAX_STEPS):
            rows = rows.detach().requires_grad_()
            loss = F.cross_entropy(self._logits(rows), targets, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, rows)
            gradient /= gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
            moving = (steps > step)[:, None, None, None]
            rows = torch.where(moving, rows - length * gradient, rows)
        imagined: Features = rows.detach().permute(0, 2, 3, 1).half().cpu().numpy()
        return imagined

    def _logits(self, rows: Tensor) -> Tensor:
        trunk = self.trunks[-1]
        with autocast(self.arithmetic, rows.device):
            grid = trunk.module.blocks[-trunk.resumed_blocks :](rows)
            return self._of_grid(-1, grid)

    def _of_grid(self, number: int, grid: Tensor) -> Tensor:
        """The logits of a trunk's head, from the trunk's grid [B, C, 7, 7]."""
        convolved = self.trunks[number].module.head_conv(grid)
        logits: Tensor = self.heads[number](F.relu6(convolved).float().mean((2, 3)))
        return logits.float()

    @torch.no_grad()
    def classify(self, grids: Sequence[Features]) -> Tensor:
        """Each trunk's grids [B, 7, 7, C_n] -> [B, C] float32 on the CPU: probabilities."""
        device = device_of(self.heads)
        rows = []
        for number, trunk_grids in enumerate(grids):
            grid = torch.from_numpy(trunk_grids.astype(np.float32)).to(device).permute(0, 3, 1, 2)
            with autocast(self.arithmetic, device):
                rows.append(self._of_grid(number, grid).softmax(1))
        return torch.stack(rows).mean(0).cpu()
