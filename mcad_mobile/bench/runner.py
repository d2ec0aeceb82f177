"""The measured process, `python -m mcad_mobile.bench.runner`. docs/bench.md is its contract, which
the Java runner in android_demo/runner shares.

Mode "check" runs each rung on the golden inputs. Mode "search" loads only what a phone needs to
search. A phone that searches has not loaded the image tower, so mode "index" is another process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.base import machine
from mcad_mobile.base.documents import ReportedError
from mcad_mobile.base.standard_output import claim_standard_output
from mcad_mobile.errors import BenchError, McadError, MemoryUnavailable

if TYPE_CHECKING:
    from mcad_mobile.engine.bundle import Bundle, Rung, TowerName
    from mcad_mobile.engine.engine import SearchEngine

STEP = "step: "  # prefix of lines on standard error that announce a step
STAGES = ("tokenize", "text", "scan", "rescore", "total")
# Libraries that no phone loads: reported if one of our imports loads them after all.
FOREIGN = ("torch", "rich", "typer", "matplotlib", "faiss", "tokenizers")


class Steps:
    """Memory at each step in MiB, in order; empty where the system does not report it."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    def take(self, name: str) -> None:
        with contextlib.suppress(MemoryUnavailable):
            now = machine.process_memory()
            self.taken.append({"step": name, "pss": now.pss, "rss": now.rss})
        announce(name)


def announce(name: str) -> None:
    print(f"{STEP}{name}", file=sys.stderr, flush=True)


def checking(name: TowerName, rung: Rung) -> str:
    """Return the step to announce before a rung is tried: it names the rung if it crashes."""
    return f"checking {name} {rung.name}"


def check(spec: dict[str, Any]) -> dict[str, Any]:
    """Embed the golden inputs with each rung in `spec["rungs"]`; a failure does not stop others."""
    from mcad_mobile.base.requirements import tool_versions

    bundle = _bundle(spec)
    return {
        "ladder": {
            name: [_try(spec, bundle, name, number) for number in numbers]
            for name, numbers in spec["rungs"].items()
        },
        "tools": tool_versions(("numpy", "onnxruntime", "pillow", "ai-edge-litert")),
    }


def _try(spec: dict[str, Any], bundle: Bundle, name: TowerName, number: int) -> dict[str, Any]:
    from mcad_mobile.engine.text.tokenizer import Tokenizer
    from mcad_mobile.engine.towers import load_tower, runtime_of, why_not
    from mcad_mobile.engine.towers.ladder import golden_inputs

    rung = bundle.tower(name).rungs[number]
    tried = {"rung": number, "runtime": rung.runtime, "precision": rung.precision, "loaded": False}
    reason = why_not(rung)
    # Try a slow rung if its runtime is named, but never a simulated one.
    if reason is not None and (spec.get("runtime") is None or runtime_of(rung).simulated):
        return {**tried, "why": reason}
    announce(checking(name, rung))
    try:
        tower = load_tower(bundle, rung, spec["threads"])
        embeddings = tower(golden_inputs(bundle, name))
    except McadError as error:
        return {**tried, "why": error.message}
    except Exception as error:  # runtimes' errors share no base class
        return {**tried, "why": f"it fails on the golden inputs: {type(error).__name__}: {error}"}
    tokenizer = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    return {
        **tried,
        "loaded": True,
        "provider": tower.kernels,
        "nodes": {"npu": 0, "gpu": 0, "cpu": rung.total_nodes},  # other processors are not used
        "embeddings": embeddings.tolist(),
        **(
            {"tokens": [tokenizer(text).ids.tolist() for text in bundle.text.golden.texts]}
            if name == "text"
            else {}
        ),
    }


def measure_search(spec: dict[str, Any]) -> dict[str, Any]:
    """Measure memory at each step from process start to searches, then latency by stage (ms)."""
    steps = Steps()
    steps.take("process start")
    engine = _engine(spec, "text")
    from mcad_mobile.engine.index import PhotoIndex

    steps.take("runtime loaded")
    _ = engine.tokenizer
    refuse_simulated(engine.text_tower.simulated)
    steps.take("text tower loaded")
    index = PhotoIndex.open(Path(spec["index"]))
    steps.take("index opened")
    queries = cycle(spec["queries"])
    for query in islice(queries, spec["memory_searches"]):
        engine.search(index, query, spec["k"])
    steps.take(f"after {spec['memory_searches']} searches")
    announce("timing")
    asked = islice(queries, spec["searches"])
    started, waited = time.perf_counter(), machine.core_wait_s()
    timed = [engine.search(index, query, spec["k"]).ms for query in asked]
    share = _share_waited(waited, time.perf_counter() - started)
    return {
        "photos": index.photos,
        "bytes_per_photo": index.bytes_per_photo,
        "steps": steps.taken,
        "samples_ms": {stage: [ms[stage] for ms in timed] for stage in STAGES},
        **({} if share is None else {"waited_share": share}),
        "rung": _rung(engine, "text"),
    }


def _share_waited(before: float | None, seconds: float) -> float | None:
    """The share of `seconds` in which this thread had no core, though it was ready to run."""
    now = machine.core_wait_s()
    return None if before is None or now is None else min((now - before) / seconds, 1.0)


def measure_index(spec: dict[str, Any]) -> dict[str, Any]:
    """Measure memory with the image tower, ms per photo by stage, photos/s of indexing, and key
    frames/s of videos."""
    steps = Steps()
    steps.take("process start")
    engine = _engine(spec, "image")
    import tempfile

    from mcad_mobile.engine.engine import create_index
    from mcad_mobile.engine.photos.video import key_frames

    steps.take("runtime loaded")
    refuse_simulated(engine.image_tower.simulated)
    steps.take("image tower loaded")
    photos = [Path(photo) for photo in spec["photos"]]
    engine.embed_photo(photos[0])
    announce("timing")
    decode, tower = [], []
    for photo in photos:
        started = time.perf_counter()
        pixels = engine.bundle.preprocess(photo)[None]
        decoded = time.perf_counter()
        engine.image_tower({"pixels": pixels})
        tower.append((time.perf_counter() - decoded) * 1e3)
        decode.append((decoded - started) * 1e3)
    with tempfile.TemporaryDirectory(dir=spec["scratch"]) as folder:
        index = create_index(engine.bundle, Path(folder) / "index")
        started = time.perf_counter()
        built = engine.index_photos(index, photos)
        seconds = time.perf_counter() - started
    steps.take(f"after {len(photos)} photos")
    if built.skipped:
        path, why = built.skipped[0].path, built.skipped[0].why.splitlines()[0]
        raise BenchError(
            f"{path} was skipped: {why}",
            "Index its folder again, and measure again; or leave --index out.",
        )
    frames, started = 0, time.perf_counter()
    preprocess = engine.bundle.preprocess
    for video in spec.get("videos", ()):
        for frame in key_frames(video, preprocess.resize_to or preprocess.size):
            engine.image_tower({"pixels": preprocess.pixels(frame.image)[None]})
            frames += 1
    frames_per_s = frames / (time.perf_counter() - started)
    return {
        **({"frames_per_s": frames_per_s} if frames else {}),
        "steps": steps.taken,
        "samples_ms": {"decode": decode, "image": tower},
        "photos": len(photos),
        "photos_per_s": built.added / seconds,
        "rung": _rung(engine, "image"),
    }


def measure_read(spec: dict[str, Any]) -> dict[str, Any]:
    """Measure memory with the reader, and photos an hour of decoding and reading."""
    steps = Steps()
    steps.take("process start")
    from mcad_mobile.engine.photos.decode import open_photo
    from mcad_mobile.engine.reading.reader import AT_LEAST, Reader

    machine.return_large_blocks()  # as SearchEngine does
    reader = Reader.of(_bundle(spec), threads=spec["threads"])
    steps.take("reader loaded")
    photos, started = spec["photos"], time.perf_counter()
    for photo in photos:
        reader.read(open_photo(photo, at_least=AT_LEAST))
    an_hour = 3600 * len(photos) / (time.perf_counter() - started)
    steps.take(f"after {len(photos)} photos")
    return {"steps": steps.taken, "photos": len(photos), "photos_an_hour": an_hour}


MODES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "check": check,
    "search": measure_search,
    "index": measure_index,
    "read": measure_read,
}


def main() -> int:
    """Print the document, or for a McadError {"error": {"what", "hint"}} with exit code 1."""
    with os.fdopen(claim_standard_output(), "w", encoding="utf-8") as out:
        spec = json.loads(
            Path(sys.argv[1]).read_text("utf-8") if sys.argv[1:] else sys.stdin.read()
        )
        try:
            cores = machine.pin(spec["threads"])
            # Set before numpy is imported, whose BLAS allocates a buffer per thread.
            for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
                os.environ[variable] = str(spec["threads"])
            found = {**MODES[spec["mode"]](spec), "pinned_cores": cores}
        except McadError as error:
            import msgspec

            out.write(msgspec.json.encode({"error": ReportedError.of(error)}).decode())
            return 1
        foreign = [name for name in FOREIGN if name in sys.modules]
        json.dump({**found, "foreign_modules": foreign}, out)
    return 0


def _bundle(spec: dict[str, Any]) -> Bundle:
    from mcad_mobile.engine.bundle import Bundle

    # An app verifies checksums once after it copied a bundle, not at every start.
    return Bundle.load(Path(spec["bundle"]), verify=False)


def _engine(spec: dict[str, Any], name: TowerName) -> SearchEngine:
    """Return an engine whose ladder for tower `name` has only the chosen rung, with its runtime's
    library imported."""
    from msgspec.structs import replace

    from mcad_mobile.engine.engine import SearchEngine
    from mcad_mobile.engine.towers import runtime_of

    bundle = _bundle(spec)
    tower, number = bundle.tower(name), spec["rung"][name]
    rung = tower.rungs[number]
    alone = replace(tower, rungs=(rung,))
    bundle = replace(bundle, image=alone) if name == "image" else replace(bundle, text=alone)
    importlib.import_module(runtime_of(rung).library)
    return SearchEngine(bundle, runtime=rung.runtime, threads=spec["threads"])


def _rung(engine: SearchEngine, tower: TowerName) -> dict[str, Any]:
    rung = engine.bundle.tower(tower).rungs[0]
    return {"runtime": rung.runtime, "precision": rung.precision, "bytes": rung.bytes}


def refuse_simulated(simulated: bool) -> None:
    """Raise BenchError for a simulated tower: its time is no latency."""
    if simulated:
        raise BenchError(
            "This tower runs on a simulator here, and simulated time is never a latency.",
            "Use --runtime onnx on this machine, or measure on a phone with --device adb.",
        )


if __name__ == "__main__":
    sys.exit(main())
