"""A run that only shows that everything works here: small data, one look, one pass."""

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
from mcad_mobile.distill.batches import Ahead, fitted, what_changed
from mcad_mobile.distill.dataset import Batch, Dataset, Extra, Order, Views, dataset
from mcad_mobile.distill.device import accelerator, choices
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.fusion import Modified
from mcad_mobile.distill.labels import DualLabels
from mcad_mobile.distill.loop import Forward, Loop, Losses, Schedule, gather
from mcad_mobile.distill.losses import (
    at_widths,
    contrastive_loss,
    distribution_loss,
    feature_loss,
    order_loss,
)
from mcad_mobile.distill.naming import Naming, named_losses
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.distill.progress import WholeRun, planned
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.result import facts_of, fingerprint_of, finished, save
from mcad_mobile.distill.teachers.prepare import Teachers, class_labels_of, labels_of
from mcad_mobile.distill.trainees.load import AskedStudent, trainee_of
from mcad_mobile.distill.trainees.protocol import Learner, Reader, Trainee, embedded, retrieval_of
from mcad_mobile.errors import DataError, McadError
from mcad_mobile.students.evaluation import Retrieval
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.tokenizers.wordpiece import wordpiece_tokenizer

# The teachers' space in the student's width, which feature distillation compares in.

_TURNED_BY = 1000  # photos and captions: a rotation of 512 dimensions has 131,000 angles


def space_for(trainee: Trainee, dual: DualLabels, reader: Reader, data: Dataset) -> Tensor:
    """[D, dim] float32, orthonormal columns: the teachers' space narrowed to the student's width
    and, if the student embeds photos and captions already, turned to where its own space lies."""
    space = dual.principal(trainee.dim)
    if not trainee.has_a_space:
        return space
    photos = np.arange(min(data.paired_photos, _TURNED_BY))
    captions = np.arange(min(len(data.owner), _TURNED_BY))
    said = dual.of(Batch(photos, np.zeros_like(photos), captions, 0))
    return turned(space, torch.cat(said), torch.cat(embedded(trainee, reader, photos, captions)))


def turned(space: Tensor, teachers: Tensor, student: Tensor) -> Tensor:
    """`space` [D, dim] in the basis in which embeddings [N, D] of the teachers lie as near as they
    can to those of the student, [N, dim]: what was trained before has the least to unlearn. By a
    rotation (orthogonal Procrustes: Schoenemann, Psychometrika 31, 1966), so that cosines stay
    what they are."""
    narrowed = F.normalize(teachers @ space, dim=1)
    left, _, right = torch.linalg.svd(narrowed.double().T @ student.double())
    rotated: Tensor = space @ (left @ right).float()
    return rotated


# Distil a student: teachers, their labels, the student, its retrieval on the validation split.

Record = Callable[[int, dict[str, float]], None]
_LOOKS = 4  # at the validation split in a run: one takes a quarter of an epoch's time


@dataclass(frozen=True)
class Material:
    """What a student learns from. `val` chooses nothing: it is only looked at."""

    train: list[CaptionedPhoto]
    val: list[CaptionedPhoto]
    extra: Extra = field(default_factory=Extra)


def train(
    material: Material,
    out: Path,
    recipe: Recipe,
    cache_folder: Path,
    show: TimedProgress,
    teachers: Teachers | None = None,
    record: Record | None = None,
    ray: str | None = None,
    student: AskedStudent | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Retrieval:
    """Train a student and write it, its recipe.json and its training.json to `out`.

    A run that was cut off goes on from its last checkpoint when it is called again; one that was
    finished, with the same recipe, data and teachers, is not done again. Returns the retrieval on
    `val`; `record` is handed each step's losses, and `val/mean_recall` where it was looked at. What
    frozen models make of photos is computed on the Ray cluster at `ray`, if one is named.
    `student`: which one, None for the default. `say` is told, in a line, what differs from the
    recipe: batches that the data do not fill are made smaller.
    DataError, PhotoError: what is wrong with the data, StudentError: with the student, before
    training; TrainingError: it cannot go on. A run that ends so before its first checkpoint leaves
    nothing at `out`.
    """
    with _nothing_left(out):
        return _train(
            material,
            out,
            recipe,
            cache_folder,
            show,
            teachers or Teachers(),
            record,
            ray,
            student or AskedStudent(),
            say,
        )


def _train(
    material: Material,
    out: Path,
    asked: Recipe,
    cache_folder: Path,
    show: TimedProgress,
    teachers: Teachers,
    record: Record | None,
    ray: str | None,
    student: AskedStudent,
    say: Callable[[str], None],
) -> Retrieval:
    tokenizer = wordpiece_tokenizer(default_config().tokenizer, minilm_directory())
    data = dataset(material.train, tokenizer, material.extra.limited(asked.most_extra_captions))
    held_out = dataset(material.val, tokenizer, Extra())
    recipe = fitted(asked, data.paired_photos, accelerator().num_processes)
    if line := what_changed(asked, recipe, data.paired_photos):
        say(line)
    torch.manual_seed(recipe.seed)
    trainee = trainee_of(student, out.name, data, recipe)
    device = accelerator().device
    trainee.module.to(device)
    own = trainee.planned(data, len(material.val), recipe)
    parts = planned(
        data,
        recipe,
        teachers.how_many,
        bool(teachers.single),
        bool(teachers.classifier),
        own,
    )
    progress = WholeRun(parts, show)
    cache = FeatureCache(cache_folder, progress, ray)
    note = out / "arithmetic.json"
    computed = choices(recipe.arithmetic, note)
    arithmetic = computed[-1].arithmetic
    views = Views(recipe.views, recipe.extra_views)
    reader = trainee.reader(data, views, cache, arithmetic)
    validation = trainee.reader(held_out, Views(1, 0), cache, arithmetic)
    labels = labels_of(data, views, recipe, teachers, cache, arithmetic)
    classes = class_labels_of(data, views, recipe, teachers, cache, arithmetic)
    fingerprint = fingerprint_of(recipe, data, labels, classes, trainee)
    facts = facts_of(recipe, data, labels, classes, trainee, fingerprint)
    if known := finished(out, facts):
        _remove(note)
        return known

    torch.manual_seed(recipe.seed + 1)
    naming = Naming.of(classes, recipe, trainee.dim) if classes else None
    learner = Learner(trainee, recipe, taught=labels is not None, naming=naming)
    order = Order(
        data, recipe.batch, views, recipe.extra_photos, recipe.extra_captions, recipe.seed
    )
    if labels:
        order = replace(order, companions=labels.dual.companions(data))
    schedule = Schedule(
        recipe.epochs, order.steps_per_epoch, recipe.warmup, recipe.weight_decay, recipe.seed
    )
    checkpoint = out / "checkpoint.pt"
    loop = Loop(learner, learner.groups, schedule, checkpoint, fingerprint, "student", arithmetic)

    space = space_for(trainee, labels.dual, reader, data).to(device) if labels else None
    quantized_from = (recipe.epochs - recipe.qat_epochs) * order.steps_per_epoch

    def losses(forward: Forward, step: int) -> Losses:
        if learner.quantization and step >= quantized_from:
            learner.quantization.on = True
        batch = order.at(step)
        mine, photos, texts = loop.share(batch)
        order_of = {"image": photos, "text": texts}
        ids, mask = reader.captions(mine.captions)
        if naming:
            some, order_of["names"] = loop.share_rows(recipe.names)
            names = trainee.tokens(naming.texts(step, some))
            ids, mask = torch.cat([ids, names[0]]), torch.cat([mask, names[1]])
        made = forward(
            photos_at(step).to(device), ids.to(device), mask.to(device), len(mine.captions)
        )
        made = {
            name: gather(value)[order_of[name]] if name in order_of else value
            for name, value in made.items()
        }
        taught = labels.of(batch, recipe.teaching).to(device) if labels else None
        shown = naming.shown(batch, step, device) if naming else None

        def at(made: dict[str, Tensor], width: int) -> Losses:
            parts = _paired_losses(made, batch, recipe)
            if taught and space is not None:
                parts |= _taught_losses(made, taught, space[:, :width], recipe)
            if shown:
                parts |= named_losses(made, shown, recipe)
            return parts

        parts = at_widths(at, made, trainee.dim, recipe)
        if naming and shown:
            naming.classes.last.keep(made["image"], shown.said)
        return parts

    looks_apart = math.ceil(recipe.epochs / _LOOKS)
    result: list[Retrieval] = []

    def validate(epoch: int) -> str:
        if epoch % looks_apart and epoch < recipe.epochs:
            return "saved"
        result[:] = [retrieval_of(trainee, validation, held_out)]
        if record:
            record(loop.step, {"val/mean_recall": result[0].mean_recall})
        return f"val mR {result[0].mean_recall:.1f}"

    def mine_at(step: int) -> Tensor:
        return reader.photos(loop.share(order.at(step))[0])

    with Ahead(mine_at, schedule.steps) as photos_at:
        loop.run(losses, progress, validate, record)
    # Empty where a run was cut off after its last epoch.
    final = result[0] if result else retrieval_of(trainee, validation, held_out)
    if loop.accelerator.is_main_process:
        save(trainee, out, recipe, facts, computed, progress.minutes, final)
    loop.finish()
    _remove(note)
    if loop.accelerator.is_main_process:
        remove_partials(cache_folder)
    return final


@contextmanager
def _nothing_left(out: Path) -> Iterator[None]:
    """What an error of ours leaves at `out` before there is a checkpoint, is taken away."""
    there = out.exists()
    try:
        yield
    except McadError:
        if accelerator().is_main_process and not (out / "checkpoint.pt").exists():
            (out / "arithmetic.json").unlink(missing_ok=True)
            if not there:
                with suppress(OSError):  # it was not made, or holds something
                    out.rmdir()
        raise


def _paired_losses(made: dict[str, Tensor], batch: Batch, recipe: Recipe) -> Losses:
    if not recipe.contrastive:
        return {}
    image, text = made["image"][: batch.paired], made["text"][: batch.paired]
    return {"contrastive": recipe.contrastive * contrastive_loss(image, text, made["scale"])}


def _taught_losses(
    made: dict[str, Tensor], taught: Modified, space: Tensor, recipe: Recipe
) -> Losses:
    """`space` [D, dim] takes the teachers' embeddings to the student's width."""
    image, text = made["image"], made["text"]
    parts: Losses = {}
    if "soft_scale" in made:
        parts |= _compared(made["soft_scale"] * image @ text.T, taught, recipe)
    if recipe.feature:
        both = feature_loss(image, F.normalize(taught.image @ space, dim=1)) + feature_loss(
            text, F.normalize(taught.text @ space, dim=1)
        )
        parts["feature"] = recipe.feature * both / 2
    return parts


def _compared(logits: Tensor, taught: Modified, recipe: Recipe) -> Losses:
    parts: Losses = {}
    if recipe.distribution:
        teacher = taught.similarity / recipe.temperature
        parts["distribution"] = recipe.distribution * distribution_loss(
            logits, teacher, taught.candidates if recipe.teaching == "single" else None
        )
    if recipe.order:
        parts["order"] = recipe.order * order_loss(logits, taught.similarity, taught.candidates)
    return parts


def _remove(note: Path) -> None:
    if accelerator().is_main_process:
        note.unlink(missing_ok=True)


PHOTOS = 200
_HELD_OUT = 50


def smallest(recipe: Recipe) -> dict[str, object]:
    """Changes to `recipe` after which a run is as short as one can be that still goes through every
    part of it."""
    teachers = {**recipe.at_most(1)["teachers"], "views": 1, "members": 1}
    return {
        **recipe.at_most(1),
        "views": 1,
        "extra_views": 1,
        "batch": min(recipe.batch, 32),
        "candidates": min(recipe.candidates, 2),
        "names": min(recipe.names, 16),
        "last_photos": min(recipe.last_photos, 64),
        "qat_epochs": 0,
        "teachers": teachers,
    }


def first_of(material: Material) -> Material:
    """The first photos of each kind, with one caption."""
    extra = material.extra
    return Material(
        _briefly(material.train, PHOTOS),
        _briefly(material.val, _HELD_OUT),
        Extra(extra.photos[:PHOTOS], extra.captions[:PHOTOS]),
    )


def packaged_pairs() -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """The photos that installed packages ship, named by their files: three in four to train on.
    DataError where there are none."""
    pairs = [_named(path) for path in packaged_photos()]
    if len(pairs) < 4:
        raise DataError(
            "No photos to try it on: none of the packages that ship some is installed.",
            "Give yours by --data, or: pip install 'mcad-mobile[export]'.",
        )
    held_out = pairs[3::4]
    return [pair for pair in pairs if pair not in held_out], held_out


def _named(path: Path) -> CaptionedPhoto:
    return CaptionedPhoto(path, (f"a photo of {path.stem.replace('_', ' ')}",), "train")


def _briefly(photos: list[CaptionedPhoto], number: int) -> list[CaptionedPhoto]:
    return [replace(photo, captions=photo.captions[:1]) for photo in photos[:number]]
