"""A distillation run: prepare the teachers, label the photos and captions, train the student,
evaluate it on the validation split and save it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.base.files import remove_partials
from mcad_mobile.base.progress import TimedProgress
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.batches import Prefetch, describe_changes, fit_batches
from mcad_mobile.distill.class_distillation import ClassDistillation, class_losses
from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Extra, Views, dataset
from mcad_mobile.distill.device import accelerator, choices
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.fusion import Modified
from mcad_mobile.distill.labels import DualLabels
from mcad_mobile.distill.loop import Forward, Loop, Losses, RecordMetrics, Schedule, gather
from mcad_mobile.distill.losses import (
    at_widths,
    contrastive_loss,
    distribution_loss,
    feature_loss,
    order_loss,
)
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.distill.progress import WholeRun, plan_parts
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.result import Provenance, find_finished, save
from mcad_mobile.distill.teachers.prepare import Teachers, label_by_classifier, label_by_teachers
from mcad_mobile.distill.trainees.load import StudentChoice, load_trainee
from mcad_mobile.distill.trainees.protocol import (
    Learner,
    Reader,
    Trainee,
    embed_rows,
    evaluate_trainee,
)
from mcad_mobile.errors import DataError, McadError
from mcad_mobile.students.evaluation import Retrieval
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.tokenizers.wordpiece import wordpiece_tokenizer

_ALIGNED_ROWS = 1000  # photos and captions: a rotation of 512 dimensions has 131,000 angles
_EVALUATIONS = 4  # of the validation split in a run: each takes a quarter of an epoch's time
SMOKE_PHOTOS = 200
_SMOKE_HELD_OUT = 50


@dataclass(frozen=True)
class Material:
    """The photos and captions of a run. `val` is only evaluated: nothing is chosen by it."""

    train: list[CaptionedPhoto]
    val: list[CaptionedPhoto]
    extra: Extra = field(default_factory=Extra)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside its data and its recipe.

    Attributes:
        teachers: by default the reference teachers, which are trained first.
        student: by default ours, from published weights.
        ray: address of the Ray cluster on which frozen models encode the photos.
        record: called with each step's losses, and with `val/mean_recall` after an evaluation.
        note: called with a line for people when the run deviates from the recipe.
    """

    teachers: Teachers = field(default_factory=Teachers)
    student: StudentChoice = field(default_factory=StudentChoice)
    ray: str | None = None
    record: RecordMetrics | None = None
    note: Callable[[str], None] = lambda line: None


def train(
    material: Material,
    out: Path,
    recipe: Recipe,
    cache_folder: Path,
    show: TimedProgress,
    options: RunOptions | None = None,
) -> Retrieval:
    """Train a student and write it, its recipe.json and its training.json to `out`.

    A run that was cut off continues from its last checkpoint when it is called again. A run that
    was finished with the same recipe, data and teachers is not repeated. Batches that the data do
    not fill are made smaller. An error before the first checkpoint leaves nothing at `out`.

    Args:
        material: captioned photos to train on and to evaluate on.
        out: folder of the student.
        recipe: how to train it.
        cache_folder: where features, teachers and their labels are kept.
        show: called with the progress of the whole run.
        options: teachers, student, Ray cluster and callbacks; None for the defaults.

    Returns:
        The student's Recall@K on `material.val`.

    Raises:
        DataError, PhotoError: something is wrong with the data.
        StudentError: the student cannot be loaded or exported; raised before training.
        TrainingError: the run cannot continue.
    """
    with _clean_up_on_error(out):
        run = Run(material, out, recipe, cache_folder, show, options or RunOptions())
        return run.complete()


class Run:
    """One run of `train`. Its attributes are what all of its stages share."""

    def __init__(
        self,
        material: Material,
        out: Path,
        recipe: Recipe,
        cache_folder: Path,
        show: TimedProgress,
        options: RunOptions,
    ) -> None:
        tokenizer = wordpiece_tokenizer(default_config().tokenizer, minilm_directory())
        extra = material.extra.limited(recipe.most_extra_captions)
        self.data = dataset(material.train, tokenizer, extra)
        self.held_out = dataset(material.val, tokenizer, Extra())
        photos = self.data.paired_photos
        self.recipe = fit_batches(recipe, photos, accelerator().num_processes)
        if line := describe_changes(recipe, self.recipe, photos):
            options.note(line)
        self.out = out
        self.options = options
        torch.manual_seed(self.recipe.seed)
        self.trainee = load_trainee(options.student, out.name, self.data, self.recipe)
        self.device = accelerator().device
        self.trainee.module.to(self.device)
        own_parts = self.trainee.plan_parts(self.data, len(material.val), self.recipe)
        self.progress = WholeRun(
            plan_parts(self.data, self.recipe, options.teachers.given, own_parts), show
        )
        self.cache = FeatureCache(cache_folder, self.progress, options.ray)
        self._arithmetic_note = out / "arithmetic.json"
        self.arithmetics = choices(self.recipe.arithmetic, self._arithmetic_note)
        self.arithmetic = self.arithmetics[-1].arithmetic
        self.views = Views(self.recipe.views, self.recipe.extra_views)

    def complete(self) -> Retrieval:
        """Go through all stages, or return the result of the same run if it was finished."""
        read = self.trainee.reader
        self.reader = read(self.data, self.views, self.cache, self.arithmetic)
        self.validation = read(self.held_out, Views(1, 0), self.cache, self.arithmetic)
        self._label()
        found = find_finished(self.out, self.provenance)
        if found is None:
            self._prepare_training()
            found = self._train()
            if accelerator().is_main_process:
                minutes = self.progress.minutes
                save(self.trainee, self.out, self.provenance, self.arithmetics, minutes, found)
            self.loop.finish()
            if accelerator().is_main_process:
                remove_partials(self.cache.folder)
        if accelerator().is_main_process:
            self._arithmetic_note.unlink(missing_ok=True)
        return found

    def _label(self) -> None:
        """Ask the teachers, which are trained first where they are not given."""
        recipe, teachers, arithmetic = self.recipe, self.options.teachers, self.arithmetic
        self.labels = label_by_teachers(
            self.data, self.views, recipe, teachers, self.cache, arithmetic
        )
        class_labels = label_by_classifier(
            self.data, self.views, recipe, teachers, self.cache, arithmetic
        )
        self.provenance = Provenance.of(recipe, self.data, self.labels, class_labels, self.trainee)
        torch.manual_seed(recipe.seed + 1)
        self.classes = (
            ClassDistillation.of(class_labels, recipe, self.trainee.dim) if class_labels else None
        )

    def _prepare_training(self) -> None:
        recipe = self.recipe
        self.learner = Learner(
            self.trainee, recipe, taught=self.labels is not None, classes=self.classes
        )
        self.sampler = BatchSampler(
            self.data, recipe.batch, self.views, recipe.extra_photos, recipe.extra_captions,
            recipe.seed,
            companions=self.labels.dual.companions(self.data) if self.labels else None,
        )  # fmt: skip
        per_epoch = self.sampler.steps_per_epoch
        schedule = Schedule(
            recipe.epochs, per_epoch, recipe.warmup, recipe.weight_decay, recipe.seed
        )
        self.loop = Loop(
            self.learner, self.learner.groups, schedule, self.out / "checkpoint.pt",
            self.provenance.fingerprint, "student", self.arithmetic,
        )  # fmt: skip
        self.first_quantized_step = (recipe.epochs - recipe.qat_epochs) * per_epoch
        self.space = None
        if self.labels:
            space = align_space(self.trainee, self.labels.dual, self.reader, self.data)
            self.space = space.to(self.device)

    def _train(self) -> Retrieval:
        def read_photos(step: int) -> Tensor:
            return self.reader.photos(self.loop.share(self.sampler.at(step))[0])

        latest: list[Retrieval] = []

        def evaluate(epoch: int) -> str:
            if epoch % math.ceil(self.recipe.epochs / _EVALUATIONS) and epoch < self.recipe.epochs:
                return "saved"
            latest[:] = [evaluate_trainee(self.trainee, self.validation, self.held_out)]
            recall = latest[0].mean_recall
            if self.options.record:
                self.options.record(self.loop.step, {"val/mean_recall": recall})
            return f"val mR {recall:.1f}"

        with Prefetch(read_photos, self.loop.schedule.steps) as photos_at:
            self.loop.run(
                lambda forward, step: self._losses(forward, step, photos_at(step)),
                self.progress,
                evaluate,
                self.options.record,
            )
        # Empty where a run was cut off after its last epoch.
        return latest[0] if latest else evaluate_trainee(
            self.trainee, self.validation, self.held_out
        )  # fmt: skip

    def _losses(self, forward: Forward, step: int, photos: Tensor) -> Losses:
        """The losses of one step. `photos`: what the reader gives of this process's share."""
        if self.learner.quantization and step >= self.first_quantized_step:
            self.learner.quantization.on = True
        batch = self.sampler.at(step)
        embeddings = self._embed(forward, step, batch, photos)
        recipe, space, classes = self.recipe, self.space, self.classes
        taught = self.labels.of(batch, recipe.teaching).to(self.device) if self.labels else None
        targets = classes.targets(batch, step, self.device) if classes else None

        def at(embeddings: dict[str, Tensor], width: int) -> Losses:
            parts = paired_losses(embeddings, batch, recipe)
            if taught and space is not None:
                parts |= taught_losses(embeddings, taught, space[:, :width], recipe)
            if targets:
                parts |= class_losses(embeddings, targets, recipe)
            return parts

        parts = at_widths(at, embeddings, self.trainee.dim, recipe)
        if classes and targets:
            classes.vectors.memory.keep(embeddings["image"], targets.log_probabilities)
        return parts

    def _embed(
        self, forward: Forward, step: int, batch: Batch, photos: Tensor
    ) -> dict[str, Tensor]:
        """The student's embeddings of a batch, gathered from all processes: see Learner.forward."""
        mine, photo_order, text_order = self.loop.share(batch)
        orders = {"image": photo_order, "text": text_order}
        ids, mask = self.reader.captions(mine.captions)
        if self.classes:
            rows, orders["names"] = self.loop.share_rows(self.recipe.names)
            names = self.trainee.tokens(self.classes.texts(step, rows))
            ids, mask = torch.cat([ids, names[0]]), torch.cat([mask, names[1]])
        embeddings = forward(
            photos.to(self.device), ids.to(self.device), mask.to(self.device), len(mine.captions)
        )
        return {
            name: gather(value)[orders[name]] if name in orders else value
            for name, value in embeddings.items()
        }


@contextmanager
def _clean_up_on_error(out: Path) -> Iterator[None]:
    """Remove what an error of ours leaves at `out` before there is a checkpoint."""
    existed = out.exists()
    try:
        yield
    except McadError:
        if accelerator().is_main_process and not (out / "checkpoint.pt").exists():
            (out / "arithmetic.json").unlink(missing_ok=True)
            if not existed:
                with suppress(OSError):  # it was not made, or holds something
                    out.rmdir()
        raise


def align_space(trainee: Trainee, dual: DualLabels, reader: Reader, data: Dataset) -> Tensor:
    """[D, dim] float32, orthonormal columns: the teachers' space narrowed to the student's width,
    in which feature distillation compares. If the student embeds photos and captions already, it
    is rotated to the student's own space."""
    space = dual.principal(trainee.dim)
    if not trainee.has_a_space:
        return space
    photos = np.arange(min(data.paired_photos, _ALIGNED_ROWS))
    captions = np.arange(min(len(data.owner), _ALIGNED_ROWS))
    teachers = torch.cat(dual.of(Batch(photos, np.zeros_like(photos), captions, 0)))
    return rotate_space(space, teachers, torch.cat(embed_rows(trainee, reader, photos, captions)))


def rotate_space(space: Tensor, teachers: Tensor, student: Tensor) -> Tensor:
    """`space` [D, dim] in the basis in which embeddings [N, D] of the teachers lie as near as they
    can to those of the student, [N, dim]: what was trained before has the least to unlearn. By a
    rotation (orthogonal Procrustes: Schoenemann, Psychometrika 31, 1966), so that cosines stay
    what they are."""
    narrowed = F.normalize(teachers @ space, dim=1)
    left, _, right = torch.linalg.svd(narrowed.double().T @ student.double())
    rotated: Tensor = space @ (left @ right).float()
    return rotated


def paired_losses(embeddings: dict[str, Tensor], batch: Batch, recipe: Recipe) -> Losses:
    """The contrastive loss of a batch's pairs. `embeddings`: see Learner.forward."""
    if not recipe.contrastive:
        return {}
    image, text = embeddings["image"][: batch.paired], embeddings["text"][: batch.paired]
    return {"contrastive": recipe.contrastive * contrastive_loss(image, text, embeddings["scale"])}


def taught_losses(
    embeddings: dict[str, Tensor], taught: Modified, space: Tensor, recipe: Recipe
) -> Losses:
    """The losses by which a batch is drawn to the teachers'. `space` [D, dim] takes the teachers'
    embeddings to the student's width; a weight of zero leaves a loss out."""
    image, text = embeddings["image"], embeddings["text"]
    parts: Losses = {}
    if "soft_scale" in embeddings:
        logits = embeddings["soft_scale"] * image @ text.T
        if recipe.distribution:
            teacher = taught.similarity / recipe.temperature
            among = taught.candidates if recipe.teaching == "single" else None
            parts["distribution"] = recipe.distribution * distribution_loss(logits, teacher, among)
        if recipe.order:
            order = order_loss(logits, taught.similarity, taught.candidates)
            parts["order"] = recipe.order * order
    if recipe.feature:
        both = feature_loss(image, F.normalize(taught.image @ space, dim=1)) + feature_loss(
            text, F.normalize(taught.text @ space, dim=1)
        )
        parts["feature"] = recipe.feature * both / 2
    return parts


def smoke_changes(recipe: Recipe) -> dict[str, object]:
    """Changes to `recipe` after which a run is as short as one can be that still goes through every
    part of it."""
    passes = recipe.at_most(1)
    return {
        **passes,
        "views": 1,
        "extra_views": 1,
        "batch": min(recipe.batch, 32),
        "candidates": min(recipe.candidates, 2),
        "names": min(recipe.names, 16),
        "last_photos": min(recipe.last_photos, 64),
        "qat_epochs": 0,
        "teachers": {**passes["teachers"], "views": 1, "members": 1},
    }


def limit_to_smoke(material: Material) -> Material:
    """The first photos of each split, with one caption each, and as many extra ones."""
    extra = material.extra
    return Material(
        _limit(material.train, SMOKE_PHOTOS),
        _limit(material.val, _SMOKE_HELD_OUT),
        Extra(extra.photos[:SMOKE_PHOTOS], extra.captions[:SMOKE_PHOTOS]),
    )


def _limit(photos: list[CaptionedPhoto], number: int) -> list[CaptionedPhoto]:
    return [replace(photo, captions=photo.captions[:1]) for photo in photos[:number]]


def packaged_pairs() -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """The photos that installed packages ship, captioned by their file names: three in four to
    train on, the others held out. DataError where there are none."""
    pairs = [
        CaptionedPhoto(path, (f"a photo of {path.stem.replace('_', ' ')}",), "train")
        for path in packaged_photos()
    ]
    if len(pairs) < 4:
        raise DataError(
            "No photos to try it on: none of the packages that ship some is installed.",
            "Give yours by --data, or: pip install 'mcad-mobile[export]'.",
        )
    held_out = pairs[3::4]
    return [pair for pair in pairs if pair not in held_out], held_out
