"""The smallest of pairs of towers, by what a table says that they lose."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.base.progress import silent
from mcad_mobile.engine.bundle import TOWERS
from mcad_mobile.errors import ExportError, Remedy
from mcad_mobile.export.backends.backend import Candidate, Sensitivity
from mcad_mobile.export.backends.onnx.mixed_precision import mixes
from mcad_mobile.export.export_report import DataFacts, WeightRecord
from mcad_mobile.export.recall_drop import Drop
from mcad_mobile.export.smallest_pair import Budget, Pair, size
from mcad_mobile.export.smallest_pair import smallest_pair as search_for
from mcad_mobile.recall import RecallAt, Retrieval

DATA = DataFacts("photos", "val", 100, 500, "0" * 64)


def smallest_pair(candidates, meter, points, ranked=None):
    """The pair, and the record of the search."""
    return search_for(candidates, ranked or {}, meter, Budget(points, [], DATA), "a table")


class Table:
    """A meter whose towers lose what a table says: alone, and more or less beside each other."""

    def __init__(
        self, alone: dict[Candidate, float], together: dict[Pair, float], margin: float = 0.3
    ) -> None:
        self.alone, self.together, self.margin = alone, together, margin
        self.embedded: list[Candidate] = []
        recall = RecallAt(60.0, 60.0, 60.0)
        self.float_retrieval = Retrieval(100, 500, recall, recall, np.full(100, 60.12345))

    def embed(self, candidates):
        self.embedded += candidates

    def drop(self, towers):
        assert set(towers.values()) <= set(self.embedded)
        found = sum(self.alone[candidate] for candidate in towers.values())
        found += self.together.get(tuple(towers.values()), 0.0)
        return Drop(round(found, 3), self.margin, 100)

    def progress(self, step, done, total):
        assert done < total


def table_of_candidates(seed: int) -> tuple[dict[str, list[Candidate]], Table]:
    """Float, 8 bits, three mixes and 4 bits of towers of unlike sizes, which lose more or less by
    chance, mixes sometimes more than 4 bits do."""
    rng = np.random.default_rng(seed)
    candidates, alone = {}, {}
    for name in TOWERS:
        whole = int(rng.integers(10, 30)) * 10**6
        shares = {"fp32": 1, "int8": 1 / 4, "a": 1 / 5, "b": 1 / 6, "c": 1 / 7, "w4": 1 / 8}
        candidates[name] = [
            Candidate(
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
        alone |= {candidate: max(0.0, rng.normal(0.3, 0.4)) for candidate in candidates[name][1:]}
        alone[candidates[name][0]] = 0.0
    pairs = product(candidates["image"], candidates["text"])
    together = {
        pair: rng.normal(0, 0.1)
        for pair in pairs
        if "fp32" not in {candidate.label for candidate in pair}
    }
    return candidates, Table(alone, together)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("budget", [0.2, 0.65])
def test_no_pair_within_the_budget_is_smaller_than_the_choice(seed, budget):
    candidates, meter = table_of_candidates(seed)
    chosen, _ = smallest_pair(candidates, meter, budget)

    def lost(pair):
        return meter.drop(dict(zip(TOWERS, pair, strict=True))).expected

    pairs = product(candidates["image"], candidates["text"])
    assert lost(chosen) <= budget
    assert size(chosen) == min(size(pair) for pair in pairs if lost(pair) <= budget)


def test_what_was_measured_is_recorded_the_smallest_first():
    candidates, meter = table_of_candidates(1)
    _, record = smallest_pair(candidates, meter, 0.5)
    assert [step.bytes for step in record.steps] == sorted(step.bytes for step in record.steps)
    assert [step.within for step in record.steps] == [False] * (len(record.steps) - 1) + [True]
    alone = {(row.tower, row.precision): row.drop for row in record.alone}
    assert alone == {(row.tower, row.label): round(meter.alone[row], 3) for row in meter.alone}


@pytest.mark.parametrize(
    ("worse", "better", "lost"),
    [
        ({}, {}, (0.4, 0.1)),  # of one size, the one that loses less alone
        ({"bytes": 90}, {"weight_bytes": 90}, (0.0, 0.0)),  # not what a format adds
        ({"activation_bits": 16}, {"activation_bits": 8}, (0.0, 0.1)),
    ],
)
def test_weights_decide_what_is_smaller_then_activation_bits_then_what_is_lost(worse, better, lost):
    image = Candidate("image", "fp32", "fp32", 10, 10, Path("image"), None)
    text = Candidate("text", "mixed", "text", 100, 100, Path("text"), None)
    texts = [replace(text, **facts) for facts in (worse, better)]
    meter = Table({image: 0.0, **dict(zip(texts, lost, strict=True))}, {})
    (_, chosen), _ = smallest_pair({"image": [image], "text": texts}, meter, 0.5)
    assert chosen is texts[1]


def test_the_search_is_recorded_with_the_bits_of_each_weight_that_was_ranked():
    def text(precision, four_bit_weights):
        return Candidate("text", precision, precision, 10, 10, Path("text"), None,
                      four_bit_weights=frozenset(four_bit_weights))  # fmt: skip

    image = Candidate("image", "fp32", "fp32", 10, 10, Path("image"), None)
    ranked = [Sensitivity("a.weight", "a", 100, 0.01), Sensitivity("b.weight", "b", 200, 0.02)]
    for chosen, bits in (
        (text("mixed", ["b.weight"]), [8, 4]),
        (text("int8", []), [8, 8]),
        (text("fp32", []), [32, 32]),
    ):
        meter = Table({image: 0.0, chosen: 0.1}, {})
        tried = {"image": [image], "text": [chosen]}
        _, record = smallest_pair(tried, meter, 0.6, {"text": ranked})
        assert record.weights == (
            WeightRecord("text", "a", 100, 0.01, bits[0]),
            WeightRecord("text", "b", 200, 0.02, bits[1]),
        )
        assert (record.judged_by, record.max_recall_drop) == ("a table", 0.6)
        assert (record.data, record.float_mean_recall) == (DATA, 60.123)
        (step,) = record.steps
        assert (step.bytes, step.mean_recall, step.margin) == (20, 60.023, 0.3)
        assert record.photos_to_tell == 25  # half the margin takes four times the 100 photos
        assert "nothing smaller" in record.why


def test_where_every_pair_loses_more_the_error_says_which_budget_would_do():
    candidates = {
        name: [
            Candidate(name, "mixed", label, size, size, Path(label), None) for label, size in sizes
        ]
        for name, sizes in (("image", [("i", 1)]), ("text", [("small", 1), ("large", 2)]))
    }
    (image,), (small, large) = candidates["image"], candidates["text"]
    meter = Table({image: 0.2, small: 0.5, large: 0.321}, {}, margin=0.0)
    with pytest.raises(ExportError, match=r"image i, text large loses least, 0\.52") as raised:
        smallest_pair(candidates, meter, 0.5)
    assert raised.value.remedy == Remedy.ALLOW_RECALL_DROP
    assert raised.value.values["points"] == "0.53"


def test_the_reason_names_what_is_smaller():
    candidates, meter = table_of_candidates(1)
    chosen, record = smallest_pair(candidates, meter, 0.5)
    number = next(i for i, candidate in enumerate(record.steps) if candidate.within)
    least = min(record.steps[:number], key=lambda step: step.drop)
    for sentence in (
        f"{size(chosen) / 1e6:.1f} MB",
        f"Of {number} smaller pairs none",
        f"image {least.image}, text {least.text} loses least, {least.drop:.2f} (",
    ):
        assert sentence in record.why


class Sampled:
    """A meter that sees what each text tower loses on one sample of photos: its true loss, and an
    error that the sample's standard error is the size of."""

    def __init__(self, truth: dict[Candidate, float], random: np.random.Generator) -> None:
        deviation, self.photos = 8.0, 1000  # of points by photo, as int8 loses on Flickr8k
        error = deviation / self.photos**0.5
        shared = random.normal(0, error / 2**0.5)
        self.margin = 1.96 * error
        self.seen = {
            candidate: lost + shared + random.normal(0, error / 2**0.5)
            for candidate, lost in truth.items()
        }
        self.progress = silent
        recall = RecallAt(60.0, 60.0, 60.0)
        self.float_retrieval = Retrieval(1000, 5000, recall, recall, np.full(1000, 60.0))

    def embed(self, candidates):
        pass

    def drop(self, towers):
        found = self.seen.get(towers.get("text"))
        return Drop(0.0, 0.0, 1000) if found is None else Drop(found, self.margin, self.photos)


def test_the_choice_loses_what_the_budget_allows_on_other_photos_too():
    budget, true_losses, by_sample_alone = 0.5, [], []
    for seed in range(100):
        random = np.random.default_rng(seed)
        image = Candidate("image", "fp32", "fp32", 1, 1, Path("image"), None)
        texts = [
            Candidate("text", "mixed", str(size), size, size, Path("text"), None)
            for size in range(1, 41)
        ]
        # The larger, the less it loses, but for some.
        truth = {
            candidate: 1.6 - candidate.bytes / 25 + random.normal(0, 0.15) for candidate in texts
        }
        meter = Sampled(truth, random)
        (_, chosen), _ = smallest_pair({"image": [image], "text": texts}, meter, budget)
        true_losses.append(truth[chosen])
        lucky = next(candidate for candidate in texts if meter.seen[candidate] <= budget)
        by_sample_alone.append(truth[lucky])
    assert np.mean(by_sample_alone) > budget + 0.05  # so many within the budget are by luck
    assert np.mean(true_losses) <= budget
    assert np.mean(true_losses) > budget - 0.3  # and it is not float that is chosen


def test_a_drop_that_is_recorded_as_the_budget_is_within_it():
    candidates = [Candidate(name, "mixed", "small", 1, 1, Path("small"), None) for name in TOWERS]
    drops = dict(zip(candidates, (0.1, 0.2), strict=True))  # 0.1 + 0.2 is more than 0.3
    meter = Table(drops, {}, margin=0.0)
    tried = {candidate.tower: [candidate] for candidate in candidates}
    (step,) = smallest_pair(tried, meter, 0.3)[1].steps
    assert (step.drop, step.within) == (0.3, True)


def test_mixes_take_each_sixth_of_the_numbers_or_less():
    assert mixes([1] * 12) == [0, 2, 4, 6, 8, 10, 12]
    assert mixes([5, 1]) == [0, 1, 2]
    assert mixes([1, 5]) == [0, 1, 2]
    assert mixes([]) == [0]
