"""Compare designs of the single-stream teacher: what re-ranking the first 16 of the dual-stream
teachers by it adds on Flickr8k's validation split.

python -m benchmarks.single_stream --data flickr8k

Scores are also fused with the dual-stream similarities. The weights of that are learned on the 91
photos of Flickr8k's split "restval", which nothing else is trained or measured on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import asdict, replace
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from benchmarks import single_stream_designs as designs
from benchmarks.main_job import provenance
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.cli.output import progress_bar
from mcad_mobile.distill.accelerator import choose_arithmetic, keep_freed_memory
from mcad_mobile.distill.dataset import Batch, Dataset, Extra, Views, dataset, load_pairs
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import dual_labels
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import TeacherRecipe
from mcad_mobile.distill.teachers.library import StudentTeacher
from mcad_mobile.distill.teachers.prepare import TeacherTraining, train_duals
from mcad_mobile.distill.teachers.reference import RegionTextTeacher
from mcad_mobile.distill.teachers.teacher import DualStreamTeacher, concatenate_teachers
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.recall import evaluate_similarity

RESULT = Path(__file__).parent / "results" / "single_stream.json"
RERANKED = 16
GALLERY = 1000  # photos, in every split
_BANK, _HUB_SHARPNESS = 3000, 20.0  # captions of the training split, to find hubs by


@dataclass
class Split:
    """A split's photos and captions, and what the dual-stream teachers say of them."""

    grids: Tensor  # [N, 7, 7, C]
    ids: Tensor
    mask: Tensor  # [M, L]
    owner: Rows  # [M]
    dual: Tensor  # [M, N]
    inputs: dict[str, Tensor] = field(default_factory=dict)  # by name: of `pairs`, [P]

    @property
    def asked(self) -> list[Tensor]:
        """Masks [M, N] of the photos to re-rank for each text, and of the texts for each photo."""
        return [
            torch.zeros_like(self.dual, dtype=torch.bool).scatter_(
                axis, self.dual.topk(RERANKED, axis).indices, True
            )
            for axis in (1, 0)
        ]

    @property
    def pairs(self) -> Tensor:
        """Texts and photos [P, 2] that a design scores."""
        texts, photos = self.asked
        return (texts | photos).nonzero()

    def dense(self, weights: dict[str, float]) -> Tensor:
        """The weighted sum of inputs, [M, N]; 0 beyond the pairs."""
        total = sum(weight * self.inputs[name] for name, weight in weights.items())
        scores = torch.zeros_like(self.dual)
        scores[tuple(self.pairs.T)] = total
        return scores

    def evaluate(self, weights: dict[str, float]) -> dict[str, Any]:
        scores = self.dense(weights)
        # Candidates come first, and none is 50 standard deviations below the mean.
        scores = 50 + (scores - scores.mean()) / scores.std()
        of_texts, of_photos = (torch.where(mask, scores, self.dual).numpy() for mask in self.asked)
        return evaluate_similarity(of_texts, of_photos, self.owner).to_json()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Flickr8k, Karpathy layout")
    parser.add_argument("--student", nargs="*", default=[], help="more dual-stream teachers")
    parser.add_argument("--work", type=Path, default=Path("build/single_stream"))
    parser.add_argument("--views", type=int, default=TeacherRecipe().views)
    parser.add_argument("--members", type=int, default=TeacherRecipe().members)
    parser.add_argument("--epochs", type=int, nargs=2, default=(8, 8), help="two scales, cross")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    keep_freed_memory()
    arithmetic = choose_arithmetic("auto")
    sizes = {name: getattr(arguments, name) for name in ("views", "members", "seed")}
    recipe = replace(TeacherRecipe(), **sizes)
    with progress_bar() as advance:
        cache = FeatureCache(arguments.work, advance)
        train = dataset(load_pairs([arguments.data], "train"), minilm_tokenizer(), Extra())
        training = TeacherTraining(train.pairs, recipe, cache, arithmetic)
        references = train_duals(training, train.token_counts())
        teachers: list[DualStreamTeacher] = [*references, *map(StudentTeacher, arguments.student)]
        bank = embed_bank(teachers, train.captions[:: len(train.captions) // _BANK])
        splits = {
            name: read_split(arguments.data, name, train, references, teachers, bank, cache)
            for name in ("restval", "val")
        }
        seconds: dict[str, int] = {}
        for name, make in designs.made(training, references, arguments.epochs).items():
            before = time.monotonic()
            design = make()
            seconds[name] = round(time.monotonic() - before)
            for split in splits.values():
                inputs = (split.grids, split.ids, split.mask, split.pairs)
                split.inputs[name] = designs.score_pairs(design, *inputs, arithmetic)
            result = {
                "rows": measure(splits, [*seconds]),
                "seconds": seconds,
                "recipe": asdict(recipe),
                "students": arguments.student,
                "epochs": arguments.epochs,
                **provenance(tool_versions(("torch", "accelerate"))),
            }
            RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def embed_bank(teachers: Sequence[DualStreamTeacher], captions: Sequence[str]) -> Tensor:
    """[M, D] of unit length."""
    parts = [captions[start : start + 512] for start in range(0, len(captions), 512)]
    each = [torch.cat([teacher.embed_texts(part) for part in parts]) for teacher in teachers]
    return concatenate_teachers(each)


def read_split(
    folder: Path,
    name: str,
    train: Dataset,
    references: Sequence[RegionTextTeacher],
    teachers: Sequence[DualStreamTeacher],
    bank: Tensor,
    cache: FeatureCache,
) -> Split:
    """Read a split, and fill up its photos with some of other captions."""
    pairs = load_pairs([folder], name)
    more = train.photos[: GALLERY - len(pairs)]
    data, views = dataset(pairs, minilm_tokenizer(), Extra(more)), Views(1, 1)
    labels = dual_labels(teachers, data, views, cache)
    grids = [trunk.rows(data, views, cache) for trunk in references[0].trunks]
    everything = Batch(np.arange(GALLERY), np.zeros(GALLERY, np.intp), data.owner[:0], 0)
    photos, _ = labels.of(everything)
    dual = labels.all_texts() @ photos.T
    split = Split(
        torch.cat([rows.of(everything) for rows in grids], -1),
        data.ids,
        data.mask,
        data.owner,
        dual,
    )
    texts, of_photos = split.pairs.unbind(1)
    hubs = (_HUB_SHARPNESS * photos @ bank.T).logsumexp(1) / _HUB_SHARPNESS
    split.inputs.update(dual=dual[texts, of_photos], hubs=hubs[of_photos])
    return split


def measure(splits: dict[str, Split], names: list[str]) -> list[dict[str, Any]]:
    """Each design alone, fused with the dual-stream similarities, and all together."""
    fused = [["dual"], ["dual", "hubs"], *(["dual", name] for name in names), ["dual", *names]]
    weights = {name: {name: 1.0} for name in names}
    weights |= {" + ".join(few): learn(splits["restval"], few) for few in fused}
    weights["dual + hubs + " + " + ".join(names)] = learn(
        splits["restval"], ["dual", "hubs", *names]
    )
    rows = []
    for name, row in weights.items():
        found = splits["val"].evaluate(row)
        rows.append({"row": name, "weights": row, **found})
        Console().print(name, row, found["text_to_image"], found["image_to_text"])
    return rows


def learn(split: Split, names: list[str]) -> dict[str, float]:
    """Weights of the inputs `names` that pick a text's photo among its candidates best, by cross
    entropy; the texts whose photo is none of them are left out."""
    asked = split.asked[0]
    wide = torch.stack([split.dense({name: 1.0}) for name in names], -1)  # [M, N, K]
    spread = wide[asked].std(0)
    texts = torch.arange(len(asked))
    keep = asked[texts, torch.from_numpy(split.owner)]
    columns = asked.nonzero()[:, 1].view(-1, RERANKED)[keep]
    inputs = wide[texts[keep, None], columns] / spread
    right = (columns == torch.from_numpy(split.owner)[keep][:, None]).int().argmax(1)
    weights = torch.ones(len(names), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weights, right) + 1e-3 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = (weights.detach() / spread).tolist()
    return dict(zip(names, found, strict=True))


if __name__ == "__main__":
    main()
