"""The designs that single_stream.py compares. Each starts from published weights, not from the
dual-stream teachers: these fit the photos that they were trained on too well to correct anything
there."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.accelerator import autocast, to_product_type
from mcad_mobile.distill.dataset import Batch, BatchSampler, Views
from mcad_mobile.distill.features import GridTrunk, by_length
from mcad_mobile.distill.features import encode_photos as encode_rows
from mcad_mobile.distill.loop import Forward, Loop, Losses
from mcad_mobile.distill.losses import capped, matching_loss
from mcad_mobile.distill.pretrained import load_imagenet_head, minilm_tokenizer
from mcad_mobile.distill.recipe import Arithmetic
from mcad_mobile.distill.teachers.classifiers import imagenet_names
from mcad_mobile.distill.teachers.prepare import TeacherTraining, train_single
from mcad_mobile.distill.teachers.reference import (
    DIM,
    RegionText,
    RegionTextTeacher,
    encode_photos,
    encode_texts,
)
from mcad_mobile.distill.teachers.teacher import concatenate_teachers
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.students.efficientnet_lite import FEATURES
from mcad_mobile.students.published import padding_scores
from mcad_mobile.students.text_transformer import MASKED_SCORE, Layer

_AT_ONCE = 256
_FUSED_LAYERS = 2  # last layers of the text tower that see the photo
_GROUP = 4  # photos, with a caption each, that the dual-stream teachers find alike


class Design(Protocol):
    """A trained single-stream teacher."""

    def photos(self, grids: Tensor) -> Sequence[Tensor]:
        """Grids of all trunks [B, 7, 7, C] -> states, each [B, ...]."""
        ...

    def texts(self, ids: Tensor, mask: Tensor) -> Sequence[Tensor]:
        """[M, L] -> states, each [M, ...]."""
        ...

    def score(self, photos: Sequence[Tensor], texts: Sequence[Tensor], mask: Tensor) -> Tensor:
        """States of P photos and P texts, mask [P, L] -> [P]."""
        ...


def word_region(training: TeacherTraining, duals: Sequence[RegionTextTeacher]) -> Design:
    """The present one: attention on the dual-stream teachers' frozen regions and words."""
    model = train_single(training, duals).model

    class Present:
        def photos(self, grids: Tensor) -> Sequence[Tensor]:
            whole, regions = encode_photos(duals, grids)
            return whole, model.photo(regions)

        def texts(self, ids: Tensor, mask: Tensor) -> Sequence[Tensor]:
            whole, tokens = encode_texts(duals, ids, mask)
            return whole, model.words(tokens)

        def score(self, photos: Sequence[Tensor], texts: Sequence[Tensor], mask: Tensor) -> Tensor:
            gate = model.gate.sigmoid()
            _, cosine = model.attend(photos[1], texts[1], mask)
            return (1 - gate) * cosine + gate * (photos[0] * texts[0]).sum(1)

    return Present()


class TwoScales(nn.Module):
    """Word-region attention with towers of its own, from words to the grid's 49 cells and to its 9
    windows of 3 x 3 cells: (1 - g) mean_w cos(w, a_w) + g v.t, as in WordRegion."""

    def __init__(self, trunks: Sequence[GridTrunk], token_counts: Tensor) -> None:
        super().__init__()
        self.base = RegionText.pretrained(trunks, token_counts)
        self.region = nn.Linear(FEATURES * len(trunks), DIM)
        self.word = nn.Linear(self.base.text.config.width, DIM)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        self.gate = nn.Parameter(torch.tensor(0.0))

    def photos(self, grids: Tensor) -> Sequence[Tensor]:
        cells = self.base.regions(grids)
        square = cells.transpose(1, 2).unflatten(2, grids.shape[1:3])
        regions = torch.cat([cells, F.avg_pool2d(square, 3, 2).flatten(2).transpose(1, 2)], 1)
        return self.base.pool(cells), F.normalize(self.region(regions).float(), dim=-1)

    def texts(self, ids: Tensor, mask: Tensor) -> Sequence[Tensor]:
        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            return F.pad(self.base.text.tokens(ids, mask), (0, 0, 0, length - ids.shape[1]))

        length = ids.shape[1]
        tokens = by_length(encode, ids, mask)
        whole = F.normalize(self.base.text.pool(tokens, mask).float(), dim=-1)
        return whole, F.normalize(self.word(tokens).float(), dim=-1)

    def forward(self, grids: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores of all pairs [V, T], times the inverse temperature."""
        (whole, regions), (sentence, words) = self.photos(grids), self.texts(ids, mask)
        there = mask > 0
        owner = F.one_hot(there.nonzero()[:, 0], len(mask)) / mask.sum(1)
        mapped, flat = to_product_type(regions), to_product_type(words[there])
        similarity = (mapped.flatten(0, 1) @ flat.T).view(*mapped.shape[:2], -1).float()
        weights = (self.log_sharpness.exp() * similarity).softmax(1)
        gram = mapped @ mapped.transpose(1, 2)
        length = ((gram @ weights.to(gram.dtype)).float() * weights).sum(1).clamp(min=1e-6).sqrt()
        cosine = ((weights * similarity).sum(1) / length) @ owner
        gate = self.gate.sigmoid()
        scores = (1 - gate) * cosine + gate * whole @ sentence.T
        return capped(self.base.log_scale) * scores.float()

    def score(self, photos: Sequence[Tensor], texts: Sequence[Tensor], mask: Tensor) -> Tensor:
        weights = (self.log_sharpness.exp() * (texts[1] @ photos[1].transpose(1, 2))).softmax(2)
        attended = weights @ photos[1]
        cosine = (attended * texts[1]).sum(-1) / attended.norm(dim=-1).clamp(min=1e-6)
        mean = (cosine * mask).sum(1) / mask.sum(1)
        gate = self.gate.sigmoid()
        return (1 - gate) * mean + gate * (photos[0] * texts[0]).sum(1)


def two_scales(
    training: TeacherTraining,
    duals: Sequence[RegionTextTeacher],
    epochs: int,
) -> Design:
    recipe, seed = training.recipe, training.recipe.seed + 100  # not the first teacher's
    torch.manual_seed(seed)
    model = TwoScales(duals[0].trunks, training.data.token_counts())
    grids = training.grids(duals[0].trunks)
    new = [model.base.head, model.base.text.head, model.region, model.word]

    def losses(loop: Loop, forward: Forward, batch: Batch) -> Losses:
        tokens = training.tokens(batch, loop.device)
        return {"matching": matching_loss(forward(grids(batch).to(loop.device), *tokens))}

    groups = _groups(model, new, recipe.head_lr, recipe.tuned_lr)
    sampler = training.sampler(recipe.batch, seed)
    training.train("two scales", model, groups, sampler, epochs, losses)
    return model.eval()


class CrossAttention(nn.Module):
    """MiniLM whose last layers also attend to the grid, as in ALBEF and BLIP. A cell starts as the
    mean of the states of ImageNet's class names, weighted by its probabilities, and attention to
    cells starts as a copy of the layer's attention to words: both thus begin in MiniLM's space."""

    def __init__(self, trunks: Sequence[GridTrunk], token_counts: Tensor) -> None:
        super().__init__()
        self.base = RegionText.pretrained(trunks, token_counts)
        text = self.base.text
        self.classify = nn.ModuleList(load_imagenet_head(size) for size in (2, 0))
        self.correct = nn.Linear(FEATURES * len(trunks), text.config.width)
        self.place = nn.Parameter(torch.zeros(49, text.config.width))
        nn.init.zeros_(self.correct.weight)
        self.fused = nn.ModuleList(list(text.layers)[-_FUSED_LAYERS:])
        self.cross = nn.ModuleList(copy.deepcopy(layer.attention) for layer in self.fused)
        self.gates = nn.Parameter(torch.full((_FUSED_LAYERS,), 0.5))
        self.match = nn.Sequential(nn.Linear(text.config.width, 256), nn.GELU(), nn.Linear(256, 1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        text.layers = text.layers[:-_FUSED_LAYERS]
        for unused in (self.base.head, text.head):
            unused.requires_grad_(False)
        self.base.log_scale.requires_grad_(False)
        names = [", ".join(names[:2]) for names in imagenet_names()]
        ids, mask = (torch.from_numpy(array) for array in minilm_tokenizer().batch(names))
        with torch.no_grad():
            text.eval()
            self.register_buffer("names", _mean(text.tokens(ids, mask), mask))

    def photos(self, grids: Tensor) -> Sequence[Tensor]:
        cells = self.base.regions(grids)
        with torch.no_grad():
            parts = zip(self.classify, cells.split(FEATURES, -1), strict=True)
            logits = torch.stack([head(part).float() for head, part in parts]).mean(0)
            named = (logits / 2).softmax(-1) @ self.get_buffer("names")
        return (named + self.correct(cells).float() + self.place,)

    def texts(self, ids: Tensor, mask: Tensor) -> Sequence[Tensor]:
        return (self.base.text.tokens(ids, mask),)

    def score(self, photos: Sequence[Tensor], texts: Sequence[Tensor], mask: Tensor) -> Tensor:
        (states,), (x,) = photos, texts
        hidden = padding_scores(mask, MASKED_SCORE)
        bag = F.cosine_similarity(states.mean(1).float(), _mean(x, mask).float())
        for layer, cross, gate in zip(self.fused, self.cross, self.gates, strict=True):
            assert isinstance(layer, Layer)
            own = layer.dropout(layer.attention(x, hidden))
            seen = layer.dropout(_attend(cross, x, states))
            x = layer.attention_norm(x + own + gate * seen)
            x = layer.mlp_norm(x + layer.dropout(layer.down(F.gelu(layer.up(x)))))
        matched = self.match(_mean(x, mask)).squeeze(1)
        return matched.float() + self.log_scale.exp() * bag

    def forward(self, grids: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores of the pairs of each group of photos and captions: [G, 4, 4]."""
        photos, texts = self.photos(grids)[0], self.texts(ids, mask)[0]
        count = len(ids) // _GROUP
        rows = torch.arange(len(ids), device=ids.device).view(count, _GROUP)
        photo = rows[:, :, None].expand(-1, -1, _GROUP).flatten()
        text = rows[:, None, :].expand(-1, _GROUP, -1).flatten()
        scores = self.score((photos[photo],), (texts[text],), mask[text])
        return scores.view(count, _GROUP, _GROUP)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _attend(attention: nn.Module, x: Tensor, states: Tensor) -> Tensor:
    """Attention(x) with keys and values from `states`."""
    heads = attention.heads
    query, key, value = (
        layer(rows).unflatten(2, (heads, -1)).transpose(1, 2)
        for layer, rows in (
            (attention.query, x),
            (attention.key, states),
            (attention.value, states),
        )
    )
    mixed = F.scaled_dot_product_attention(query, key, value)
    found: Tensor = attention.out(mixed.transpose(1, 2).flatten(2))
    return found


@dataclass(frozen=True)
class Neighbours:
    """Batches of groups: a photo, and others from those nearest to it."""

    sampler: BatchSampler
    nearest: Rows  # [N, K]

    @property
    def steps_per_epoch(self) -> int:
        return self.sampler.steps_per_epoch

    @property
    def seed(self) -> int:
        return self.sampler.seed

    @property
    def views(self) -> Views:
        return self.sampler.views

    def at(self, step: int) -> Batch:
        first = replace(self.sampler, batch=self.sampler.batch // _GROUP).at(step)
        random = np.random.default_rng((self.seed, step, 1))
        chosen = random.random((len(first.photos), self.nearest.shape[1])).argsort(1)
        others = np.take_along_axis(self.nearest[first.photos], chosen[:, : _GROUP - 1], 1)
        photos = np.concatenate([first.photos[:, None], others], 1).flatten()
        owner = self.sampler.data.owner
        captions = random.integers(
            np.searchsorted(owner, photos), np.searchsorted(owner, photos, side="right")
        )
        views = random.integers(0, self.sampler.views.paired, len(photos))
        return Batch(photos, views, captions.astype(np.intp), len(photos))


def cross_attention(
    training: TeacherTraining,
    duals: Sequence[RegionTextTeacher],
    epochs: int,
) -> Design:
    recipe, seed = training.recipe, training.recipe.seed + 200
    torch.manual_seed(seed)
    model = CrossAttention(duals[0].trunks, training.data.token_counts())
    grids = training.grids(duals[0].trunks)

    def losses(loop: Loop, forward: Forward, batch: Batch) -> Losses:
        ids, mask = training.tokens(batch, loop.device)
        longest = int(mask.sum(1).max())
        scores = forward(grids(batch).to(loop.device), ids[:, :longest], mask[:, :longest])
        return {"matching": torch.stack([matching_loss(group) for group in scores]).mean()}

    groups = _groups(model, [model.match, model.correct], recipe.head_lr / 2, recipe.tuned_lr)
    sampler = Neighbours(training.sampler(recipe.batch // 2, seed), _nearest(training, duals))
    training.train("cross attention", model, groups, sampler, epochs, losses)
    return model.eval()


def _nearest(training: TeacherTraining, duals: Sequence[RegionTextTeacher]) -> Rows:
    """Row numbers of the photos that the dual-stream teachers find nearest to each: [N, 24]."""
    trunks, data, views = duals[0].trunks, training.data, Views(1, 0)
    each = [
        encode_rows(dual.embed_photos, trunks, dual.identity, "photos", data, views, training.cache)
        for dual in duals
    ]
    rows = [torch.from_numpy(photos.paired[0].astype(np.float32)) for photos in each]
    photos = concatenate_teachers(rows)
    similarity = photos @ photos.T
    nearest: Rows = similarity.fill_diagonal_(-1).topk(24, 1).indices.numpy()
    return nearest


def made(
    training: TeacherTraining, duals: Sequence[RegionTextTeacher], epochs: Sequence[int]
) -> dict[str, Callable[[], Design]]:
    """What trains each design, by name."""
    return {
        "two-scales": lambda: two_scales(training, duals, epochs[0]),
        "cross-attention": lambda: cross_attention(training, duals, epochs[1]),
        "word-region": lambda: word_region(training, duals),
    }


def _groups(
    model: nn.Module, new: Sequence[nn.Module], new_lr: float, tuned_lr: float
) -> list[dict[str, object]]:
    fresh = [parameter for module in new for parameter in module.parameters()]
    ids = {id(parameter) for parameter in fresh}
    rest = [row for row in model.parameters() if id(row) not in ids and row.requires_grad]
    return [{"params": fresh, "lr": new_lr}, {"params": rest, "lr": tuned_lr}]


@torch.no_grad()
def score_pairs(
    design: Design, grids: Tensor, ids: Tensor, mask: Tensor, pairs: Tensor, arithmetic: Arithmetic
) -> Tensor:
    """Score `pairs` [P, 2] of texts and photos by row numbers: [P] float32."""
    with autocast(arithmetic, grids.device):
        photos = _in_chunks(design.photos, grids)
        texts = _in_chunks(design.texts, ids, mask)
        found = []
        # Sorted by length, so that chunks are cut to their longest caption.
        order = mask[pairs[:, 0]].sum(1).argsort(stable=True)
        for chunk in order.split(_AT_ONCE):
            text, photo = pairs[chunk].unbind(1)
            longest = int(mask[text].sum(1).max())
            words = [rows[text, :longest] if rows.ndim > 2 else rows[text] for rows in texts]
            seen = [rows[photo] for rows in photos]
            found.append(design.score(seen, words, mask[text, :longest]).float())
    return torch.cat(found)[order.argsort()]


def _in_chunks(encode: Callable[..., Sequence[Tensor]], *inputs: Tensor) -> list[Tensor]:
    split = [rows.split(_AT_ONCE) for rows in inputs]
    parts = [encode(*chunk) for chunk in zip(*split, strict=True)]
    return [torch.cat(rows) for rows in zip(*parts, strict=True)]
