"""The smallest of pairs of towers, by what a table says that they lose."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.bundle import TOWERS, DataFacts, RecallAt
from mcad_mobile.export.precision.recall import Drop
from mcad_mobile.export.precision.recipes import Pair, Recipe, mixes, size
from mcad_mobile.export.precision.search import Search
from mcad_mobile.students.evaluation import Retrieval


class Table:
    """A meter whose towers lose what a table says: alone, and more or less beside each other."""

    def __init__(self, alone: dict[Recipe, float], together: dict[Pair, float]) -> None:
        self.alone, self.together = alone, together
        self.embedded: list[Recipe] = []
        self.data = DataFacts("photos", "val", 100, 500, "0" * 64)
        recall = RecallAt(60.0, 60.0, 60.0)
        self.float_retrieval = Retrieval(100, 500, recall, recall, np.full(100, 60.0))

    def embed(self, candidates):
        self.embedded += candidates

    def drop(self, towers):
        assert set(towers.values()) <= set(self.embedded)
        found = sum(self.alone[recipe] for recipe in towers.values())
        return Drop(found + self.together.get(tuple(towers.values()), 0.0), 0.3, 100)

    def progress(self, step, done, total):
        assert done < total


def table_of_recipes(seed: int) -> tuple[dict[str, list[Recipe]], Table]:
    """Float, 8 bits, three mixes and 4 bits of towers of unlike sizes, which lose more or less by
    chance, mixes sometimes more than 4 bits do."""
    rng = np.random.default_rng(seed)
    candidates, alone = {}, {}
    for name in TOWERS:
        whole = int(rng.integers(10, 30)) * 10**6
        shares = {"fp32": 1, "int8": 1 / 4, "a": 1 / 5, "b": 1 / 6, "c": 1 / 7, "w4": 1 / 8}
        candidates[name] = [
            Recipe(
                name,
                "fp32" if label == "fp32" else "mixed",
                label,
                round(whole * share),
                round(whole * share),
                Path(label),
                None,
            )
            for label, share in shares.items()
        ]
        alone |= {recipe: max(0.0, rng.normal(0.3, 0.4)) for recipe in candidates[name][1:]}
        alone[candidates[name][0]] = 0.0
    pairs = product(candidates["image"], candidates["text"])
    together = {
        pair: rng.normal(0, 0.1)
        for pair in pairs
        if "fp32" not in {recipe.label for recipe in pair}
    }
    return candidates, Table(alone, together)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("budget", [0.05, 0.5])
def test_no_pair_within_the_budget_is_smaller_than_the_choice(seed, budget):
    candidates, meter = table_of_recipes(seed)
    chosen = Search(candidates, meter, budget).run()

    def lost(pair):
        return round(meter.drop(dict(zip(TOWERS, pair, strict=True))).points, 3)  # as it is told

    pairs = product(candidates["image"], candidates["text"])
    assert lost(chosen) <= budget
    assert size(chosen) == min(size(pair) for pair in pairs if lost(pair) <= budget)


def test_what_was_measured_is_recorded_the_smallest_first():
    candidates, meter = table_of_recipes(1)
    search = Search(candidates, meter, 0.5)
    record = search.record(search.run(), {}, "a table")
    assert [step.bytes for step in record.steps] == sorted(step.bytes for step in record.steps)
    assert [step.within for step in record.steps] == [False] * (len(record.steps) - 1) + [True]
    alone = {(row.tower, row.precision): row.drop for row in record.alone}
    assert alone == {(row.tower, row.label): round(meter.alone[row], 3) for row in meter.alone}


def test_of_pairs_of_one_size_the_one_whose_towers_lose_less_alone_comes_first():
    def tower(name, label, lost):
        return Recipe(name, "mixed", label, 10, 10, Path(label), None), lost

    rows = [tower("image", "dear", 0.4), tower("image", "cheap", 0.1), tower("text", "text", 0.0)]
    meter = Table(dict(rows), {})
    recipes = [recipe for recipe, _ in rows]
    chosen = Search({"image": recipes[:2], "text": recipes[2:]}, meter, 0.5).run()
    assert chosen[0].label == "cheap"


def test_the_reason_names_what_is_smaller():
    candidates, meter = table_of_recipes(1)
    search = Search(candidates, meter, 0.5)
    chosen = search.run()
    record = search.record(chosen, {}, "a table")
    number = next(i for i, recipe in enumerate(record.steps) if recipe.within)
    least = min(record.steps[:number], key=lambda step: step.drop)
    for sentence in (
        f"{size(chosen) / 1e6:.1f} MB",
        f"Of {number} smaller pairs none",
        f"image {least.image}, text {least.text} loses least, {least.drop:.2f}",
    ):
        assert sentence in record.why


def test_a_drop_that_is_recorded_as_the_budget_is_within_it():
    recipes = [Recipe(name, "mixed", "small", 1, 1, Path("small"), None) for name in TOWERS]
    meter = Table(dict(zip(recipes, (0.1, 0.2), strict=True)), {})  # 0.1 + 0.2 is more than 0.3
    search = Search({recipe.tower: [recipe] for recipe in recipes}, meter, 0.3)
    (step,) = search.record(search.run(), {}, "a table").steps
    assert (step.drop, step.within) == (0.3, True)


def test_mixes_take_each_sixth_of_the_numbers_or_less():
    assert mixes([1] * 12) == [0, 2, 4, 6, 8, 10, 12]
    assert mixes([5, 1]) == [0, 1, 2]
    assert mixes([1, 5]) == [0, 1, 2]
    assert mixes([]) == [0]
