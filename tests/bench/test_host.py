"""The bench on this host: lean processes, and what they do when they fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.bench import measurement, runner, samples
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices import host
from mcad_mobile.bench.measurement import Workload
from mcad_mobile.bench.report import markdown
from mcad_mobile.bench.samples import PHOTO_SIZE
from mcad_mobile.bench.self_test import Ladder, choose_rung, judge_ladder
from mcad_mobile.bench.session import Session
from mcad_mobile.engine.bundle import Bundle, Rung
from mcad_mobile.engine.engine import create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.towers import why_not
from mcad_mobile.errors import BenchError, PhotoIndexError
from tests.support.tiny_bundle import make_tiny_bundle, text_rung_of_integers, text_rung_that_fails

pytestmark = pytest.mark.long


SEARCH_STEPS = [
    "process start",
    "runtime loaded",
    "text tower loaded",
    "index opened",
    "after 100 searches",
]


def small(**asked: Any) -> Workload:
    return Workload(photo_size=(160, 120), **asked)


def test_bench_fills_the_document(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    (tmp_path / "numpy.py").write_text("raise ImportError('the user has a numpy.py')")
    monkeypatch.chdir(tmp_path)
    document = measurement.bench(bundle, small(synthetic=2000, searches=20), progress=heard.append)
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == "mcad-bench/1"
    assert document["device"]["kind"] == "host"
    assert document["index"]["photos"] == 2000
    assert [step["step"] for step in document["memory_mib"]["steps"]] == SEARCH_STEPS
    assert set(document["latency_ms"]) == {
        "tokenize",
        "text",
        "scan",
        "rescore",
        "total",
        "decode",
        "image",
    }
    assert document["conditions"]["threads"] == len(document["conditions"]["pinned_cores"]) == 1
    assert document["indexing"]["photos_per_s"] > 0
    assert document["measured"]
    assert any("NPU" in item for item in document["not_measured"])
    assert "text tower loaded" in heard


def with_text_rung(bundle: Bundle, rung: Rung) -> Bundle:
    """A copy of `bundle` with `rung` before its own."""
    text = replace(bundle.text, rungs=(rung, *bundle.text.rungs))
    laddered = replace(bundle, text=text)
    laddered.save()
    return laddered


@pytest.mark.parametrize(
    ("rung", "status", "why"),
    [
        (text_rung_that_fails, "skip", "cannot run .*fails.onnx: .*Reshape"),
        (text_rung_of_integers, "fail", "is not one embedding"),
    ],
)
def test_rung_that_fails_when_it_runs_is_recorded_and_the_next_is_measured(
    tmp_path: Path, rung: Callable[[Bundle], Rung], status: str, why: str
) -> None:
    tiny = make_tiny_bundle(tmp_path / "bundle")
    document = measurement.bench(with_text_rung(tiny, rung(tiny)), small(synthetic=300, searches=1))
    first, second = document["ladder"]["text"]
    assert (first["status"], second["status"]) == (status, "pass")
    assert re.search(why, first["why"])
    assert document["runtime"]["text"]["precision"] == "fp32"
    (row,) = (line for line in markdown(document).splitlines() if "w8a8" in line)
    assert re.search(why, row) and row.endswith("|")


def test_embeddings_of_different_lengths_are_wrong_and_no_more(bundle: Bundle) -> None:
    ragged = {"rung": 0, "loaded": True, "embeddings": [[0.5], [0.5, 0.5]]}
    (judged,) = judge_ladder(bundle, {"ladder": {"image": [ragged], "text": []}})["image"]
    assert (judged["status"], judged["cosine_min"]) == ("fail", None)


def test_a_slow_rung_is_tried_only_if_its_runtime_is_named_and_a_simulated_one_never(
    tmp_path: Path,
) -> None:
    tiny = make_tiny_bundle(tmp_path / "bundle")
    slow = replace(tiny.text.rungs[0], runtime="litert", precision="w8a16")
    simulated = replace(slow, runtime="qnn")
    bundle = with_text_rung(with_text_rung(tiny, slow), simulated)

    def tried(number: int, runtime: str | None = None) -> dict[str, Any]:
        given = {"bundle": str(bundle.directory), "threads": 1, "runtime": runtime}
        (found,) = runner.check({**given, "rungs": {"text": [number]}})["ladder"]["text"]
        return found

    assert tried(0)["why"] == tried(0, "qnn")["why"] == why_not(simulated)
    assert tried(1)["why"] == why_not(slow) is not None
    assert tried(1, "litert")["why"] not in ("", why_not(slow))  # its file is no LiteRT model
    loaded = tried(2)
    assert loaded["loaded"] and tiny.text.golden.ids is not None
    assert loaded["tokens"] == np.load(tiny.path(tiny.text.golden.ids)).tolist()


CRASH = """
import os, signal, sys
from mcad_mobile.engine import towers
load = towers.load_tower
def load_tower(bundle, rung, threads=1):
    if rung.precision in {precisions}:
        print("Fatal signal 11", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return load(bundle, rung, threads)
towers.load_tower = load_tower
from mcad_mobile.bench import runner
sys.exit(runner.main())
"""


def self_test_of_a_crashing_runner(folder: Path, *precisions: str) -> Ladder:
    """The ladder, where towers of these precisions take their process down as they load."""
    tiny = make_tiny_bundle(folder / "bundle")
    bundle = with_text_rung(tiny, text_rung_that_fails(tiny))
    spec = Spec(bundle, folder / "index", ("a dog",), ())
    command = (sys.executable, "-c", CRASH.format(precisions=precisions))
    launcher = host.HostLauncher(spec, folder, timeout_s=60, command=command)
    return Session(launcher, spec).check()[0]


def test_rung_that_crashes_its_process_is_recorded_and_the_others_are_tried(tmp_path: Path) -> None:
    ladder = self_test_of_a_crashing_runner(tmp_path, "w8a8")
    crashed, passed = ladder["text"]
    assert (crashed["rung"], crashed["status"]) == (0, "skip")
    assert crashed["why"] == "the process crashed with code -9: Fatal signal 11"
    assert (passed["rung"], passed["status"]) == (1, "pass")
    assert ladder["image"][0]["status"] == "pass"


def test_where_every_rung_crashes_the_error_names_each(tmp_path: Path) -> None:
    ladder = self_test_of_a_crashing_runner(tmp_path, "w8a8", "fp32")
    with pytest.raises(BenchError, match=r"w8a8: the process crashed.*fp32: the process crashed"):
        choose_rung(ladder, "text")


def test_crash_before_any_rung_is_an_error(tmp_path: Path) -> None:
    spec = Spec(make_tiny_bundle(tmp_path / "bundle"), tmp_path / "index", ("a dog",), ())
    command = (sys.executable, "-c", "import sys; sys.exit('no runtime at all')")
    launcher = host.HostLauncher(spec, tmp_path, timeout_s=60, command=command)
    with pytest.raises(BenchError, match=r"code 1; its last lines:\nno runtime at all"):
        Session(launcher, spec).check()


def test_photos_to_decode_are_the_golden_ones_in_turn(bundle: Bundle, tmp_path: Path) -> None:
    golden = len(np.load(bundle.path(bundle.image.golden.inputs["pixels"])))
    made = samples.sample_photos(bundle, tmp_path, 2 * golden + 1, size=(80, 60))
    assert sorted(tmp_path.iterdir()) == made
    files = [photo.read_bytes() for photo in made]
    assert files == [*files[:golden], *files[:golden], files[0]]
    assert len(set(files)) == golden > 1
    with Image.open(made[-1]) as last:
        assert last.size == (80, 60)


def test_photos_to_decode_are_enlarged_from_the_golden_ones_with_grain(tmp_path: Path) -> None:
    assert np.prod(PHOTO_SIZE) == pytest.approx(12e6, rel=0.02)
    tiny = make_tiny_bundle(tmp_path / "bundle")
    bundle = replace(tiny, preprocess=replace(tiny.preprocess, mean=(0.4,) * 3, std=(0.2,) * 3))
    grey = np.broadcast_to(np.linspace(0.2, 0.8, 32, dtype=np.float32), (1, 3, 32, 32))
    np.save(bundle.path(bundle.image.golden.inputs["pixels"]), (grey - 0.4) / 0.2)
    (made,) = samples.sample_photos(bundle, tmp_path, 1, size=(320, 32))
    with Image.open(made) as photo:
        pixels = np.asarray(photo, np.float32).mean(axis=2)
    assert np.allclose(pixels.mean(axis=0)[5::10], 255 * grey[0, 0, 0], atol=6)
    assert 4 < (pixels - pixels.mean(axis=0)).std() < 8


def test_real_index_is_measured_with_its_own_photos(bundle: Bundle, tmp_path: Path) -> None:
    photos = samples.sample_photos(bundle, tmp_path, 4, size=(160, 120))
    index = create_index(bundle, tmp_path / "index")
    real = samples.real_embeddings(bundle)
    with index.writer() as writer:
        writer.add([*map(str, photos), "/gone.jpg"], real[:5])
    document = measurement.bench(bundle, small(index=tmp_path / "index", searches=5))
    assert document["index"] == {
        "photos": 5,
        "bytes_per_photo": pytest.approx(index.bytes_per_photo, abs=1e-3),
        "source": str(tmp_path / "index"),
    }
    assert document["indexing"]["photos"] == 4
    assert document["indexing"]["source"] == "photos of the index"


def test_index_of_another_student_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = replace(bundle, student=replace(bundle.student, image_sha256="f" * 64))
    create_index(other, tmp_path / "index")
    with pytest.raises(PhotoIndexError, match="student"):
        measurement.bench(bundle, small(index=tmp_path / "index"))


class Seen(Exception):
    """What a device was to measure."""


class Device:
    """Rests 7.5 s between three runs, and measures nothing."""

    repeats, cool_down_s = 3, 7.5

    def check(self, bundle: Bundle) -> None:
        pass

    def measure(self, spec: Spec, progress: object) -> dict[str, Any]:
        assert PhotoIndex.open(spec.index).photos == 90
        assert all(photo.is_file() for photo in spec.photos)
        raise Seen(spec)

    def measure_towers(self, bundle: Bundle, runtime: str, progress: object) -> Any:
        raise Seen(runtime)


def test_what_is_measured_is_what_was_asked_for(bundle: Bundle) -> None:
    asked = {"synthetic": 90, "searches": 7, "threads": 2, "runtime": "onnx", "decoded_photos": 3}

    def spec(**rest: Any) -> Spec:
        with pytest.raises(Seen) as seen:
            measurement.bench(bundle, small(**asked, **rest), Device())
        (found,) = seen.value.args
        return found

    found = spec()
    assert (found.searches, found.threads, found.runtime, len(found.photos)) == (7, 2, "onnx", 3)
    assert found.queries == (*bundle.text.golden.texts, *measurement.QUERIES)
    assert (found.repeats, found.cool_down_s) == (3, 7.5)  # the device's own
    found = spec(repeats=2, cool_down_s=0.0)
    assert (found.repeats, found.cool_down_s) == (2, 0.0)
    with pytest.raises(Seen, match="onnx"):
        measurement.bench_towers(bundle, Device(), runtime="onnx")


@pytest.mark.parametrize("peak", [61.0, None])
def test_a_system_that_tells_no_memory_says_so(bundle: Bundle, peak: float | None) -> None:
    found = {
        "conditions": {"repeats": [{"counted": True}]},
        "memory_mib": {"peak_pss": peak, "samples": 0},
        "indexing": {"unsupported": "no"},
    }
    told = host.told(Spec(bundle), found)
    named = [any(text.startswith("Memory") for text in told[name]) for name in told]
    assert named == [peak is not None, peak is None]


def test_more_threads_than_cores_is_the_runners_own_error(bundle: Bundle) -> None:
    with pytest.raises(BenchError, match="99 threads"):
        measurement.bench(bundle, small(synthetic=100, threads=99))


FOREIGN = ("faiss", "matplotlib", "rich", "tokenizers", "torch", "typer")


@pytest.mark.parametrize("planted", [(), FOREIGN], ids=["as it is", "planted"])
def test_a_foreign_library_that_a_search_loads_is_reported(
    bundle: Bundle, tmp_path: Path, planted: tuple[str, ...]
) -> None:
    samples.synthetic_index(bundle, tmp_path / "index", 300)
    spec = Spec(bundle, tmp_path / "index", ("a dog",), (), searches=1)
    launcher = host.HostLauncher(spec, tmp_path, timeout_s=60)
    code = (
        "import sys, types\n"
        "from mcad_mobile.bench import runner\n"
        f"sys.modules.update((name, types.ModuleType(name)) for name in {planted})\n"
        "code = runner.main()\n"
        "import os\n"
        "threads = [os.environ[f'{library}_NUM_THREADS'] for library in ('OMP', 'OPENBLAS')]\n"
        "print(*threads, file=sys.stderr)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    given = {**spec.document("search", launcher.places), "rung": {"image": 0, "text": 0}}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=launcher.environment,
    )
    assert done.stderr.splitlines()[-2] == "1 1"  # numpy has a buffer for each thread
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "onnxruntime" in loaded
    assert loaded & {*FOREIGN, "onnx", "scipy"} == set(planted)
    assert sorted(json.loads(done.stdout)["foreign_modules"]) == list(planted)


def test_simulated_tower_is_refused() -> None:
    with pytest.raises(BenchError, match="simulated time is never a latency") as caught:
        runner.refuse_simulated(True)
    assert "--runtime onnx" in caught.value.hint
    runner.refuse_simulated(False)
