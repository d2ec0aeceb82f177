"""Train a student: frozen ImageNet trunk, its head and the whole text tower, contrastively."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.distill.features import Progress, cached_features
from mcad_mobile.distill.losses import contrastive_loss
from mcad_mobile.distill.pretrained import load_imagenet, load_minilm, minilm_directory
from mcad_mobile.evaluate import Retrieval, evaluate_retrieval
from mcad_mobile.students.mcad import Student, StudentConfig, default_config

_MAX_SCALE = 100.0  # CLIP's cap on the inverse temperature (arXiv 2103.00020, section 2.5)


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on beside the data; saved with the student."""

    epochs: int = 20
    batch: int = 256
    views: int = 8
    head_lr: float = 1e-3
    text_lr: float = 1e-4
    weight_decay: float = 0.05
    warmup: float = 0.1
    initial_scale: float = 20.0
    seed: int = 0


@dataclass(frozen=True)
class Split:
    """A split, ready for training: features [V, N, 1280] float16, token ids [M, L] and masks
    [M, L], and the photo of each caption [M]."""

    features: NDArray[np.float16]
    ids: Tensor
    mask: Tensor
    photo_of_text: NDArray[np.intp]


def train(data: Path, out: Path, recipe: Recipe, cache: Path, progress: Progress) -> Retrieval:
    """Train on the `train` split of `data` (Karpathy layout), write the student and its
    `training.json` to `out`, and return its retrieval on the `val` split."""
    torch.manual_seed(recipe.seed)
    photos, held_out = load_captions(data, "train"), load_captions(data, "val")
    student = _fresh_student(default_config(out.name), photos)
    split = _prepare(student, photos, recipe.views, cache, progress)
    val = _prepare(student, held_out, 1, cache, progress)

    log_scale = nn.Parameter(torch.tensor(math.log(recipe.initial_scale)))
    optimizer = _optimizer(student, log_scale, recipe)
    steps = recipe.epochs * (len(photos) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=recipe.warmup,
    )
    random = np.random.default_rng(recipe.seed)
    captions_of = _captions_of(split.photo_of_text, len(photos))
    step = 0
    for epoch in range(recipe.epochs):
        student.train()
        order = random.permutation(len(photos))
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            chosen = order[start : start + recipe.batch]
            views = random.integers(0, recipe.views, len(chosen))
            texts = np.array([random.choice(captions_of[photo]) for photo in chosen])
            features = torch.from_numpy(split.features[views, chosen].astype(np.float32))
            with torch.autocast("cpu", torch.bfloat16):
                image, text = _embed(student, features, split.ids[texts], split.mask[texts])
            scale = log_scale.exp().clamp(max=_MAX_SCALE)
            loss = contrastive_loss(image.float(), text.float(), scale)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            progress(f"epoch {epoch + 1}/{recipe.epochs}, loss {loss.item():.3f}", step, steps)
        result = _validate(student, val)
        progress(
            f"epoch {epoch + 1}: val mR {result.mean_recall:.1f}, "
            f"text-to-image R@1 {result.text_to_image.r1:.1f}",
            step,
            steps,
        )
    student.save(out)
    record = {"recipe": asdict(recipe), "val": result.to_json(), "torch": torch.__version__}
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return result


def _fresh_student(config: StudentConfig, photos: list[CaptionedPhoto]) -> Student:
    student = Student(config, minilm_directory())
    counts = torch.zeros(config.text.vocab)
    for photo in photos:
        for caption in photo.captions:
            counts[torch.from_numpy(student.tokenizer(caption).ids).long()] += 1
    load_imagenet(student.image)
    load_minilm(student.text, counts)
    return student


def _prepare(
    student: Student, photos: list[CaptionedPhoto], views: int, cache: Path, progress: Progress
) -> Split:
    features = cached_features(student, [p.path for p in photos], views, cache, progress)
    ids, mask = student.tokenizer.batch([c for photo in photos for c in photo.captions])
    owners = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
    return Split(features, torch.from_numpy(ids), torch.from_numpy(mask), owners)


def _captions_of(photo_of_text: NDArray[np.intp], photos: int) -> list[NDArray[np.intp]]:
    return np.split(np.arange(len(photo_of_text)), np.searchsorted(photo_of_text, range(1, photos)))


def _optimizer(student: Student, log_scale: Tensor, recipe: Recipe) -> torch.optim.Optimizer:
    new = [*student.image.head.parameters(), *student.text.head.parameters()]
    started = [
        value for name, value in student.text.named_parameters() if not name.startswith("head.")
    ]
    return torch.optim.AdamW(
        [
            {"params": new, "lr": recipe.head_lr},
            {"params": started, "lr": recipe.text_lr},
            {"params": [log_scale], "lr": recipe.head_lr, "weight_decay": 0.0},
        ],
        weight_decay=recipe.weight_decay,
    )


def _embed(student: Student, features: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    longest = int(mask.sum(1).max())
    image = F.normalize(student.image.head(features), dim=-1)
    text = F.normalize(student.text(ids[:, :longest], mask[:, :longest]), dim=-1)
    return image, text


@torch.no_grad()
def _validate(student: Student, val: Split) -> Retrieval:
    student.eval()
    features = torch.from_numpy(val.features[0].astype(np.float32))
    images = F.normalize(student.image.head(features), dim=-1).numpy()
    batches = zip(torch.split(val.ids, 500), torch.split(val.mask, 500), strict=True)
    texts = np.concatenate(
        [F.normalize(student.text(ids, mask), dim=-1).numpy() for ids, mask in batches]
    )
    return evaluate_retrieval(images, texts, val.photo_of_text)
