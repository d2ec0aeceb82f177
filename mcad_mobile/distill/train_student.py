"""A distillation run: prepare teachers, label the data, train the student, evaluate and save it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.base.progress import Progress
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.distill.accelerator import accelerator, choose_arithmetic
from mcad_mobile.distill.class_distillation import (
    ClassDistillation,
    ClassLabels,
    ClassTargets,
    class_losses,
)
from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Extra, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import DualLabels, JointLabels, Labels
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
    ranking_loss,
)
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import StudentRecipe, fit_batches
from mcad_mobile.distill.result import Provenance, check_out, find_finished, save
from mcad_mobile.distill.teachers.prepare import label
from mcad_mobile.distill.teachers.teacher import Teachers
from mcad_mobile.distill.trainee import (
    Learner,
    Reader,
    StudentChoice,
    Trainee,
    embed_rows,
    evaluate_trainee,
    load_trainee,
)
from mcad_mobile.errors import DataError, install_line
from mcad_mobile.recall import Retrieval

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
    """`record` receives each step's losses and `val/mean_recall`; `note` receives a line when the
    run deviates from the recipe; `may_replace`: whether a student that another run finished may be
    overwritten."""

    teachers: Teachers = field(default_factory=Teachers)
    student: StudentChoice = field(default_factory=StudentChoice)
    record: RecordMetrics = lambda step, values: None
    note: Callable[[str], None] = lambda line: None
    may_replace: bool = True


def train(
    material: Material,
    out: Path,
    recipe: StudentRecipe,
    cache_folder: Path,
    show: Progress,
    options: RunOptions | None = None,
) -> Retrieval:
    """Train a student into `out`, and return its recall on `material.val`. An interrupted run
    resumes from its last checkpoint; a finished one is not repeated. DataError, PhotoError,
    StudentError, TrainingError."""
    options = options or RunOptions()
    started = time.monotonic()
    check_out(out, options.student.folder)
    tokenizer, is_main = minilm_tokenizer(), accelerator().is_main_process
    data = dataset(material.train, tokenizer, material.extra.limited(recipe.most_extra_captions))
    held_out = dataset(material.val, tokenizer, Extra())
    given, recipe = recipe, fit_batches(recipe, data.paired_photos, accelerator().num_processes)
    if recipe != given:
        few = f"there are {data.paired_photos} captioned photos, too few for the recipe"
        options.note(f"{few}: its batches are smaller, as recipe.json says")
    torch.manual_seed(recipe.seed)
    trainee = load_trainee(options.student, out.name, data, recipe)
    trainee.module.to(accelerator().device)
    cache = FeatureCache(cache_folder, show)
    arithmetic = choose_arithmetic(recipe.arithmetic)
    views = Views(recipe.views, recipe.extra_views)
    reader = trainee.reader(data, views, cache, arithmetic)
    validation = trainee.reader(held_out, Views(1, 0), cache, arithmetic)
    imagines = recipe.imagined > 0 and options.student.kind == "mcad"
    labels, class_labels = label(data, views, recipe, options.teachers, cache, arithmetic, imagines)
    provenance = Provenance.of(recipe, data, labels, class_labels, trainee)
    if finished := find_finished(out, provenance, may_replace=options.may_replace):
        return finished

    targets = Targets.of(labels, class_labels, trainee, reader, data, recipe) if labels else None
    imagined = class_labels.imagined if class_labels else None
    if imagined is not None:
        reader = trainee.reader(data, views, cache, arithmetic, imagined)
    torch.manual_seed(recipe.seed + 1)
    learner = Learner(trainee, recipe, has_teachers=labels is not None)
    sampler = BatchSampler(
        data, recipe.batch, views, recipe.extra_photos, recipe.extra_captions, recipe.seed,
        labels.dual.companions(data) if labels else None,
        0 if imagined is None else recipe.imagined,
    )  # fmt: skip
    schedule = Schedule(
        recipe.epochs, sampler.steps_per_epoch, recipe.warmup, recipe.weight_decay, recipe.seed
    )
    loop = Loop(
        learner, learner.groups, schedule, out / "checkpoint.pt", provenance.fingerprint,
        "student", arithmetic,
    )  # fmt: skip
    training = StudentTraining(trainee, recipe, reader, sampler, loop, targets)
    validate = partial(evaluate_trainee, trainee, validation, held_out)
    found = training.run(validate, show, options.record)
    if is_main:
        save(trainee, out, provenance, arithmetic, time.monotonic() - started, found)
    loop.finish()
    if is_main:
        cache.remove_abandoned()
    return found


@dataclass(frozen=True)
class Targets:
    """What the teachers teach: their labels, which `space` [D, dim] maps to the student's space,
    and their classes."""

    labels: Labels
    space: Tensor
    classes: ClassDistillation | None = None

    @staticmethod
    def of(
        labels: Labels,
        class_labels: ClassLabels | None,
        trainee: Trainee,
        reader: Reader,
        data: Dataset,
        recipe: StudentRecipe,
    ) -> Targets:
        for_names = min(recipe.name_numbers, trainee.dim * 3 // 4) if class_labels else 0
        space, names = align_space(trainee, labels.dual, reader, data, for_names)
        if not class_labels:
            return Targets(labels, space)
        classes = ClassDistillation(class_labels, recipe, names)
        targets = Targets(labels, space, classes)
        if recipe.words:
            photos = np.arange(data.paired_photos)
            uncropped = classes.targets(Batch(photos, np.zeros_like(photos), photos[:0], 0), 0)
            paired = targets.of_photos(labels.dual.view("paired"), uncropped)
            classes.add_words(data, paired, recipe.words)
        return targets

    def of_photos(self, photos: Tensor, classes: ClassTargets | None) -> Tensor:
        """The targets [I, D] of photos, from the teachers' embeddings of them and their classes."""
        target = F.normalize(photos @ self.space, dim=1)
        return F.normalize(target + classes.mean_classes, dim=1) if classes else target


@dataclass(frozen=True)
class StudentTraining:
    """The steps that train a student."""

    trainee: Trainee
    recipe: StudentRecipe
    reader: Reader
    sampler: BatchSampler
    loop: Loop
    targets: Targets | None

    def run(
        self, validate: Callable[[], Retrieval], progress: Progress, record: RecordMetrics
    ) -> Retrieval:
        """Train to the end, and return the last evaluation."""

        def read_photos(step: int) -> Tensor:
            return self.reader.photos(self.loop.share(self.sampler.at(step))[0])

        latest: list[Retrieval] = []

        def after_epoch(epoch: int) -> str:
            if epoch % math.ceil(self.recipe.epochs / _EVALUATIONS) and epoch < self.recipe.epochs:
                return "saved"
            latest[:] = [validate()]
            recall = latest[0].mean_recall
            record(self.loop.step, {"val/mean_recall": recall})
            return f"val mR {recall:.1f}"

        with Prefetch(read_photos, self.loop.schedule.steps) as photos_at:
            self.loop.run(
                lambda forward, step: self._losses(forward, step, photos_at(step)),
                progress,
                after_epoch,
                record,
            )
        if not latest:  # the run was interrupted after its last epoch
            after_epoch(self.recipe.epochs)
        return latest[0]

    def _losses(self, forward: Forward, step: int, photos: Tensor) -> Losses:
        """The losses of one step. `photos`: this process's share, from the reader."""
        batch = self.sampler.at(step)
        embeddings = self._embed(forward, step, batch, photos)
        recipe, device = self.recipe, accelerator().device
        labels = classes = None
        if self.targets:
            # Captions describe an imagined photo as they describe its source.
            labels = self.targets.labels.of(batch.real)
            if self.targets.classes:
                classes = self.targets.classes.targets(batch, step)
                embeddings["classes"] = classes.classes.to(device)
                embeddings["name_target"] = classes.prompt_classes.to(device)
            text = F.normalize(labels.text @ self.targets.space, dim=1)
            embeddings["image_target"] = self.targets.of_photos(labels.image, classes).to(device)
            embeddings["text_target"] = text.to(device)

        def at(embeddings: dict[str, Tensor], width: int) -> Losses:
            parts = paired_losses(embeddings, batch, recipe)
            if labels:
                parts |= teacher_losses(embeddings, labels, recipe)
            if classes:
                rows = classes.log_probabilities.to(device)
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
        if self.targets and self.targets.classes:
            rows, orders["names"] = self.loop.share_rows(self.recipe.names)
            names = self.trainee.tokens(self.targets.classes.texts(step, rows))
            ids, mask = torch.cat([ids, names[0]]), torch.cat([mask, names[1]])
        inputs = (rows.to(accelerator().device) for rows in (photos, ids, mask))
        embeddings = forward(*inputs, len(share.captions))
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


def paired_losses(embeddings: dict[str, Tensor], batch: Batch, recipe: StudentRecipe) -> Losses:
    """The contrastive loss of a batch's pairs. `embeddings`: see Learner.forward."""
    if not recipe.contrastive:
        return {}
    image, text = embeddings["image"][: batch.paired], embeddings["text"][: batch.paired]
    return {"contrastive": recipe.contrastive * contrastive_loss(image, text, embeddings["scale"])}


def teacher_losses(
    embeddings: dict[str, Tensor], labels: JointLabels, recipe: StudentRecipe
) -> Losses:
    """The losses that pull a batch to the teachers' labels. `embeddings`: see Learner.forward, with
    their targets `image_target` and `text_target`."""
    image, text = embeddings["image"], embeddings["text"]
    parts: Losses = {}
    if recipe.distribution:
        logits = embeddings["soft_scale"] * image @ text.T
        teacher = labels.similarity.to(logits.device) / recipe.temperature
        parts["distribution"] = recipe.distribution * distribution_loss(logits, teacher)
    if labels.order is not None:
        logits = embeddings["soft_scale"] * image @ text.T
        order = labels.order.to(logits.device)
        parts["ranking"] = recipe.ranking * ranking_loss(logits, order)
    if recipe.feature:
        feature = feature_loss(image, embeddings["image_target"])
        feature = feature + feature_loss(text, embeddings["text_target"])
        parts["feature"] = recipe.feature * feature / 2
    return parts


def smoke_changes(recipe: StudentRecipe) -> dict[str, object]:
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


def packaged_pairs(photos: list[Path]) -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """Photos from packages, captioned by file name: three in four, and the held-out rest."""
    pairs = [
        CaptionedPhoto(path, (f"a photo of {path.stem.replace('_', ' ')}",), "train")
        for path in photos
    ]
    if len(pairs) < 4:
        raise DataError(
            "There are no photos to try it on: no installed package ships any.",
            f"Give yours by --data, or: {install_line('export')}.",
        )
    held_out = pairs[3::4]
    return [pair for pair in pairs if pair not in held_out], held_out
