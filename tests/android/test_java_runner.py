"""The headless runner keeps its contract with `bench --device adb`; here it runs on a JVM."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks.jvm import ONNXRUNTIME_JVM, jvm_libraries
from mcad_mobile.android.toolchain import JAVA, executable
from mcad_mobile.bench.samples import sample_photos, synthetic_index
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import choose_rung, normalize
from tests.support.probe import KERNELS, variant
from tests.support.tiny_bundle import (
    make_tiny_bundle,
    text_rung_of_infinities,
    text_rung_of_integers,
    text_rung_that_fails,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """With a rung in front that only a phone has."""
    folder = tmp_path_factory.mktemp("bundle")
    tiny = make_tiny_bundle(folder / "tiny")
    rungs = (replace(tiny.text.rungs[0], runtime="qnn", precision="w8a16"), *tiny.text.rungs)
    laddered = variant(tiny, folder / "laddered", text=replace(tiny.text, rungs=rungs))
    return Bundle.load(laddered)


class Runner:
    """A device's folder, and the runner in it."""

    def __init__(self, classes: Path, bundle: Bundle, folder: Path) -> None:
        self._classes, self._folder = classes, folder
        (folder / "scratch").mkdir()
        synthetic_index(bundle, folder / "index", 5000)
        photos = sample_photos(bundle, folder, 3, size=(800, 600))
        self.spec = {
            "schema": "mcad-run/1",
            "bundle": str(bundle.directory),
            "index": str(folder / "index"),
            "queries": ["dog", "a dog on the beach", "sunset"],
            "photos": [str(photo) for photo in photos],
            "memory_searches": 10,
            "searches": 7,
            "k": 10,
            "threads": 1,
            "rungs": {"image": [0], "text": [0, 1]},
            "rung": {"image": 0, "text": 1},
            "scratch": str(folder / "scratch"),
            "unknown": "fields are ignored",
        }

    def __call__(self, mode: str, *, code: int = 0, **changes):
        """The document, and the steps that standard error announced."""
        spec = self._folder / "spec.json"
        spec.write_text(json.dumps({**self.spec, "mode": mode, **changes}))
        classpath = ":".join(map(str, [self._classes, *jvm_libraries()]))
        done = subprocess.run(
            [
                executable(JAVA),
                KERNELS,
                "-cp",
                classpath,
                "io.github.mcadmobile.runner.Main",
                str(spec),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        steps = [line[6:] for line in done.stderr.splitlines() if line.startswith("step: ")]
        return json.loads(done.stdout), steps


@pytest.fixture(scope="module")
def runner(java_classes, bundle, tmp_path_factory) -> Runner:
    return Runner(java_classes, bundle, tmp_path_factory.mktemp("device"))


def test_check_tries_each_rung_and_gives_its_embeddings(runner, bundle):
    document, steps = runner("check")
    (image,) = document["ladder"]["image"]
    qnn, text = document["ladder"]["text"]
    assert qnn["loaded"] is False
    assert "libQnnHtp.so is not there" in qnn["why"]
    assert "the archive that holds it" in qnn["why"]
    assert (text["loaded"], text["provider"], text["runtime"]) == (True, "CPU", "onnx")
    assert text["nodes"] == {"npu": 0, "gpu": 0, "cpu": bundle.text.rungs[1].total_nodes}
    for name, found in (("image", image), ("text", text)):
        golden = bundle.tower(name).golden
        expected = np.load(bundle.path(golden.embeddings))
        cosines = (normalize(np.array(found["embeddings"], np.float32)) * normalize(expected)).sum(
            axis=1
        )
        assert cosines.min() > 0.9999
    ids = np.load(bundle.path(bundle.text.golden.ids))
    assert text["tokens"] == ids.tolist()
    assert steps == [
        "checking image onnx fp32",
        "checking text qnn w8a16",
        "checking text onnx fp32",
    ]
    assert document["pinned_cores"] == sorted(os.sched_getaffinity(0))
    assert document["tools"]["onnxruntime"] == ONNXRUNTIME_JVM.version


def test_a_rung_that_fails_when_it_runs_stops_no_other(java_classes, tmp_path):
    """One that ONNX Runtime fails on, one that nobody foresaw, whose output is no float, and one
    that gives infinities, for which JSON has no number."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    odd = (text_rung_that_fails(tiny), text_rung_of_integers(tiny), text_rung_of_infinities(tiny))
    text = replace(tiny.text, rungs=(*odd, *tiny.text.rungs))
    bundle = Bundle.load(variant(tiny, tmp_path / "laddered", text=text))
    (tmp_path / "device").mkdir()
    runner = Runner(java_classes, bundle, tmp_path / "device")
    document, _ = runner("check", rungs={"image": [], "text": [0, 1, 2, 3]})
    fails, integers, infinities, right = document["ladder"]["text"]
    rungs = (fails, integers, infinities, right)
    assert [rung["loaded"] for rung in rungs] == [False, False, True, True]
    assert {value for row in infinities["embeddings"] for value in row} == {None}
    assert "Reshape" in fails["why"]
    assert "NullPointerException" in integers["why"]


def test_search_loads_what_a_search_needs_and_times_its_stages(runner, bundle):
    document, steps = runner("search")
    names = ["process start", "runtime loaded", "text tower loaded", "index opened"]
    assert [step["step"] for step in document["steps"]] == [*names, "after 10 searches"]
    assert steps == [*names, "after 10 searches", "timing"]
    assert all(0 < step["pss"] <= step["rss"] for step in document["steps"])
    assert document["photos"] == 5000
    assert document["bytes_per_photo"] > bundle.dim
    assert document["rung"] == {
        "runtime": "onnx",
        "precision": "fp32",
        "bytes": bundle.text.rungs[1].bytes,
    }
    samples = document["samples_ms"]
    assert {name: len(times) for name, times in samples.items()} == dict.fromkeys(
        ("tokenize", "text", "scan", "rescore", "total"), 7
    )
    for number, total in enumerate(samples["total"]):
        parts = sum(samples[name][number] for name in samples if name != "total")
        assert 0 < parts <= total


def test_index_decodes_and_embeds_and_leaves_nothing(runner, bundle):
    started = time.monotonic()
    document, steps = runner("index")
    took_ms = 1000 * (time.monotonic() - started)
    decode = document["samples_ms"]["decode"]
    assert all(0.1 < ms < took_ms for ms in decode)
    assert document["photos"] == 3
    assert 3000 / took_ms < document["photos_per_s"] < 10_000 / min(decode)
    assert [len(document["samples_ms"][name]) for name in ("decode", "image")] == [3, 3]
    assert document["rung"]["bytes"] == bundle.image.rungs[0].bytes
    assert steps[-1] == "after 3 photos"
    assert list(Path(runner.spec["scratch"]).iterdir()) == []


def test_the_image_towers_time_is_without_decoding(runner, bundle, tmp_path):
    """A photo that takes far longer to decode than the tiny tower takes to run."""
    photos = sample_photos(bundle, tmp_path, 3, size=(2400, 1800))
    document, _ = runner("index", photos=[str(photo) for photo in photos])
    samples = document["samples_ms"]
    assert 3 * min(samples["image"]) < min(samples["decode"])


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("search", {"schema": "mcad-run/9"}, "has schema 'mcad-run/9'"),
        ("dance", {}, "is not check, search or index"),
        ("search", {"bundle": "/nowhere"}, "No bundle at /nowhere"),
        ("search", {"index": "/nowhere"}, "There is no photo index at /nowhere"),
        ("search", {"rung": {"text": 0}}, "libQnnHtp.so is not there"),
        ("search", {"rung": {"text": 7}}, "There is no rung 7"),
        ("search", {"queries": []}, "has [] in queries, where at least one belongs"),
        ("index", {"photos": ["/nowhere.jpg"]}, "/nowhere.jpg cannot be decoded"),
    ],
)
def test_what_was_foreseen_is_an_error_with_words(runner, mode, changes, message):
    document, _ = runner(mode, code=1, **changes)
    assert message in document["error"]["what"]
    assert document["error"]["hint"]


def test_the_text_tower_is_the_one_that_python_runs(runner, bundle):
    tower = choose_rung(bundle, "text").tower
    inputs = {name: np.load(bundle.path(r)) for name, r in bundle.text.golden.inputs.items()}
    document, _ = runner("check", rungs={"image": [], "text": [1]})
    found = np.array(document["ladder"]["text"][0]["embeddings"], np.float32)
    assert np.allclose(found, tower(inputs), atol=1e-5)
