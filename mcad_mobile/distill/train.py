"""Distil a student: teachers, their labels, the student, its retrieval on the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.distill.arithmetic import choices
from mcad_mobile.distill.dataset import Batch, Dataset, Extra, Order, Views, dataset
from mcad_mobile.distill.device import accelerator, device_of
from mcad_mobile.distill.features import FeatureCache, PhotoRows
from mcad_mobile.distill.fusion import Modified
from mcad_mobile.distill.labels import Labels, dual_labels, single_labels
from mcad_mobile.distill.loop import Forward, Loop, Losses, Schedule, gather
from mcad_mobile.distill.losses import (
    contrastive_loss,
    distribution_loss,
    feature_loss,
    order_loss,
)
from mcad_mobile.distill.packed import by_length
from mcad_mobile.distill.partial import remove_partials
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.distill.progress import Show, WholeRun, planned
from mcad_mobile.distill.recipe import Arithmetic, Recipe
from mcad_mobile.distill.result import facts_of, fingerprint_of, is_finished, save
from mcad_mobile.distill.student import (
    Learner,
    embed_grids,
    fresh_student,
    trunk,
)
from mcad_mobile.distill.teachers.protocol import DualStreamTeacher, SingleStreamTeacher
from mcad_mobile.distill.teachers.region_text import RegionTextTeacher
from mcad_mobile.distill.teachers.train import School, train_duals, train_fusion, train_single
from mcad_mobile.distill.teachers.word_region import WordRegionTeacher
from mcad_mobile.errors import TeacherError, TrainingError
from mcad_mobile.evaluate import Retrieval, evaluate_retrieval
from mcad_mobile.students.mcad import McadStudent, default_config
from mcad_mobile.students.wordpiece import wordpiece_tokenizer

Record = Callable[[int, dict[str, float]], None]
_LOOKS = 4  # at the validation split in a run: one takes a quarter of an epoch's time


@dataclass(frozen=True)
class Material:
    """What a student learns from. `val` chooses nothing: it is only looked at."""

    train: list[CaptionedPhoto]
    val: list[CaptionedPhoto]
    extra: Extra = field(default_factory=Extra)


@dataclass(frozen=True)
class Teachers:
    """None stands for the reference teachers, trained on the pairs at hand."""

    dual: Sequence[DualStreamTeacher] | None = None
    single: SingleStreamTeacher | None = None

    @property
    def how_many(self) -> int | None:
        return len(self.dual) if self.dual else None


def train(
    material: Material,
    out: Path,
    recipe: Recipe,
    cache_folder: Path,
    show: Show,
    teachers: Teachers | None = None,
    record: Record | None = None,
    ray: str | None = None,
) -> Retrieval:
    """Train a student and write it, its recipe.json and its training.json to `out`.

    A run that was cut off goes on from its last checkpoint when it is called again; one that was
    finished, with the same recipe, data and teachers, is not done again. Returns the retrieval on
    `val`; `record` is handed each step's losses, and `val/mean_recall` where it was looked at. What
    frozen models make of photos is computed on the Ray cluster at `ray`, if one is named.
    DataError, PhotoError: what is wrong with the data, before training; TrainingError: it cannot
    go on.
    """
    config = default_config(out.name)
    tokenizer = wordpiece_tokenizer(config.tokenizer, minilm_directory())
    extra = material.extra.limited(recipe.most_extra_captions)
    data = dataset(material.train, tokenizer, extra)
    held_out = dataset(material.val, tokenizer, Extra())
    _check_batch(data, recipe)
    teachers = teachers or Teachers()
    parts = planned(data, len(material.val), recipe, teachers.how_many, bool(teachers.single))
    progress = WholeRun(parts, show)
    cache = FeatureCache(cache_folder, progress, ray)
    note = out / "arithmetic.json"
    computed = choices(recipe.arithmetic, note)
    arithmetic = computed[-1].arithmetic
    torch.manual_seed(recipe.seed)
    device = accelerator().device
    student = fresh_student(config, _token_counts(data, config.text.vocab)).to(device)
    views = Views(recipe.views, recipe.extra_views)
    features = trunk(student, arithmetic).rows(data, views, cache)
    validation = trunk(student, arithmetic).rows(held_out, Views(1, 0), cache)
    labels = _labels(data, views, recipe, teachers, cache, arithmetic)
    fingerprint = fingerprint_of(recipe, data, labels)
    facts = facts_of(data, labels, fingerprint)
    if is_finished(out, facts):
        _remove(note)
        return _retrieval(McadStudent.load(out).to(device), validation, held_out)

    torch.manual_seed(recipe.seed + 1)
    learner = Learner(student, recipe, taught=labels is not None)
    order = Order(
        data, recipe.batch, views, recipe.extra_photos, recipe.extra_captions, recipe.seed
    )
    if labels:
        order = replace(order, companions=labels.dual.companions(data))
    schedule = Schedule(
        recipe.epochs, order.steps_per_epoch, recipe.warmup, recipe.weight_decay, recipe.seed
    )
    checkpoint = out / "checkpoint.pt"
    groups = learner.groups(recipe)
    loop = Loop(learner, groups, schedule, checkpoint, fingerprint, "student", arithmetic)

    space = labels.dual.principal(config.dim).to(device) if labels else None
    quantized_from = (recipe.epochs - recipe.qat_epochs) * order.steps_per_epoch

    def losses(forward: Forward, step: int) -> Losses:
        if learner.quantization and step >= quantized_from:
            learner.quantization.on = True
        batch = order.at(step)
        mine, photos, texts = loop.share(batch)
        made = forward(
            features.of(mine).to(device),
            data.ids[mine.captions].to(device),
            data.mask[mine.captions].to(device),
        )
        made = {
            name: gather(value)[photos if "image" in name else texts] if value.ndim else value
            for name, value in made.items()
        }
        parts = _paired_losses(made, batch, recipe)
        if labels and space is not None:
            taught = labels.of(batch, recipe.teaching).to(device)
            parts |= _taught_losses(made, taught, space, recipe)
        return parts

    looks_apart = math.ceil(recipe.epochs / _LOOKS)
    result: list[Retrieval] = []

    def validate(epoch: int) -> str:
        if epoch % looks_apart and epoch < recipe.epochs:
            return "saved"
        result[:] = [_retrieval(student, validation, held_out)]
        if record:
            record(loop.step, {"val/mean_recall": result[0].mean_recall})
        return f"val mR {result[0].mean_recall:.1f}"

    loop.run(losses, progress, validate, record)
    # Empty where a run was cut off after its last epoch.
    final = result[0] if result else _retrieval(student, validation, held_out)
    if loop.accelerator.is_main_process:
        save(student, out, recipe, facts, computed, final)
    loop.finish()
    _remove(note)
    if loop.accelerator.is_main_process:
        remove_partials(cache_folder)
    return final


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


def _token_counts(data: Dataset, vocab: int) -> Tensor:
    """How often each token occurs in the captions of pairs, [vocab] float32."""
    paired = len(data.owner)
    tokens = data.ids[:paired][data.mask[:paired] > 0]
    return torch.bincount(tokens.long(), minlength=vocab).float()


def _check_batch(data: Dataset, recipe: Recipe) -> None:
    smallest = max(recipe.batch, recipe.teachers.batch, recipe.teachers.single_batch)
    if data.paired_photos < smallest:
        raise TrainingError(
            f"{data.paired_photos} captioned photos do not fill one batch of {smallest}.",
            "Give more, or a recipe with smaller batches (--recipe).",
        )
    world = accelerator().num_processes
    sizes = {
        "batch": recipe.batch,
        "teachers.batch": recipe.teachers.batch,
        "teachers.single_batch": recipe.teachers.single_batch,
        "extra_photos": recipe.extra_photos,
        "extra_captions": recipe.extra_captions,
    }
    for name, size in sizes.items():
        if size % world:
            raise TrainingError(
                f"The recipe's {name} is {size}, which {world} processes cannot share evenly.",
                f"Give a recipe in which {name} is a multiple of {world} (--recipe).",
            )


def reference_teachers(
    photos: list[CaptionedPhoto], recipe: Recipe, cache: FeatureCache, arithmetic: Arithmetic
) -> tuple[list[RegionTextTeacher], WordRegionTeacher]:
    """The teachers that a recipe stands for, trained on `photos` unless they are kept."""
    tokenizer = wordpiece_tokenizer(default_config().tokenizer, minilm_directory())
    data = dataset(photos, tokenizer, Extra())
    school, counts = _school(data, recipe, cache, arithmetic)
    duals = train_duals(school, counts)
    return duals, train_single(school, duals)


def _school(
    data: Dataset, recipe: Recipe, cache: FeatureCache, arithmetic: Arithmetic
) -> tuple[School, Tensor]:
    counts = _token_counts(data, default_config().text.vocab)
    return School(data.pairs, recipe.teachers, cache, arithmetic), counts


def _labels(
    data: Dataset,
    views: Views,
    recipe: Recipe,
    teachers: Teachers,
    cache: FeatureCache,
    arithmetic: Arithmetic,
) -> Labels | None:
    """What the teachers that the recipe asks for say, trained first where they are not given."""
    if recipe.teaching == "none":
        return None
    school, counts = _school(data, recipe, cache, arithmetic)
    duals = teachers.dual or train_duals(school, counts)
    dual_said = dual_labels(duals, data, views, cache)
    identity = tuple(teacher.identity for teacher in duals)
    names = tuple(teacher.name for teacher in duals)
    if recipe.teaching == "dual":
        return Labels(dual_said, identity=identity, names=names)
    single = teachers.single
    if single is None:
        reference = [dual for dual in duals if isinstance(dual, RegionTextTeacher)]
        if foreign := [dual.name for dual in duals if dual not in reference]:
            raise TeacherError(
                f"The reference single-stream teacher starts from reference dual-stream ones, "
                f"not from {foreign[0]}.",
                "Give a --single-teacher too, or neither.",
            )
        single = train_single(school, reference)
    single_said = single_labels(single, data, views, cache)
    labels = Labels(
        dual_said,
        single_said,
        candidates=recipe.candidates,
        identity=(*identity, single.identity),
        names=(*names, single.name),
    )
    if not single.cosines:
        labels = labels.calibrated(replace(school.order(recipe.batch, recipe.seed), views=views))
    if recipe.teaching == "single":
        return labels
    return replace(labels, fusion=train_fusion(school, labels, recipe))


@torch.no_grad()
def retrieval(
    student: McadStudent, photos: list[CaptionedPhoto], cache: FeatureCache, arithmetic: Arithmetic
) -> Retrieval:
    """Recall of a float student by its trunk's cached features: what evaluate_student gives, but
    for the trunk's arithmetic, in seconds."""
    data = dataset(photos, student.tokenizer, Extra())
    features = trunk(student, arithmetic).rows(data, Views(1, 0), cache)
    return _retrieval(student, features, data)


@torch.no_grad()
def _retrieval(student: McadStudent, features: PhotoRows, data: Dataset) -> Retrieval:
    student.eval()
    device = device_of(student)
    images = [
        embed_grids(student.image, torch.from_numpy(rows.astype(np.float32)).to(device)).cpu()
        for rows in np.array_split(features.paired[0], max(len(data.photos) // 256, 1))
    ]
    texts = [
        by_length(student.text, ids.to(device), mask.to(device))
        for ids, mask in zip(torch.split(data.ids, 512), torch.split(data.mask, 512), strict=True)
    ]
    text = F.normalize(torch.cat(texts), dim=1).cpu().numpy()
    return evaluate_retrieval(torch.cat(images).numpy(), text, data.owner)


def _remove(note: Path) -> None:
    if accelerator().is_main_process:
        note.unlink(missing_ok=True)
