"""What a distillation's parts take in float32 and in bfloat16, and whether a student notices.

    python benchmarks/distill_arithmetic.py --data flickr8k

Processor time of one thread, which other processes hardly change: the piece that `distill` measures
before it chooses, and the parts that take most of a run, with what they add up to. With --data,
recall of the default student on the test split, its trunk's grids computed in either. Writes
benchmarks/results/distill_arithmetic.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.cli.output import progress_bar
from mcad_mobile.data.captions import load_captions
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.arithmetic import autocast, measure
from mcad_mobile.distill.device import keep_freed_memory
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.frozen_trunk import FrozenTrunk, retrieval
from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.progress import WholeRun
from mcad_mobile.distill.recipe import Arithmetic, Recipe
from mcad_mobile.distill.teachers.region_text import RegionText, RegionTextTeacher
from mcad_mobile.distill.trainee import Learner
from mcad_mobile.preprocess import open_photo
from mcad_mobile.students.load import load_student
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.versions import tool_versions

RESULTS = Path(__file__).parent / "results" / "distill_arithmetic.json"
ARITHMETICS: tuple[Arithmetic, ...] = ("fp32", "bf16")
CPU = torch.device("cpu")
# Of the default recipe, with 6,000 captioned photos (five captions each), 1,000 that are looked at,
# 6,318 without captions and 32,000 captions without photos. Two dual-stream teachers read captions
# twice, for themselves and for the single-stream teacher. A step of the student has 192 photos, and
# 128 names of classes, of 7 tokens.
UNITS = {
    "grids of EfficientNet-Lite0, a photo": 5 * 6000 + 6318 + 1000,
    "grids of EfficientNet-Lite2, a photo": 5 * 6000 + 6318,
    "dual-stream teacher, a caption": 2 * 2 * 62_000,
    "dual-stream teacher, training, a pair": 2 * 12 * 46 * 128,
    "student, training, a caption": 12 * 46 * (256 + 128 * 7 // 13),
}
PAIRS, TOKENS = 32, 13  # a caption of Flickr8k has 13.1 tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="Karpathy layout, with a test split")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"piece_ms": measure(CPU), "parts_ms": (each := parts())}
    result["minutes_of_these_parts_in_the_default_recipe"] = {
        arithmetic: round(sum(UNITS[name] * ms[arithmetic] for name, ms in each.items()) / 60_000)
        for arithmetic in ARITHMETICS
    }
    if arguments.data:
        result["mean_recall"] = recalls(arguments.data)
    result |= {
        "device": device_facts(),
        "threads": 1,
        "versions": tool_versions(("torch", "accelerate")),
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def parts() -> dict[str, dict[Arithmetic, float]]:
    """ms of processor time a photo, a caption or a pair, in each arithmetic."""
    found: dict[str, dict[Arithmetic, float]] = {}
    photos = [open_photo(path) for path in packaged_photos()[:16]]
    captions = [" ".join(["word"] * (TOKENS - 2))] * 64
    student = load_student()
    assert isinstance(student, McadStudent)
    learner = Learner(FrozenTrunk(student, "", ""), Recipe(), taught=True)
    teacher = RegionText([352, 320])
    ids, mask = torch.randint(1000, 20000, (PAIRS, TOKENS)), torch.ones(PAIRS, TOKENS)
    for arithmetic in ARITHMETICS:
        trunks = [GridTrunk.pretrained(size, arithmetic) for size in (0, 2)]
        reader = RegionTextTeacher(trunks, RegionText([320, 352]))
        works: dict[str, tuple[int, Callable[[], object]]] = {
            "grids of EfficientNet-Lite0, a photo": (16, partial(trunks[0].grids, photos)),
            "grids of EfficientNet-Lite2, a photo": (16, partial(trunks[1].grids, photos)),
            "dual-stream teacher, a caption": (64, partial(reader.embed_texts, captions)),
            "dual-stream teacher, training, a pair": (
                PAIRS,
                training(arithmetic, teacher, torch.rand(PAIRS, 7, 7, 672), ids, mask),
            ),
            "student, training, a caption": (
                PAIRS,
                training(arithmetic, learner, torch.rand(PAIRS * 3 // 4, 7, 7, 192), ids, mask),
            ),
        }
        for name, (number, work) in works.items():
            found.setdefault(name, {})[arithmetic] = round(best(work) / number, 2)
    return found


def training(arithmetic: Arithmetic, model: nn.Module, *inputs: Tensor) -> Callable[[], object]:
    def step() -> None:
        with autocast(arithmetic, CPU):
            out = model.train()(*inputs)
        image, text = (out["image"], out["text"]) if isinstance(out, dict) else out[:2]
        (image @ text.T).square().mean().backward()

    return step


def best(work: Callable[[], object], rounds: int = 3) -> float:
    taken = []
    for _ in range(rounds):
        before = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - before))
    return min(taken)


def recalls(data: Path) -> dict[Arithmetic, float]:
    """Of the default student on the test split."""
    student, photos = load_student(), load_captions(data, "test")
    assert isinstance(student, McadStudent)
    found: dict[Arithmetic, float] = {}
    for arithmetic in ARITHMETICS:
        # The cache does not tell arithmetics apart.
        with tempfile.TemporaryDirectory() as folder, progress_bar() as advance:
            cache = FeatureCache(Path(folder), WholeRun({}, advance))
            recall = retrieval(student, photos, cache, arithmetic).mean_recall
            found[arithmetic] = round(recall, 2)
    return found


if __name__ == "__main__":
    main()
