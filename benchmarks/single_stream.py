"""Single-stream teachers that were tried, by how they re-rank what the dual-stream ones find.

    python benchmarks/single_stream.py --data flickr8k --work build/ablation

Each is trained on the train split's pairs, in groups of a photo and 7 of the 32 that the
dual-stream teachers find nearest, and re-ranks their top 32 of the whole validation split, photos
for each caption and captions for each photo. Teachers, grids and their features are kept in
--work, as benchmarks/distill_ablation.py keeps them. With --student a row also teaches one, in
place of the recipe's single-stream teacher; it is looked at on the test split.
Writes benchmarks/results/single_stream/seed-N.json, row by row.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as but
from pathlib import Path
from typing import Any

import torch
from distill_rows import RERANKED, reranked, tops
from msgspec.structs import replace
from pair_data import FinerTeacher, Split, finer, prepared
from pair_scorers import (
    PairVectors,
    Photos,
    ScoredTeacher,
    Texts,
    WeightedWords,
    dual_similarity,
)
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.cli.output import progress_bar
from mcad_mobile.distill.dataset import (
    Dataset,
    Extra,
    dataset,
    load_extra,
    load_pairs,
)
from mcad_mobile.distill.device import keep_freed_memory
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.frozen_trunk import retrieval
from mcad_mobile.distill.progress import WholeRun
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.schooling import Teachers, reference_teachers
from mcad_mobile.distill.teachers.protocol import SingleStreamTeacher
from mcad_mobile.distill.teachers.word_region import WordRegionTeacher
from mcad_mobile.distill.train import Material, train
from mcad_mobile.evaluate import Progress
from mcad_mobile.students.load import load_student
from mcad_mobile.versions import tool_versions

RESULTS = Path(__file__).parent / "results" / "single_stream"
GROUP, NEAREST = 8, 32
GROUPS, LR = 16, 1e-3  # a step
Scorer = Callable[[Photos, Texts], Tensor]


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    make: Callable[[WordRegionTeacher], Scorer | nn.Module]
    finer: bool = False
    steps: int = 0  # 0: nothing is trained
    # Of the reference teacher and the scorer, a teacher for --student.
    teaches: Callable[[WordRegionTeacher, Any], SingleStreamTeacher] | None = None

    def sees(
        self, teacher: WordRegionTeacher, data: Dataset, split: Split, cache: FeatureCache
    ) -> Split:
        """What a split has, and what this row alone needs."""
        return but(split, finer=finer(teacher, data, cache)) if self.finer else split


def _vectors(teacher: WordRegionTeacher) -> nn.Module:
    return PairVectors(teacher.model, teacher.fused_dim)


def _words(teacher: WordRegionTeacher) -> nn.Module:
    return WeightedWords(teacher.model, teacher.fused_dim)


ROWS = (
    Row("dual", "dual-stream teachers alone", lambda _: dual_similarity),
    Row("word-region", "word-region attention, the recipe's", _words),
    Row("words", "the same, hard negatives, learned weights of words", _words, steps=600),
    Row(
        "vectors",
        "a vector for each word and photo, hard negatives",
        _vectors,
        steps=600,
        teaches=ScoredTeacher,
    ),
    Row(
        "dual-finer", "dual-stream teachers, a grid of 10 x 10 too", lambda _: dual_similarity, True
    ),
    Row(
        "word-region-finer",
        "word-region attention, both grids",
        _words,
        True,
        teaches=lambda teacher, _: FinerTeacher(teacher),
    ),
    Row("vectors-finer", "a vector for each word and photo, both grids", _vectors, True, 600),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout, all splits")
    parser.add_argument("--work", type=Path, default=Path("build/ablation"))
    parser.add_argument("--seed", type=int, default=2, help="of the teachers")
    names = [row.name for row in ROWS]
    parser.add_argument("--row", nargs="*", choices=names, default=names, metavar="ROW")
    teach = [row.name for row in ROWS if row.teaches]
    parser.add_argument("--student", nargs="*", choices=teach, default=[], metavar="ROW")
    parser.add_argument("--extra-photos", type=Path, nargs="*", default=[], help="the student's")
    parser.add_argument("--extra-captions", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    keep_freed_memory()
    default = Recipe()
    recipe = replace(default, seed=given.seed, teachers=replace(default.teachers, seed=given.seed))
    pairs = {split: load_pairs([given.data], split) for split in ("train", "val", "test")}
    extra = load_extra(given.extra_photos, given.extra_captions)
    with progress_bar() as advance:
        cache = FeatureCache(given.work / "cache", WholeRun({}, advance))
        _, teacher = reference_teachers(pairs["train"], recipe, cache, "fp32")
        data = {
            name: dataset(pairs[name], teacher.duals[0].tokenizer, Extra())
            for name in ("train", "val")
        }
        views = {"train": recipe.teachers.views, "val": 1}
        splits = {name: prepared(teacher, data[name], views[name], cache) for name in data}
        for row in [row for row in ROWS if row.name in given.row]:
            here = {name: row.sees(teacher, data[name], splits[name], cache) for name in data}
            torch.manual_seed(given.seed)
            scorer = row.make(teacher)
            if isinstance(scorer, nn.Module):
                scorer.cpu()
                if row.steps:
                    fit(row, scorer, here["train"], advance)
                scorer.eval()
            found = {"name": row.name, "label": row.label, "steps": row.steps}
            found |= judged(scorer, here["val"])
            if row.teaches and row.name in given.student:
                out = given.work / f"student-by-{row.name}-{given.seed}"
                material = Material(pairs["train"], pairs["val"], extra)
                teachers = Teachers(teacher.duals, row.teaches(teacher, scorer))
                train(material, out, recipe, cache.folder, advance, teachers)
                taught = retrieval(load_student(str(out)), pairs["test"], cache, "fp32")
                found["student"] = taught.to_json()
            store(given.seed, found)
    print(as_markdown(stored()))


def fit(row: Row, scorer: nn.Module, split: Split, progress: Progress) -> None:
    """Cross-entropy of both directions within groups of photos that are alike."""
    gates = [value for name, value in scorer.named_parameters() if name.endswith("gate")]
    rest = [value for name, value in scorer.named_parameters() if not name.endswith("gate")]
    decayed = [{"params": gates, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.05}]
    optimizer = torch.optim.AdamW(decayed, lr=LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / 50) * (1 + math.cos(math.pi * step / row.steps)) / 2,
    )
    near = neighbours(split)
    first = torch.searchsorted(split.owner, torch.arange(len(near)))
    count = torch.bincount(split.owner)
    label = torch.arange(GROUP).expand(GROUPS, -1)
    scorer.train()
    for step in range(row.steps):
        middle = torch.randint(len(near), (GROUPS, 1))
        others = torch.rand(GROUPS, NEAREST).argsort(1)[:, : GROUP - 1]
        photos = torch.cat([middle, near[middle, others]], 1)
        captions = first[photos] + (torch.rand(photos.shape) * count[photos]).long()
        view = int(torch.randint(len(split.looks), ()))
        scores = scorer(split.photos(photos, view), split.texts(captions))
        logits = scorer.log_scale.exp().clamp(max=100) * scores
        loss = F.cross_entropy(logits, label) + F.cross_entropy(logits.transpose(1, 2), label)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(scorer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(row.name, step + 1, row.steps)


def neighbours(split: Split) -> Tensor:
    """The photos that lie nearest to each by captions, either's to the other, [N, NEAREST]."""
    similarity = split.similarity()
    photos = similarity.shape[1]
    total = torch.zeros(photos, photos).index_add_(0, split.owner, similarity)
    total = (total + total.T).fill_diagonal_(-torch.inf)
    return total.topk(NEAREST, 1).indices


@torch.no_grad()
def judged(scorer: Scorer | nn.Module, split: Split) -> dict[str, float]:
    """mR in percent: by the scores alone, and by their mean with the dual-stream similarity."""
    dual = split.similarity()
    seen = tops(dual)
    looked_at = seen[0] | seen[1]
    scores = torch.zeros_like(dual)
    # A caption with as many candidates as others of its batch: shorter rows are filled up.
    for captions in looked_at.sum(1).argsort().split(32):
        most = int(looked_at[captions].sum(1).max())
        photos = looked_at[captions].float().topk(most, 1).indices
        found = scorer(split.photos(photos), split.texts(captions[:, None]))
        scores[captions[:, None], photos] = found[:, 0]
    result = {}
    for name, new in (("mean_recall", scores), ("with_duals", (scores + dual) / 2)):
        found = reranked(dual, seen, new, split.owner.numpy())
        result[name] = round(found.mean_recall, 2)
    return result


def store(seed: int, found: dict[str, Any]) -> None:
    path = RESULTS / f"seed-{seed}.json"
    before = json.loads(path.read_text("utf-8")) if path.exists() else {"rows": []}
    made = {row["name"]: row for row in before["rows"]}
    made[found["name"]] = made.get(found["name"], {}) | found
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(("numpy", "torch")),
        "seed": seed,
        "reranked": RERANKED,
        "rows": [made[row.name] for row in ROWS if row.name in made],
    }
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def stored() -> list[dict[str, Any]]:
    """A document a seed."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("seed-*.json"))]


def as_markdown(results: list[dict[str, Any]]) -> str:
    lines = [
        "| | seed | mR | mean with the dual-stream ones | its student's mR, test split |",
        "|---|---:|---:|---:|---:|",
    ]
    order = [row.name for row in ROWS]
    rows = [(result["seed"], row) for result in results for row in result["rows"]]
    for seed, row in sorted(rows, key=lambda one: (order.index(one[1]["name"]), one[0])):
        student = f"{row['student']['mean_recall']:.1f}" if "student" in row else ""
        alone, mean = row["mean_recall"], row["with_duals"]
        lines.append(f"| {row['label']} | {seed} | {alone:.1f} | {mean:.1f} | {student} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
