"""The teachers of a run and their labels. Reference teachers and the fusion are each trained once
on the captioned photos, and cached under a hash of recipe and data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from mcad_mobile.base.files import Partial
from mcad_mobile.distill.accelerator import accelerator
from mcad_mobile.distill.class_distillation import ClassLabels, class_labels
from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Views
from mcad_mobile.distill.features import FeatureCache, GridTrunk
from mcad_mobile.distill.labels import Fusion, Labels, dual_labels, single_labels
from mcad_mobile.distill.loop import Forward, Loop, Losses, Schedule, gather
from mcad_mobile.distill.losses import contrastive_loss, matching_loss
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe, TeacherRecipe
from mcad_mobile.distill.teachers.classifiers import LiteClassifier
from mcad_mobile.distill.teachers.reference import (
    RegionText,
    RegionTextTeacher,
    WordRegion,
    WordRegionTeacher,
)
from mcad_mobile.distill.teachers.teacher import Fused, Teachers
from mcad_mobile.distill.trainee import TRAINED_BLOCKS

# Not hashed: the last digits of MiniLM's factored token table depend on the number of threads,
# which does not make another teacher.
_DECOMPOSED = ("text.token.weight", "text.widen.weight")
_SINGLE_SEED = 100  # added to the recipe's: not a dual-stream teacher's


@dataclass(frozen=True)
class TeacherTraining:
    """The pairs that teachers are trained on, and where the trained teachers are kept."""

    data: Dataset
    recipe: TeacherRecipe
    cache: FeatureCache
    arithmetic: Arithmetic

    def sampler(self, batch: int, seed: int) -> BatchSampler:
        return BatchSampler(self.data, batch, Views(self.recipe.views, 0), 0, 0, seed)

    def grids(self, trunks: Sequence[GridTrunk]) -> Callable[[Batch], Tensor]:
        """Return a function from a batch to its grids of all trunks: [I, 7, 7, C] float32."""
        views = Views(self.recipe.views, 0)
        rows = [trunk.rows(self.data, views, self.cache) for trunk in trunks]
        return lambda batch: torch.cat([grids.of(batch) for grids in rows], -1)

    def tokens(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids and mask of a batch's captions, [T, L] each."""
        return self.data.ids[batch.captions].to(device), self.data.mask[batch.captions].to(device)

    def train(
        self,
        kind: str,
        model: nn.Module,
        groups: list[dict[str, Any]],
        sampler: BatchSampler,
        epochs: int,
        losses: Callable[[Loop, Forward, Batch], Losses],
        taught_by: Sequence[object] = (),
    ) -> None:
        """Train `model` in place, or load it if an earlier run with the same recipe trained it.
        `taught_by`: whatever else the losses depend on, for the file's name."""
        from safetensors.torch import load_file, save

        speed = [epochs, *(group["lr"] for group in groups)]
        name = self._name(kind, model, speed, sampler, taught_by)
        path = self.cache.folder / f"{kind}-{name}.safetensors"
        recipe, per_epoch = self.recipe, sampler.steps_per_epoch
        schedule = Schedule(epochs, per_epoch, recipe.warmup, recipe.weight_decay, sampler.seed)
        if path.exists():
            model.load_state_dict(load_file(path))
            model.to(accelerator().device)
            return
        checkpoint = path.with_suffix(".checkpoint")
        loop = Loop(model, groups, schedule, checkpoint, name, kind, self.arithmetic)
        loop.run(lambda forward, step: losses(loop, forward, sampler.at(step)), self.cache.progress)
        if loop.accelerator.is_main_process:
            with Partial(path) as partial:
                partial.file.truncate()
                partial.file.write(save(loop.accelerator.unwrap_model(loop.model).state_dict()))
                partial.finish()
        loop.finish()

    def _name(
        self,
        kind: str,
        model: nn.Module,
        speed: Sequence[float],
        sampler: BatchSampler,
        taught_by: Sequence[object],
    ) -> str:
        """Hash everything that the trained model depends on to 24 hex digits."""
        started = hashlib.sha256()
        for name, value in model.state_dict().items():
            if not name.endswith(_DECOMPOSED):
                started.update(name.encode() + value.detach().cpu().numpy().tobytes())
        # The sampler draws the photos, so its seed and views count, not the recipe's.
        drawn = {"seed": sampler.seed, "views": sampler.views.paired}
        recipe = {**msgspec.structs.asdict(self.recipe), "members": None, **drawn}
        parts = [kind, recipe, speed, self.data.fingerprint, started.hexdigest(), *taught_by]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def reference_trunks(arithmetic: Arithmetic) -> dict[int, GridTrunk]:
    """The trunks of the reference teachers, by size."""
    # The student's trunk is also Lite0, and its grids are already cached.
    return {
        2: GridTrunk.pretrained(2, arithmetic),
        0: GridTrunk.pretrained(0, arithmetic, resumed_blocks=TRAINED_BLOCKS),
    }


def train_duals(training: TeacherTraining, token_counts: Tensor) -> list[RegionTextTeacher]:
    """Train as many as the recipe has `members`, with consecutive seeds."""
    recipe, trunks = training.recipe, list(reference_trunks(training.arithmetic).values())
    seeds = [recipe.seed + member for member in range(recipe.members)]
    return [_train_dual(training, trunks, token_counts, seed) for seed in seeds]


def _train_dual(
    training: TeacherTraining, trunks: Sequence[GridTrunk], token_counts: Tensor, seed: int
) -> RegionTextTeacher:
    """Train regions of both trunks and MiniLM-L6 contrastively."""
    recipe = training.recipe
    torch.manual_seed(seed)
    model = RegionText.pretrained(trunks, token_counts)
    grids = training.grids(trunks)
    new = [*model.head.parameters(), *model.text.head.parameters(), model.log_scale]
    new_ids = {id(parameter) for parameter in new}
    tuned = [parameter for parameter in model.parameters() if id(parameter) not in new_ids]

    def losses(loop: Loop, forward: Forward, batch: Batch) -> Losses:
        share, photos, texts = loop.share(batch)
        tokens = training.tokens(share, loop.device)
        image, text, scale = forward(grids(share).to(loop.device), *tokens)
        loss = contrastive_loss(gather(image)[photos], gather(text)[texts], scale)
        return {"contrastive": loss}

    training.train(
        "dual-stream teacher",
        model,
        [{"params": new, "lr": recipe.head_lr}, {"params": tuned, "lr": recipe.tuned_lr}],
        training.sampler(recipe.batch, seed),
        recipe.epochs,
        losses,
        [hashlib.sha256(token_counts.numpy().tobytes()).hexdigest()],
    )
    return RegionTextTeacher(trunks, model)


def train_single(training: TeacherTraining, token_counts: Tensor) -> WordRegionTeacher:
    """Train word-region attention on both trunks and MiniLM-L6."""
    recipe, trunks = training.recipe, list(reference_trunks(training.arithmetic).values())
    seed = recipe.seed + _SINGLE_SEED
    torch.manual_seed(seed)
    base = RegionText.pretrained(trunks, token_counts)
    model, grids = WordRegion(base), training.grids(trunks)

    def losses(loop: Loop, forward: Forward, batch: Batch) -> Losses:
        # Each process scores only its own pairs against each other: word counts differ, so scores
        # of all against all would have to be gathered word by word.
        share, _, _ = loop.share(batch)
        tokens = training.tokens(share, loop.device)
        return {"matching": matching_loss(forward(grids(share).to(loop.device), *tokens))}

    training.train(
        "single-stream teacher",
        model,
        _groups(model, [base.head, base.text.head, model.region, model.word], recipe),
        training.sampler(recipe.single_batch, seed),
        recipe.single_epochs,
        losses,
        [hashlib.sha256(token_counts.numpy().tobytes()).hexdigest()],
    )
    return WordRegionTeacher(trunks, model)


def _groups(
    model: nn.Module, new: Sequence[nn.Module], recipe: TeacherRecipe
) -> list[dict[str, Any]]:
    """The learning rates of new layers, and of all others."""
    heads = [parameter for module in new for parameter in module.parameters()]
    ids = {*map(id, heads)}
    tuned = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    return [{"params": heads, "lr": recipe.head_lr}, {"params": tuned, "lr": recipe.tuned_lr}]


def train_fusion(training: TeacherTraining, labels: Labels, recipe: StudentRecipe) -> Fusion:
    """Train the fusion to pick out the matched pairs by s'_ij, with both teachers frozen."""
    teachers = training.recipe
    torch.manual_seed(teachers.seed)
    assert labels.single is not None
    model = Fusion(labels.dual.dim, labels.single.teacher.fused_dim)

    def losses(loop: Loop, forward: Forward, batch: Batch) -> Losses:
        share, _, _ = loop.share(batch)
        *rows, fused = labels.score_candidates(share)
        moved = Fused(fused.features.to(loop.device), fused.scores.to(loop.device))
        modified = forward(*(row.to(loop.device) for row in rows), moved)
        return {"matching": matching_loss(20.0 * modified.similarity.float())}

    training.train(
        "fusion",
        model,
        [{"params": list(model.parameters()), "lr": recipe.fusion_lr}],
        replace(training.sampler(teachers.batch, teachers.seed), views=Views(recipe.views, 0)),
        recipe.fusion_epochs,
        losses,
        [*labels.identity, labels.candidates, labels.scale, labels.shift],
    )
    return model.cpu().eval()


def label(
    data: Dataset,
    views: Views,
    recipe: StudentRecipe,
    teachers: Teachers,
    cache: FeatureCache,
    arithmetic: Arithmetic,
    imagines: bool = True,
) -> tuple[Labels | None, ClassLabels | None]:
    """Return labels by the recipe's teachers, after training those that are not given, and by the
    classifier; None for what the recipe does not ask for. `imagines`: with imagined photos, if the
    classifier can imagine them."""
    if recipe.teaching == "none":
        return None, None
    training = TeacherTraining(data.pairs, recipe.teachers, cache, arithmetic)
    labels = _label_by_teachers(data, views, recipe, teachers, training)
    if not recipe.classifier:
        return labels, None
    classifier = teachers.classifier or LiteClassifier(reference_trunks(arithmetic))
    return labels, class_labels(classifier, data, views, cache, recipe.kinds, imagines)


def _label_by_teachers(
    data: Dataset,
    views: Views,
    recipe: StudentRecipe,
    teachers: Teachers,
    training: TeacherTraining,
) -> Labels:
    cache = training.cache
    duals = teachers.dual or train_duals(training, data.token_counts())
    dual = dual_labels(duals, data, views, cache)
    identity = tuple(teacher.identity for teacher in duals)
    names = tuple(teacher.name for teacher in duals)
    if recipe.teaching == "dual":
        return Labels(dual, recipe.candidates, identity=identity, names=names)
    single = teachers.single or train_single(training, data.token_counts())
    labels = Labels(
        dual,
        recipe.candidates,
        single_labels(single, data, views, cache),
        identity=(*identity, single.identity),
        names=(*names, single.name),
    )
    if not single.cosines:
        sampler = replace(training.sampler(recipe.batch, recipe.seed), views=views)
        labels = labels.calibrated(sampler)
    if recipe.ranking:
        return labels
    return replace(labels, fusion=train_fusion(training, labels, recipe))
