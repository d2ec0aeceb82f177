"""What the measured process measures, in this one: which searches count, from when to when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcad_mobile.base.machine import Memory
from mcad_mobile.bench import runner, samples
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, SearchEngine, create_index
from mcad_mobile.errors import BenchError, MemoryUnavailable, PhotoError

RUNGS = {"rung": {"image": 0, "text": 0}}
QUERIES = ("a dog", "a cat", "the sea")


@pytest.fixture
def given(bundle: Bundle, tmp_path: Path) -> dict[str, Any]:
    """What a runner is given, without its mode."""
    samples.synthetic_index(bundle, tmp_path / "index", 300)
    photos = tuple(samples.sample_photos(bundle, tmp_path, 3, (64, 48)))
    spec = Spec(bundle, tmp_path / "index", QUERIES, photos, searches=4, threads=2, k=7)
    places = {"bundle": str(bundle.directory), "index": str(spec.index), "scratch": str(tmp_path)}
    places["photos"] = [*map(str, photos)]
    return {**spec.document("search", places), "memory_searches": 5, **RUNGS}


def grown() -> Iterator[Memory]:
    """A process that grows by a MiB each time one looks."""
    for pss in count(10.0):
        yield Memory(pss, pss + 0.5)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the clock and the system say, in order."""

    def set_system(
        clock: Iterable[float],
        waited: Iterable[float | None] = repeat(None),
        memory: Iterable[Memory] | None = None,
    ) -> None:
        ticks, waits, grows = iter(clock), iter(waited), iter(grown() if memory is None else memory)

        def process_memory() -> Memory:
            for now in grows:
                return now
            raise MemoryUnavailable("There is no such file.", "Use Linux.")

        said = SimpleNamespace(process_memory=process_memory, core_wait_s=lambda: next(waits))
        monkeypatch.setattr(runner, "machine", said)
        monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))

    return set_system


def test_searches_are_timed_after_those_that_warm_up(
    given: dict[str, Any],
    system: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    searched: list[tuple[str, int]] = []

    def search(engine: SearchEngine, index: Any, query: str, k: int) -> Found:
        searched.append((query, k))
        assert engine.threads == 2
        ms = {stage: float(len(searched)) for stage in runner.STAGES}
        return Found(query, [], {**ms, "total": 10.0 + len(searched)}, truncated=False)

    monkeypatch.setattr(SearchEngine, "search", search)
    system([100.0, 104.0], waited=[3.0, 4.0])
    found = runner.MODES["search"](given)
    assert searched == [(QUERIES[number % 3], 7) for number in range(5 + 4)]
    assert found["samples_ms"]["total"] == [16.0, 17.0, 18.0, 19.0]
    assert found["samples_ms"]["text"] == [6.0, 7.0, 8.0, 9.0]
    assert (found["photos"], found["waited_share"]) == (300, 0.25)
    steps = ["process start", "runtime loaded", "text tower loaded", "index opened"]
    steps.append("after 5 searches")
    assert [step["step"] for step in found["steps"]] == steps
    assert [(step["pss"], step["rss"]) for step in found["steps"]] == [
        (float(mib), mib + 0.5) for mib in range(10, 15)
    ]
    assert capsys.readouterr().err.splitlines() == [f"step: {name}" for name in [*steps, "timing"]]
    assert found["rung"]["runtime"] == "onnx"


def test_decoding_and_tower_are_timed_apart_and_the_index_as_a_whole(
    given: dict[str, Any], system: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = [0.0, 0.002, 0.003, 1.0, 1.004, 1.006, 2.0, 2.006, 2.009, 10.0, 11.5]
    warmed = []
    monkeypatch.setattr(SearchEngine, "embed_photo", lambda engine, photo: warmed.append(photo))
    system(chain(stamps, count(20.0)))
    found = runner.MODES["index"](given)
    assert warmed[:1] == [Path(given["photos"][0])]
    assert found["samples_ms"]["decode"] == pytest.approx([2.0, 4.0, 6.0])
    assert found["samples_ms"]["image"] == pytest.approx([1.0, 2.0, 3.0])
    assert (found["photos"], found["photos_per_s"]) == (3, 2.0)
    assert [step["step"] for step in found["steps"]] == [
        "process start",
        "runtime loaded",
        "image tower loaded",
        "after 3 photos",
    ]
    Path(given["photos"][1]).write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"photo-001\.jpg"):
        runner.MODES["index"](given)


def test_what_a_system_does_not_tell_is_left_out(
    given: dict[str, Any], system: Callable[..., None]
) -> None:
    system(count(1.0), memory=[])
    found = runner.MODES["search"](given)
    assert found["steps"] == [] and "waited_share" not in found
    with pytest.raises(BenchError, match="simulated time is never a latency"):
        runner.refuse_simulated(simulated=True)


def test_photos_that_are_gone_do_not_count_among_the_first(bundle: Bundle, tmp_path: Path) -> None:
    photos = samples.sample_photos(bundle, tmp_path, 5, (64, 48))
    engine = SearchEngine(bundle)
    with create_index(bundle, tmp_path / "own") as index:
        engine.index_photos(index, photos)
    photos[0].unlink()
    photos[2].unlink()
    photos[2].mkdir()
    assert samples.index_photos(bundle, tmp_path / "own", 2) == [photos[1], photos[3]]
    assert samples.index_photos(bundle, tmp_path / "own", 9) == [photos[1], *photos[3:]]
