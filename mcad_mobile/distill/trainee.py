"""Students under training: ours on cached grids of its frozen trunk, a library's end to end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.data.augmentation import augment
from mcad_mobile.distill.accelerator import accelerator, device_of
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features, GridTrunk, by_length, on_all_cores
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.pretrained import load_imagenet, load_minilm, minilm_directory
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe
from mcad_mobile.distill.teachers.classifiers import imagenet_kinds, imagenet_names
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.errors import StudentError, TrainingError
from mcad_mobile.recall import Retrieval, evaluate_retrieval
from mcad_mobile.students.efficientnet_lite import Head
from mcad_mobile.students.load import parse_spec
from mcad_mobile.students.mcad import McadStudent, default_config
from mcad_mobile.students.published import Trainable, freeze_unused
from mcad_mobile.students.student import Source
from mcad_mobile.students.tokenizers.trained import WordPieceConfig
from mcad_mobile.students.weights_licences import write_model_card

TRAINED_BLOCKS = 1  # last blocks of our image tower; training two would take three times as long
TRUNK = "EfficientNet-Lite0"
# An ImageNet name counts as much as this many captions that contain it, because few do.
_NAME_COUNT = 20
# A library's default peak learning rates: WiSE-FT's for fine-tuning a CLIP (arXiv 2109.01903), and
# CLIP's own from scratch (arXiv 2103.00020, table 20).
_TUNED_LR, _NEW_LR = 3e-5, 5e-4
_PHOTOS_CHECKED, _PHOTOS_AT_ONCE, _CAPTIONS_AT_ONCE = 64, 256, 512
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Reader:
    """A dataset's photos [I, ...] and captions (ids and mask [T, L]), as towers take them."""

    photos: Callable[[Batch], Tensor]
    ids: Tensor
    mask: Tensor

    def captions(self, captions: Rows) -> tuple[Tensor, Tensor]:
        return self.ids[captions], self.mask[captions]


class Trainee(ABC):
    """A student under training.

    The losses must use each weight of `module` that requires a gradient: distributed training would
    wait for the gradient of an unused one. `name`: kind and starting point; `identity`: a hash of
    the starting point; `source`: where trained weights came from, None if there are none.
    """

    def __init__(
        self, module: nn.Module, name: str, identity: str, dim: int, source: Source | None
    ) -> None:
        self.module = module
        self.name = name
        self.identity = identity
        self.dim = dim
        self._source = source
        self.has_a_space = source is not None  # embeds photos and captions from the start

    @abstractmethod
    def reader(
        self,
        data: Dataset,
        views: Views,
        cache: FeatureCache,
        arithmetic: Arithmetic,
        imagined: Features | None = None,
    ) -> Reader:
        """Return a reader of `data`, with `imagined` photos, if any, as one more view of the paired
        ones. PhotoError for a photo that cannot be decoded."""

    @abstractmethod
    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask [T, L], as a reader returns them for captions."""

    @abstractmethod
    def embed_photos(self, photos: Tensor) -> Tensor:
        """A reader's photos -> [I, dim] float32 of unit length."""

    @abstractmethod
    def embed_captions(self, ids: Tensor, mask: Tensor) -> Tensor: ...

    @abstractmethod
    def prepare(self, recipe: StudentRecipe) -> list[dict[str, Any]]:
        """Set the student up for training (frozen weights, dropout, widths), once, and return
        AdamW's parameter groups, each with its peak `lr`."""

    def save(self, directory: Path) -> None:
        """Write what `load_student` reads."""
        self._write(directory)
        if self._source is not None:  # its licence may hold for these weights, too
            about, start = f"Trained by mcad-mobile from {self.name}.", self._source
            write_model_card(directory, about, start.weights, start.licence)

    @abstractmethod
    def _write(self, directory: Path) -> None: ...


class FrozenTrunk(Trainee):
    """Our student: the image tower's last block, last convolution and head, and the text tower."""

    def __init__(
        self, student: McadStudent, name: str, identity: str, *, has_a_space: bool = True
    ) -> None:
        source = student.source if has_a_space else None
        super().__init__(student, name, identity, student.dim, source)
        self._student = student

    @staticmethod
    def fresh(name: str, token_counts: Tensor) -> FrozenTrunk:
        """Start from ImageNet's trunk, MiniLM's first layers and random heads."""
        student = McadStudent(default_config(name), minilm_directory())
        load_imagenet(student.image)
        names = [*imagenet_names(), *(kind.names for kind in imagenet_kinds())]
        ids, mask = student.tokenizer.batch(list(chain.from_iterable(names)))
        counts = np.bincount(ids[mask > 0], minlength=len(token_counts))
        load_minilm(student.text, token_counts + _NAME_COUNT * torch.from_numpy(counts))
        return FrozenTrunk(student, f"{TRUNK} and MiniLM", "fresh", has_a_space=False)

    def reader(
        self,
        data: Dataset,
        views: Views,
        cache: FeatureCache,
        arithmetic: Arithmetic,
        imagined: Features | None = None,
    ) -> Reader:
        image, preprocess = self._student.image, self._student.config.preprocess
        rows = GridTrunk(TRUNK, image, preprocess, arithmetic, TRAINED_BLOCKS).rows(
            data, views, cache
        )
        if imagined is not None:
            rows = replace(rows, paired=(*rows.paired, imagined))
        return Reader(rows.of, data.ids, data.mask)  # which are our tokenizer's

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        ids, mask = self._student.tokenizer.batch(texts)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def embed_photos(self, photos: Tensor) -> Tensor:
        """Grids [I, 7, 7, 192]."""
        image = self._student.image
        grids = image.blocks[-TRAINED_BLOCKS:](photos.permute(0, 3, 1, 2))
        features = F.relu6(image.head_conv(grids)).mean((2, 3))
        return F.normalize(image.head(features).float(), dim=-1)

    def embed_captions(self, ids: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(by_length(self._student.text, ids, mask).float(), dim=-1)

    def prepare(self, recipe: StudentRecipe) -> list[dict[str, Any]]:
        widths = recipe.widths if recipe.narrow else ()
        self._student.config = msgspec.structs.replace(self._student.config, widths=widths)
        image, text = self._student.image, self._student.text
        image.stem.requires_grad_(False)
        image.blocks[:-TRAINED_BLOCKS].requires_grad_(False)
        assert isinstance(image.head, Head)  # load_trainee refuses other students
        image.head.dropout.p = recipe.head_dropout
        for module in text.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.text_dropout
        trunk = [*image.blocks[-TRAINED_BLOCKS:].parameters(), *image.head_conv.parameters()]
        tuned = [value for name, value in text.named_parameters() if name[:5] != "head."]
        new = [*image.head.parameters(), *text.head.parameters()]
        return [
            {"params": new, "lr": recipe.head_lr},
            {"params": tuned, "lr": recipe.tuned_lr},
            {"params": trunk, "lr": recipe.trunk_lr},
        ]

    def _write(self, directory: Path) -> None:
        self._student.save(directory)


class EndToEnd(Trainee):
    """A library's student: all of its weights, from decoded photos. TrainingError if a process gets
    one photo per step and the student has batch norms, which would turn it into zeros."""

    def __init__(self, student: Trainable, name: str, photos_per_process: int) -> None:
        has_norms = any(isinstance(module, _NORMS) for module in student.module.modules())
        if photos_per_process < 2 and has_norms:
            raise TrainingError(
                f"{name} has batch norms, which need at least two photos per process and step.",
                "Give a recipe with a larger batch (--recipe), or more photos.",
            )
        freeze_unused(student)
        self._new = {id(parameter) for parameter in student.new}
        from_scratch = all(id(weight) in self._new for weight in student.module.parameters())
        exported = student.as_exported
        source = None if from_scratch else exported.source
        super().__init__(student.module, name, exported.sha256, student.dim, source)
        self.has_a_space = not self._new
        self._student = student

    def reader(
        self,
        data: Dataset,
        views: Views,
        cache: FeatureCache,
        arithmetic: Arithmetic,
        imagined: Features | None = None,
    ) -> Reader:
        """Decode each photo once, small, so that a broken one is reported now, not hours later.
        There are no imagined photos: they are grids of our trunk, not pixels."""
        for start in range(0, len(data.photos), _PHOTOS_CHECKED):
            cache.progress("photos checked", start, len(data.photos))
            batch = data.photos[start : start + _PHOTOS_CHECKED]
            on_all_cores(lambda photo: open_photo(photo, at_least=1).size, batch)
        preprocess = self._student.preprocess

        def pixels(photo: int, view: int) -> NDArray[np.float32]:
            # The same crops as for teachers, for which extra photos count from 0 (features.py).
            number = photo if photo < data.paired_photos else photo - data.paired_photos
            side = preprocess.resize_to or preprocess.size
            image = open_photo(data.photos[photo], at_least=side)
            return preprocess.pixels(augment(image, view, number))

        def photos(batch: Batch) -> Tensor:
            rows = on_all_cores(pixels, batch.photos.tolist(), batch.views.tolist())
            return torch.from_numpy(np.stack(rows))

        return Reader(photos, *self.tokens([*data.captions]))

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
        found: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.module.parameters():
            if parameter.requires_grad:
                rate = recipe.head_lr if id(parameter) in self._new else recipe.tuned_lr
                decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
                found.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in found.items()
        ]

    def _write(self, directory: Path) -> None:
        self._student.write(directory)


@dataclass(frozen=True)
class StudentChoice:
    """`spec`: as for `load_student`; None for the default student. `from_scratch`: with
    random weights in place of published ones."""

    spec: str | None = None
    from_scratch: bool = False

    @property
    def kind(self) -> str:
        return "mcad" if self.spec is None else parse_spec(self.spec)[0]

    @property
    def folder(self) -> Path | None:
        """The folder that holds the student, if it is in one."""
        if self.spec is None:
            return None
        folder = Path(parse_spec(self.spec)[1].removeprefix("local-dir:"))
        return folder if folder.is_dir() else None

    def recipe(self) -> StudentRecipe:
        """The default recipe for the student's kind."""
        if self.kind == "mcad":
            return StudentRecipe()
        return StudentRecipe(head_lr=_NEW_LR, tuned_lr=_TUNED_LR)


def load_trainee(choice: StudentChoice, name: str, data: Dataset, recipe: StudentRecipe) -> Trainee:
    """Load the student to train, seeded by torch; our network is then called `name`.
    StudentError if it cannot be loaded or exported; TrainingError if the recipe cannot train it."""
    if choice.kind != "mcad":
        trainee_name = f"{choice.spec}, from nothing" if choice.from_scratch else f"{choice.spec}"
        has_extra = len(data.photos) > data.paired_photos
        step = recipe.batch + (recipe.extra_photos if has_extra else 0)
        per_process = step // int(accelerator().num_processes)
        return EndToEnd(_trainable(choice), trainee_name, per_process)
    if choice.from_scratch:
        raise StudentError(
            "The default student's trunk is frozen except for its last block: most of its random "
            "weights would never learn.",
            "Leave --from-scratch out, or name another --student.",
        )
    if choice.spec is None:
        return FrozenTrunk.fresh(name, data.token_counts())
    student = McadStudent.load(Path(choice.spec))
    if not isinstance(student.config.tokenizer, WordPieceConfig):
        raise StudentError(
            f"{choice.spec} has a multilingual text tower, which photos cannot train.",
            "Train the student that its image tower came from, then --text-only for that one.",
        )
    if student.config.classes:
        raise StudentError(
            f"The photos of {choice.spec} are embedded by a classifier, which is not trained.",
            "Leave --student out to train the default student's network.",
        )
    student.config = msgspec.structs.replace(student.config, name=name)
    return FrozenTrunk(student, choice.spec, student.sha256)


def _trainable(choice: StudentChoice) -> Trainable:
    kind, rest = parse_spec(choice.spec)
    if kind == "open_clip":
        from mcad_mobile.students.open_clip import read_model, trainable_open_clip

        loaded = read_model(rest, choice.from_scratch)
        return trainable_open_clip(loaded, choice.from_scratch)
    if kind == "hf":
        from mcad_mobile.students.transformers import trainable_transformers

        return trainable_transformers(rest, choice.from_scratch)
    raise StudentError(
        f"{choice.spec} is made of modules that only their own code can train.",
        "Train it there; the result can be exported.",
    )


class Learner(nn.Module):
    """A trainee with the temperatures that its recipe asks for, which are discarded later."""

    def __init__(self, trainee: Trainee, recipe: StudentRecipe, *, has_teachers: bool) -> None:
        super().__init__()
        self._trainee = trainee
        self.groups = trainee.prepare(recipe)
        self.student = trainee.module
        start = math.log(recipe.initial_scale)
        self.log_scale = nn.Parameter(torch.tensor(start)) if recipe.contrastive else None
        has_soft_scale = has_teachers and recipe.distribution
        self.log_soft_scale = nn.Parameter(torch.tensor(start)) if has_soft_scale else None
        scales = [value for value in (self.log_scale, self.log_soft_scale) if value is not None]
        self.groups.append({"params": scales, "lr": recipe.head_lr, "weight_decay": 0.0})

    def forward(
        self, photos: Tensor, ids: Tensor, mask: Tensor, captions: int
    ) -> dict[str, Tensor]:
        """Embed I photos and T texts from a reader; the first `captions` texts are captions, the
        others name classes -> image [I, D], text and names [T, D] in all, of unit
        length; scale and soft_scale [], if a loss needs them."""
        # Text first, so that its dropout does not depend on the image tower.
        text = self._trainee.embed_captions(ids, mask)
        out = {"image": self._trainee.embed_photos(photos), "text": text[:captions]}
        if captions < len(text):
            out["names"] = text[captions:]
        if self.log_scale is not None:
            out["scale"] = capped(self.log_scale)
        if self.log_soft_scale is not None:
            out["soft_scale"] = capped(self.log_soft_scale)
        return out


def evaluate_trainee(trainee: Trainee, reader: Reader, data: Dataset) -> Retrieval:
    """Return a float trainee's current recall on the pairs of `data`."""
    photos, captions = np.arange(data.paired_photos), np.arange(len(data.owner))
    images, texts = embed_rows(trainee, reader, photos, captions)
    return evaluate_retrieval(images.numpy(), texts.numpy(), data.owner)


@torch.no_grad()
def embed_rows(
    trainee: Trainee, reader: Reader, photos: Rows, captions: Rows
) -> tuple[Tensor, Tensor]:
    """A trainee's current embeddings of uncropped photos and captions, by row numbers: [I, dim] and
    [T, dim] float32 of unit length, on the CPU."""
    trainee.module.eval()
    device = device_of(trainee.module)
    images, texts = [], []
    for rows in np.array_split(photos, max(len(photos) // _PHOTOS_AT_ONCE, 1)):
        uncropped = Batch(rows, np.zeros_like(rows), rows[:0], 0)
        images.append(trainee.embed_photos(reader.photos(uncropped).to(device)).cpu())
    for start in range(0, len(captions), _CAPTIONS_AT_ONCE):
        ids, mask = reader.captions(captions[start : start + _CAPTIONS_AT_ONCE])
        texts.append(trainee.embed_captions(ids.to(device), mask.to(device)).cpu())
    return torch.cat(images), torch.cat(texts)
