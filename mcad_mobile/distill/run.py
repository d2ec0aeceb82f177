"""A distillation run: prepare teachers, label the data, train the student, evaluate and save it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.base.files import remove_partials
from mcad_mobile.base.progress import Progress
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.class_distillation import ClassDistillation, ClassTargets, class_losses
from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Extra, Views, dataset
from mcad_mobile.distill.device import accelerator, choose_arithmetic
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.fusion import JointLabels
from mcad_mobile.distill.labels import DualLabels
from mcad_mobile.distill.loop import (
    Forward,
    Loop,
    Losses,
    Prefetch,
    RecordMetrics,
    Schedule,
    gather,
)
from mcad_mobile.distill.losses import (
    at_widths,
    contrastive_loss,
    distribution_loss,
    feature_loss,
)
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import Recipe, describe_changes, fit_batches
from mcad_mobile.distill.result import Provenance, find_finished, save
from mcad_mobile.distill.teachers.prepare import label
from mcad_mobile.distill.teachers.protocol import Teachers
from mcad_mobile.distill.trainees import StudentChoice, load_trainee
from mcad_mobile.distill.trainees.protocol import (
    Learner,
    Reader,
    Trainee,
    embed_rows,
    evaluate_trainee,
)
from mcad_mobile.errors import DataError, McadError, install_line
from mcad_mobile.students.evaluation import Retrieval

_ALIGNED_ROWS = 1000  # photos and captions: a rotation of 512 dimensions has 131,000 angles
_EVALUATIONS = 4  # on the validation split per run: each takes a quarter of an epoch's time
SMOKE_PHOTOS = 200
_SMOKE_HELD_OUT = 50


@dataclass(frozen=True)
class Material:
    """The photos and captions of a run. `val` is only for evaluation: it selects nothing."""

    train: list[CaptionedPhoto]
    val: list[CaptionedPhoto]
    extra: Extra = field(default_factory=Extra)


@dataclass(frozen=True)
class RunOptions:
    """`ray`: the address of a cluster that encodes photos; `record` receives each step's losses and
    `val/mean_recall`; `note` receives a line when the run deviates from the recipe."""

    teachers: Teachers = field(default_factory=Teachers)
    student: StudentChoice = field(default_factory=StudentChoice)
    ray: str | None = None
    record: RecordMetrics = lambda step, values: None
    note: Callable[[str], None] = lambda line: None


def train(
    material: Material,
    out: Path,
    recipe: Recipe,
    cache_folder: Path,
    show: Progress,
    options: RunOptions | None = None,
) -> Retrieval:
    """Train a student into `out`, and return its recall on `material.val`. An interrupted run
    resumes from its last checkpoint; a finished one is not repeated. An error before the first
    checkpoint leaves nothing at `out`. DataError, PhotoError, StudentError, TrainingError."""
    existed = out.exists()
    try:
        return Run(material, out, recipe, cache_folder, show, options or RunOptions()).complete()
    except McadError:
        if accelerator().is_main_process and not existed:
            with suppress(OSError):  # it does not exist, or is not empty
                out.rmdir()
        raise


class PartTimer:
    """A Progress that adds up the time of each part of a run, a step's text before ": "."""

    def __init__(self, show: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._part = ""
        self._last = 0.0
        self._seconds: dict[str, float] = {}

    def __call__(self, step: str, done: int = 0, total: int = 0, /) -> None:
        part, now = step.partition(": ")[0], self._clock()
        if part == self._part:
            self._seconds[part] = self._seconds.get(part, 0.0) + now - self._last
        self._part, self._last = part, now
        self._show(step, done, total)

    @property
    def minutes(self) -> dict[str, float]:
        """Minutes per part."""
        return {part: round(seconds / 60, 2) for part, seconds in self._seconds.items()}


class Run:
    """One run of `train`. All stages share its attributes."""

    def __init__(
        self,
        material: Material,
        out: Path,
        recipe: Recipe,
        cache_folder: Path,
        show: Progress,
        options: RunOptions,
    ) -> None:
        tokenizer = minilm_tokenizer()
        extra = material.extra.limited(recipe.most_extra_captions)
        self.data = dataset(material.train, tokenizer, extra)
        self.held_out = dataset(material.val, tokenizer, Extra())
        photos = self.data.paired_photos
        self.recipe = fit_batches(recipe, photos, accelerator().num_processes)
        if line := describe_changes(recipe, self.recipe, photos):
            options.note(line)
        self.out = out
        self.options = options
        self.record = options.record
        torch.manual_seed(self.recipe.seed)
        self.trainee = load_trainee(options.student, out.name, self.data, self.recipe)
        self.device = accelerator().device
        self.trainee.module.to(self.device)
        self.progress = PartTimer(show)
        self.cache = FeatureCache(cache_folder, self.progress, options.ray)
        self.arithmetic = choose_arithmetic(self.recipe.arithmetic)
        self.views = Views(self.recipe.views, self.recipe.extra_views)

    def complete(self) -> Retrieval:
        """Go through all stages, or return the result if this run was finished before."""
        read, is_main = self.trainee.reader, accelerator().is_main_process
        self.reader = read(self.data, self.views, self.cache, self.arithmetic)
        self.validation = read(self.held_out, Views(1, 0), self.cache, self.arithmetic)
        self._label()
        found = find_finished(self.out, self.provenance)
        if found is None:
            self._prepare_training()
            found = self._train()
            if is_main:
                minutes = self.progress.minutes
                save(self.trainee, self.out, self.provenance, self.arithmetic, minutes, found)
            self.loop.finish()
            if is_main:
                remove_partials(self.cache.folder)
        return found

    def _label(self) -> None:
        recipe, teachers, arithmetic = self.recipe, self.options.teachers, self.arithmetic
        self.labels, self.class_labels = label(
            self.data, self.views, recipe, teachers, self.cache, arithmetic
        )
        self.provenance = Provenance.of(
            recipe, self.data, self.labels, self.class_labels, self.trainee
        )

    def _prepare_training(self) -> None:
        recipe, class_labels = self.recipe, self.class_labels
        self.space = self.classes = None
        if self.labels:
            most = self.trainee.dim * 3 // 4
            for_names = min(recipe.name_numbers, most) if class_labels else 0
            self.space, names = align_space(
                self.trainee, self.labels.dual, self.reader, self.data, for_names
            )
            if class_labels:
                self.classes = ClassDistillation(class_labels, recipe, names)
                if recipe.words:
                    self.classes.add_words(self.data, self._paired_targets(), recipe.words)
        with_imagined = None
        if class_labels and class_labels.imagined is not None and recipe.imagined:
            with_imagined = self.reader.with_imagined(class_labels.imagined)
        self.reader = with_imagined or self.reader
        torch.manual_seed(recipe.seed + 1)
        self.learner = Learner(self.trainee, recipe, has_teachers=self.labels is not None)
        companions = self.labels.dual.companions(self.data) if self.labels else None
        self.sampler = BatchSampler(
            self.data, recipe.batch, self.views, recipe.extra_photos, recipe.extra_captions,
            recipe.seed, companions, recipe.imagined if with_imagined else 0,
        )  # fmt: skip
        per_epoch = self.sampler.steps_per_epoch
        schedule = Schedule(
            recipe.epochs, per_epoch, recipe.warmup, recipe.weight_decay, recipe.seed
        )
        self.loop = Loop(
            self.learner, self.learner.groups, schedule, self.out / "checkpoint.pt",
            self.provenance.fingerprint, "student", self.arithmetic,
        )  # fmt: skip

    def _paired_targets(self) -> Tensor:
        """The targets of all paired photos [N, D], uncropped."""
        assert self.labels and self.classes
        photos = np.arange(self.data.paired_photos)
        batch = Batch(photos, np.zeros_like(photos), photos[:0], 0)
        return self._image_target(self.labels.dual.view("paired"), self.classes.targets(batch, 0))

    def _image_target(self, image: Tensor, targets: ClassTargets | None) -> Tensor:
        """The targets [I, D] of photos, from the teachers' embeddings of them and their classes."""
        assert self.space is not None
        target = F.normalize(image @ self.space, dim=1)
        return F.normalize(target + targets.mean_classes, dim=1) if targets else target

    def _train(self) -> Retrieval:
        def read_photos(step: int) -> Tensor:
            return self.reader.photos(self.loop.share(self.sampler.at(step))[0])

        latest: list[Retrieval] = []

        def evaluate(epoch: int) -> str:
            if epoch % math.ceil(self.recipe.epochs / _EVALUATIONS) and epoch < self.recipe.epochs:
                return "saved"
            latest[:] = [evaluate_trainee(self.trainee, self.validation, self.held_out)]
            recall = latest[0].mean_recall
            self.record(self.loop.step, {"val/mean_recall": recall})
            return f"val mR {recall:.1f}"

        with Prefetch(read_photos, self.loop.schedule.steps) as photos_at:
            self.loop.run(
                lambda forward, step: self._losses(forward, step, photos_at(step)),
                self.progress,
                evaluate,
                self.record,
            )
        if not latest:  # the run was interrupted after its last epoch
            evaluate(self.recipe.epochs)
        return latest[0]

    def _losses(self, forward: Forward, step: int, photos: Tensor) -> Losses:
        """The losses of one step. `photos`: this process's share, from the reader."""
        batch = self.sampler.at(step)
        embeddings = self._embed(forward, step, batch, photos)
        recipe, device = self.recipe, self.device
        labels = targets = None
        if self.labels and self.space is not None:
            # Captions describe an imagined photo as they describe its source.
            labels = self.labels.of(batch.real, recipe.teaching)
            if self.classes:
                targets = self.classes.targets(batch, step)
                embeddings["classes"] = targets.classes.to(device)
                embeddings["name_target"] = targets.prompt_classes.to(device)
            embeddings["image_target"] = self._image_target(labels.image, targets).to(device)
            embeddings["text_target"] = F.normalize(labels.text @ self.space, dim=1).to(device)
            labels = labels.to(device)

        def at(embeddings: dict[str, Tensor], width: int) -> Losses:
            parts = paired_losses(embeddings, batch, recipe)
            if labels:
                parts |= teacher_losses(embeddings, labels, recipe)
            if targets:
                rows = targets.log_probabilities.to(device)
                parts |= class_losses(embeddings, rows, recipe)
            return parts

        return at_widths(at, embeddings, self.trainee.dim, recipe)

    def _embed(
        self, forward: Forward, step: int, batch: Batch, photos: Tensor
    ) -> dict[str, Tensor]:
        """The student's embeddings of a batch, gathered from all processes: see Learner.forward."""
        share, photo_order, text_order = self.loop.share(batch)
        orders = {"image": photo_order, "text": text_order}
        ids, mask = self.reader.captions(share.captions)
        if self.classes:
            rows, orders["names"] = self.loop.share_rows(self.recipe.names)
            names = self.trainee.tokens(self.classes.texts(step, rows))
            ids, mask = torch.cat([ids, names[0]]), torch.cat([mask, names[1]])
        embeddings = forward(
            photos.to(self.device), ids.to(self.device), mask.to(self.device), len(share.captions)
        )
        return {
            name: gather(value)[orders[name]] if name in orders else value
            for name, value in embeddings.items()
        }


def align_space(
    trainee: Trainee, dual: DualLabels, reader: Reader, data: Dataset, for_names: int = 0
) -> tuple[Tensor, Tensor]:
    """Return orthonormal maps [D, dim] and [for_names, dim] float32 that take the teachers'
    embeddings and the class vectors to separate dimensions of the student's space. They are rotated
    to match a student that already embeds photos and captions."""
    space, names = interleave(dual.principal(trainee.dim - for_names), for_names)
    if not trainee.has_a_space:
        return space, names
    photos = np.arange(min(data.paired_photos, _ALIGNED_ROWS))
    captions = np.arange(min(len(data.owner), _ALIGNED_ROWS))
    teachers = torch.cat(dual.of(Batch(photos, np.zeros_like(photos), captions, 0)))
    student = torch.cat(embed_rows(trainee, reader, photos, captions))
    rotation = find_rotation(F.normalize(teachers @ space, dim=1), student)
    return space @ rotation, names @ rotation


def interleave(principal: Tensor, for_names: int) -> tuple[Tensor, Tensor]:
    """Widen `principal` [D, C] to [D, C + for_names], and return the map of names too, [for_names,
    C + for_names]. Two dimensions of names follow each of captions, strongest first, until one kind
    runs out, so that a student cut to its first dimensions keeps both."""
    for_captions = principal.shape[1]
    places = torch.cat([torch.arange(for_captions), torch.arange(for_names) / 2])
    interleaved = torch.eye(for_captions + for_names)[places.argsort(stable=True).argsort()]
    return principal @ interleaved[:for_captions], interleaved[for_captions:]


def find_rotation(teachers: Tensor, student: Tensor) -> Tensor:
    """Return the rotation [dim, dim] that brings the teachers' embeddings [N, dim] nearest to the
    student's [N, dim] (orthogonal Procrustes: Schoenemann, Psychometrika 31, 1966)."""
    left, _, right = torch.linalg.svd(teachers.double().T @ student.double())
    rotation: Tensor = (left @ right).float()
    return rotation


def paired_losses(embeddings: dict[str, Tensor], batch: Batch, recipe: Recipe) -> Losses:
    """The contrastive loss of a batch's pairs. `embeddings`: see Learner.forward."""
    if not recipe.contrastive:
        return {}
    image, text = embeddings["image"][: batch.paired], embeddings["text"][: batch.paired]
    return {"contrastive": recipe.contrastive * contrastive_loss(image, text, embeddings["scale"])}


def teacher_losses(embeddings: dict[str, Tensor], labels: JointLabels, recipe: Recipe) -> Losses:
    """The losses that pull a batch to the teachers' labels. `embeddings`: see Learner.forward, with
    their targets `image_target` and `text_target`."""
    image, text = embeddings["image"], embeddings["text"]
    parts: Losses = {}
    if "soft_scale" in embeddings:
        logits = embeddings["soft_scale"] * image @ text.T
        if recipe.distribution:
            teacher = labels.similarity / recipe.temperature
            candidates = labels.candidates if recipe.teaching == "single" else None
            parts["distribution"] = recipe.distribution * distribution_loss(
                logits, teacher, candidates
            )
    if recipe.feature:
        feature = feature_loss(image, embeddings["image_target"])
        feature = feature + feature_loss(text, embeddings["text_target"])
        parts["feature"] = recipe.feature * feature / 2
    return parts


def smoke_changes(recipe: Recipe) -> dict[str, object]:
    """Changes to `recipe` for the shortest run that still goes through every part of it."""
    passes = recipe.at_most(1)
    return {
        **passes,
        "views": 1,
        "extra_views": 1,
        "batch": min(recipe.batch, 32),
        "candidates": min(recipe.candidates, 2),
        "names": min(recipe.names, 16),
        "imagined": min(recipe.imagined, 16),
        "teachers": {**passes["teachers"], "views": 1, "members": 1},
    }


def limit_to_smoke(material: Material) -> Material:
    """The first photos of each split, with one caption each, and as many extra ones."""

    def first(photos: list[CaptionedPhoto], number: int) -> list[CaptionedPhoto]:
        return [replace(photo, captions=photo.captions[:1]) for photo in photos[:number]]

    extra = Extra(material.extra.photos[:SMOKE_PHOTOS], material.extra.captions[:SMOKE_PHOTOS])
    return Material(
        first(material.train, SMOKE_PHOTOS), first(material.val, _SMOKE_HELD_OUT), extra
    )


def packaged_pairs() -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """Photos from packages, captioned by file name: three in four, and the held-out rest."""
    pairs = [
        CaptionedPhoto(path, (f"a photo of {path.stem.replace('_', ' ')}",), "train")
        for path in packaged_photos()
    ]
    if len(pairs) < 4:
        raise DataError(
            "There are no photos to try it on: no installed package ships any.",
            f"Give yours by --data, or: {install_line('export')}.",
        )
    held_out = pairs[3::4]
    return [pair for pair in pairs if pair not in held_out], held_out
