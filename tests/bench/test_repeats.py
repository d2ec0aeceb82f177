"""Which runs count, and which rungs may be measured."""

from __future__ import annotations

import math
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.base.machine import Memory
from mcad_mobile.bench import session
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.document import Health
from mcad_mobile.bench.repeats import Repeat, cool_down, counted_runs
from mcad_mobile.bench.self_test import choose_rung, judge_ladder
from mcad_mobile.bench.watch import Watched
from mcad_mobile.engine.bundle import Bundle, Parity
from mcad_mobile.errors import BenchError

COOL = Health(thermal_status=0)


def repeat(ms: float, before: Health = COOL, after: Health = COOL) -> Repeat:
    document = {"samples_ms": {"total": [ms * 0.9, ms, ms * 1.5]}}
    return Repeat(Watched(document, Memory(1, 1), samples=1), before, after)


def why(*repeats: Repeat) -> list[str]:
    return [run["why"] for run in counted_runs(repeats)[1]]


def test_cool_and_equal_runs_all_count() -> None:
    counted, runs = counted_runs([repeat(3.0), repeat(3.2), repeat(3.1)])
    assert len(counted) == 3
    assert [run["p50_ms"] for run in runs] == [3.0, 3.2, 3.1]


def test_run_that_slowed_down_does_not_count() -> None:
    assert why(repeat(3.0), repeat(3.6)) == ["", "20 % slower than the fastest run"]


@pytest.mark.parametrize(("ms", "counts"), [(3.44, True), (3.46, False)])
def test_a_run_may_be_15_percent_slower_than_the_fastest(ms: float, counts: bool) -> None:
    assert [not reason for reason in why(repeat(3.0), repeat(ms))] == [True, counts]


def test_run_under_thermal_status_does_not_count_even_if_it_was_fast() -> None:
    hot = repeat(2.0, after=Health(thermal_status=1))
    assert why(hot, repeat(3.0)) == ["thermal status 1", ""]


def test_run_that_began_hot_does_not_count_even_if_it_ended_cool() -> None:
    assert why(repeat(3.0, before=Health(thermal_status=3)), repeat(3.0)) == [
        "thermal status 3",
        "",
    ]


def test_clock_that_is_lowered_in_between_does_not_count() -> None:
    lowered = repeat(3.0, after=Health(thermal_status=0, capped={"7": 2400}))
    assert why(repeat(3.0), lowered) == ["", "the clock was lowered: core 7 at 2400 MHz"]


def test_clock_that_was_capped_from_the_start_is_a_condition() -> None:
    capped = Health(thermal_status=0, capped={"7": 2400})
    counted, runs = counted_runs([repeat(3.0, capped, capped)])
    assert len(counted) == 1
    assert runs[0]["before"]["capped"] == {"7": 2400}


def test_device_that_throttles_throughout_is_an_error_not_an_average() -> None:
    hot = repeat(3.0, after=Health(thermal_status=3))
    with pytest.raises(BenchError, match="throttled in all of 2 runs") as caught:
        counted_runs([hot, hot])
    assert "--cool-down" in caught.value.hint


def test_cooling_goes_on_until_the_device_is_cool() -> None:
    status, slept = iter([2, 1, 0]), []
    cool_down(lambda: Health(thermal_status=next(status)), 15.0, sleep=slept.append)
    assert slept == [15.0, 5.0, 5.0]


def test_cooling_gives_up_in_the_end() -> None:
    slept: list[float] = []
    cool_down(lambda: Health(thermal_status=4), 15.0, sleep=slept.append)
    assert sum(slept) == 300.0
    slept.clear()
    cool_down(lambda: Health(thermal_status=4), 0.0, sleep=slept.append)
    assert slept == []  # nobody asked for it


def checked(bundle: Bundle, text: Any, **more: Any) -> dict[str, Any]:
    images = np.load(bundle.path(bundle.image.golden.embeddings)).tolist()
    tried = {"rung": 0, "loaded": True, "nodes": None}
    return {
        "ladder": {
            "image": [{**tried, "embeddings": images}],
            "text": [{**tried, "embeddings": text, **more}],
        }
    }


def golden(bundle: Bundle) -> Any:
    return np.load(bundle.path(bundle.text.golden.embeddings))


def test_right_embeddings_of_any_length_pass(bundle: Bundle) -> None:
    ladder = judge_ladder(bundle, checked(bundle, (golden(bundle) * 7).tolist()))
    assert [ladder[name][0]["status"] for name in ("image", "text")] == ["pass", "pass"]
    assert ladder["text"][0]["cosine_min"] == pytest.approx(1.0, abs=1e-5)


def test_one_wrong_embedding_of_four_fails(bundle: Bundle) -> None:
    wrong = golden(bundle).copy()
    wrong[2] = wrong[1]
    ladder = judge_ladder(bundle, checked(bundle, wrong.tolist()))
    assert ladder["text"][0]["status"] == "fail"
    with pytest.raises(BenchError, match="No rung of the text tower"):
        choose_rung(ladder, "text")


@pytest.mark.parametrize(
    "broken",
    [[[math.nan] * 64] * 4, [[None] * 64] * 4, [[0.1] * 32] * 4, [[0.0] * 64] * 4, None],
)
def test_malformed_embeddings_fail(bundle: Bundle, broken: Any) -> None:
    assert judge_ladder(bundle, checked(bundle, broken))["text"][0]["status"] == "fail"


def test_other_tokens_fail(bundle: Bundle) -> None:
    ids = np.load(bundle.path(bundle.text.golden.ids)).tolist()
    right = checked(bundle, golden(bundle).tolist(), tokens=ids)
    assert judge_ladder(bundle, right)["text"][0]["status"] == "pass"
    ids[0][1] += 1
    wrong = checked(bundle, golden(bundle).tolist(), tokens=ids)
    (found,) = judge_ladder(bundle, wrong)["text"]
    assert found["status"] == "fail"
    assert "tokenizer" in found["why"]


@pytest.mark.parametrize(("parity", "status"), [(0.9995, "fail"), (0.97, "pass")])
def test_a_device_may_be_as_far_from_the_file_as_quantization_took_it_from_float(
    bundle: Bundle, parity: float, status: str
) -> None:
    rung = replace(bundle.text.rungs[0], parity=Parity(16, parity, 0.8))
    lossy = replace(bundle, text=replace(bundle.text, rungs=(rung,)))
    almost = golden(bundle) + 0.06 * np.roll(golden(bundle), 1, axis=1)
    (found,) = judge_ladder(lossy, checked(lossy, almost.tolist()))["text"]
    assert 0.99 < found["cosine_min"] < 0.999
    assert found["status"] == status


def test_a_runtime_that_is_named_is_the_only_one_tried(bundle: Bundle) -> None:
    (rung,) = bundle.text.rungs
    rungs = (replace(rung, runtime="litert"), rung, replace(rung, precision="int8"))
    laddered = replace(bundle, text=replace(bundle.text, rungs=rungs))

    def tried(runtime: str | None) -> dict[str, list[int]]:
        return dict(Spec(laddered, Path(), (), (), runtime=runtime).candidates())

    assert tried(None) == {"image": [0], "text": [0, 1, 2]}
    assert tried("onnx") == {"image": [0], "text": [1, 2]}
    assert tried("litert") == {"image": [], "text": [0]}


class Launched:
    """A device whose runs of searches take the medians that are given, and what was asked of it."""

    def __init__(self, bundle: Bundle, medians: list[float], heats: list[int]) -> None:
        self.places = {"bundle": "bundle", "index": "index", "photos": ["photo"]}
        self.asked: list[str] = []
        self._bundle, self._medians, self._heats = bundle, iter(medians), iter(heats)

    def health(self) -> Health:
        self.asked.append("health")
        return Health(thermal_status=next(self._heats))

    def launch(self, document: dict[str, Any], progress: Any) -> Watched:
        self.asked.append(document["mode"])
        assert document["rung"] == {"image": 0, "text": 0}
        step = {"step": "after 100 searches", "pss": 61.0, "rss": 70.0}
        if document["mode"] == "index":
            printed = {"photos": 4, "photos_per_s": 2.5, "steps": [step]}
            samples = {"decode": [1.0, 3.0], "image": [2.0, 4.0]}
            return Watched({**printed, "samples_ms": samples, "pinned_cores": []}, Memory(9, 80), 2)
        ms = next(self._medians)
        stages = ("tokenize", "text", "scan", "rescore", "total")
        printed = {
            "photos": 500,
            "bytes_per_photo": 300.0,
            "steps": [step],
            "samples_ms": {stage: [ms, ms] for stage in stages},
            "waited_share": ms / 100,
            "pinned_cores": [6, 7],
        }
        return Watched({**printed}, Memory(50 + ms, 60 + ms), samples=10)


def test_a_device_rests_between_runs_and_what_counts_is_put_together(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested, heard = [], []

    def rest(health: Any, least_s: float) -> None:
        rested.append((len(launcher.asked), least_s))

    monkeypatch.setattr(session, "cool_down", rest)
    launcher = Launched(bundle, [3.0, 2.0, 2.2, 15.0], [0, 0, 0, 0, 0, 0, 0, 2])
    spec = Spec(
        bundle, Path("i"), ("a dog",), (), searches=2, threads=2, repeats=4, cool_down_s=7.5, k=3
    )
    rung = {"rung": 0, "runtime": "onnx", "precision": "fp32", "status": "pass", "provider": None}
    ladder: Any = {name: [{**rung, "nodes": {"cpu": 3}, "why": ""}] for name in ("image", "text")}
    found = session.Session(launcher, spec, heard.append).measure(ladder)
    assert launcher.asked == ["health", "search", "health"] * 4 + ["index"]
    assert rested == [(3, 7.5), (6, 7.5), (9, 7.5)]
    assert heard == [f"cooling down before run {number} of 4" for number in (2, 3, 4)]
    conditions = found["conditions"]
    assert [run["counted"] for run in conditions["repeats"]] == [False, True, True, False]
    assert found["samples_ms"]["total"] == [2.0, 2.0, 2.2, 2.2]
    assert found["latency_ms"]["total"]["p50"] == pytest.approx(2.1)
    assert found["latency_ms"]["decode"]["p50"] == 2.0
    assert conditions["waited_share"] == pytest.approx(0.022)
    assert conditions["pinned_cores"] == [6, 7]
    facts = ("threads", "searches", "warm_up_searches", "results_per_search", "page_cache")
    assert [conditions[name] for name in facts] == [2, 2, 100, 3, "warm"]
    memory = found["memory_mib"]
    # Steps may lie above all samples, and samples above all steps.
    assert (memory["peak_pss"], memory["peak_rss"], memory["samples"]) == (61.0, 70.0, 20)
    assert (memory["indexing"]["peak_pss"], memory["indexing"]["peak_rss"]) == (61.0, 80)
    assert found["indexing"] == {"photos": 4, "photos_per_s": 2.5}
    assert found["index"] == {"photos": 500, "bytes_per_photo": 300.0}
    one = Launched(bundle, [2.0], [0, 0])
    alone = session.Session(one, replace_fields(spec, repeats=1, threads=1)).measure(ladder)
    assert alone["conditions"]["pinned_cores"] == []  # it may use more cores than threads
    assert len(rested) == 3
