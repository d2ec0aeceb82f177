"""The teachers of a run, given or trained by the recipe, and what they say of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.distill.dataset import Dataset, Extra, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import Labels, dual_labels, single_labels
from mcad_mobile.distill.naming import ClassLabels, class_labels
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.distill.recipe import Arithmetic, Recipe
from mcad_mobile.distill.teachers.lite_classifier import LiteClassifier
from mcad_mobile.distill.teachers.protocol import (
    ClassifierTeacher,
    DualStreamTeacher,
    SingleStreamTeacher,
)
from mcad_mobile.distill.teachers.region_text import RegionTextTeacher
from mcad_mobile.distill.teachers.train import (
    School,
    reference_trunks,
    train_duals,
    train_fusion,
    train_single,
)
from mcad_mobile.distill.teachers.word_region import WordRegionTeacher
from mcad_mobile.errors import TeacherError
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.wordpiece import wordpiece_tokenizer


@dataclass(frozen=True)
class Teachers:
    """None stands for the reference teachers, trained on the pairs at hand."""

    dual: Sequence[DualStreamTeacher] | None = None
    single: SingleStreamTeacher | None = None
    classifier: ClassifierTeacher | None = None

    @property
    def how_many(self) -> int | None:
        return len(self.dual) if self.dual else None


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
    counts = data.token_counts(default_config().text.vocab)
    return School(data.pairs, recipe.teachers, cache, arithmetic), counts


def labels_of(
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
        return Labels(dual_said, recipe.candidates, identity=identity, names=names)
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
        recipe.candidates,
        single_said,
        identity=(*identity, single.identity),
        names=(*names, single.name),
    )
    if not single.cosines:
        labels = labels.calibrated(replace(school.order(recipe.batch, recipe.seed), views=views))
    if recipe.teaching == "single":
        return labels
    return replace(labels, fusion=train_fusion(school, labels, recipe))


def class_labels_of(
    data: Dataset,
    views: Views,
    recipe: Recipe,
    teachers: Teachers,
    cache: FeatureCache,
    arithmetic: Arithmetic,
) -> ClassLabels | None:
    """What the classifier says, ours where none is given; None where the recipe asks for none."""
    if recipe.teaching == "none" or not recipe.classifier:
        return None
    classifier = teachers.classifier or LiteClassifier(reference_trunks(arithmetic))
    return class_labels(classifier, data, views, cache)
