"""Training of a library's student: all of its weights, from decoded photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.data.augmentation import augment
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features, on_all_cores
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import TrainingError
from mcad_mobile.students.published import Trainable, freeze_unused
from mcad_mobile.students.weights_licences import write_model_card

# Default peak learning rates: WiSE-FT's for fine-tuning a CLIP (arXiv 2109.01903), and CLIP's own
# from scratch (arXiv 2103.00020, table 20).
TUNED_LR, NEW_LR = 3e-5, 5e-4
_AT_ONCE = 64


@dataclass(frozen=True)
class PixelReader:
    """Decodes a batch's photos on demand, on all cores."""

    data: Dataset
    preprocess: Preprocess
    ids: Tensor  # [M, L]
    mask: Tensor  # [M, L]

    def photos(self, batch: Batch) -> Tensor:
        """[I, 3, S, S]."""
        pixels = on_all_cores(self._pixels, batch.photos.tolist(), batch.views.tolist())
        return torch.from_numpy(np.stack(pixels))

    def captions(self, captions: Rows) -> tuple[Tensor, Tensor]:
        return self.ids[captions], self.mask[captions]

    def with_imagined(self, grids: Features) -> None:
        """Return None: imagined photos are grids of the default student's trunk, not pixels."""

    def _pixels(self, photo: int, view: int) -> NDArray[np.float32]:
        # The same crops as for teachers, for which extra photos count from 0 (features.py).
        first = self.data.paired_photos
        number = photo if photo < first else photo - first
        side = self.preprocess.resize_to or self.preprocess.size
        image = open_photo(self.data.photos[photo], at_least=side)
        return self.preprocess.pixels(augment(image, view, number))


class EndToEnd:
    """A Trainee. TrainingError if a process gets one photo per step and the student has batch
    norms, which would turn it into zeros."""

    def __init__(self, student: Trainable, name: str, photos_per_process: int) -> None:
        norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        if photos_per_process < 2 and any(
            isinstance(module, norms) for module in student.module.modules()
        ):
            raise TrainingError(
                f"{name} has batch norms, which need at least two photos per process and step.",
                "Give a recipe with a larger batch (--recipe), or more photos.",
            )
        freeze_unused(student)
        new = {id(parameter) for parameter in student.new}
        self.module = student.module
        self.name = name
        self.identity = student.as_exported.identity
        self.dim = student.dim
        self.has_a_space = not student.new
        self._from_scratch = all(id(weight) in new for weight in student.module.parameters())
        self._student = student

    def reader(
        self, data: Dataset, views: Views, cache: FeatureCache, arithmetic: Arithmetic
    ) -> PixelReader:
        """Decode each photo once, small, so that a broken one is reported now, not hours later."""
        for start in range(0, len(data.photos), _AT_ONCE):
            cache.progress("photos checked", start, len(data.photos))
            batch = data.photos[start : start + _AT_ONCE]
            on_all_cores(lambda photo: open_photo(photo, at_least=1).size, batch)
        return PixelReader(data, self._student.preprocess, *self._student.tokens([*data.captions]))

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        return self._student.tokens(texts)

    def embed_photos(self, photos: Tensor) -> Tensor:
        """Pixels [I, 3, S, S]."""
        return F.normalize(self._student.image(photos).float(), dim=-1)

    def embed_captions(self, ids: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self._student.text(ids, mask).float(), dim=-1)

    def prepare(self, recipe: StudentRecipe) -> list[dict[str, Any]]:
        """Published weights get a lower learning rate than new ones. Norms and biases do not decay
        (CLIP, arXiv 2103.00020, section 2.5)."""
        new = {id(parameter) for parameter in self._student.new}
        found: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.module.parameters():
            if parameter.requires_grad:
                rate = recipe.head_lr if id(parameter) in new else recipe.tuned_lr
                decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
                found.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in found.items()
        ]

    def save(self, directory: Path) -> None:
        self._student.write(directory)
        if not self._from_scratch:
            about, start = (
                f"Trained by mcad-mobile from {self.name}.",
                self._student.as_exported.source,
            )
            write_model_card(directory, about, start.weights, start.licence)
