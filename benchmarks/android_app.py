"""Time an app with 100,000 photos on a JVM, and weigh the APK, by parts, beside an older one.

    python -m benchmarks.android_app --bundle build/cpu [--before COMMIT]

Through `PhotoSearch`, as an app does, on one core: from opening it to its first results, without
the time in which the text tower is loaded; a run over photos of which none is new, in 32 MB of
heap; searches among some photos beside searches among all, in turn. Each figure but the last is of
processes that were started anew. The index is of embeddings that lie as real ones do, made of the
bundle's sample as `mcad-mobile bench` makes them. Writes benchmarks/results/android_app.json and
prints a Markdown table. A server's JVM, not a phone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.index import machine
from mcad_mobile.android.aar import libraries
from mcad_mobile.android.downloads import ONNXRUNTIME_JVM, fetch
from mcad_mobile.android.sources import main_sources
from mcad_mobile.android.toolchain import JAVA, compile_java, executable
from mcad_mobile.bench.samples import real_embeddings
from mcad_mobile.bundle import Bundle
from mcad_mobile.index.synthetic import cloud_batches

PHOTOS = 100_000
STARTS = 5
HEAP_MB = 32
LIMITS_MS = {"first_result": 400, "known_run": 2000}
RESULTS = Path(__file__).parent / "results/android_app.json"
ROOT = Path(__file__).parents[1]
PARTS = ("classes.dex", "lib/", "assets/", "")


class ManyPhotos:
    """mcad.engine.gallery.ManyPhotos, whose index lies in `work`."""

    def __init__(self, bundle: Path, work: Path) -> None:
        embeddings = work / "embeddings.f32"
        with embeddings.open("wb") as out:
            for batch in cloud_batches(real_embeddings(Bundle.load(bundle)), PHOTOS):
                out.write(batch.astype("<f4").tobytes())
        jars = libraries(work, ["arm64-v8a"]).jars
        sources = map(main_sources, ("engine", "desktop"))
        classes = compile_java(sources, jars, work / "classes")
        self._classpath = f"{classes}:{fetch(ONNXRUNTIME_JVM)}"
        self._arguments = [str(bundle), str(work / "app"), str(PHOTOS), str(embeddings)]

    def ask(self, verb: str, heap_mb: int = HEAP_MB) -> list[list[float]]:
        """The numbers of each line that it prints."""
        java = [executable(JAVA), f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-cp", self._classpath]
        command = [*java, "mcad.engine.gallery.ManyPhotos", verb, *self._arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def times(bundle: Path) -> dict[str, Any]:
    """ms, each the median of some processes; the filter's rows are [share, photos, all, some]."""
    with tempfile.TemporaryDirectory() as folder:
        app = ManyPhotos(bundle, Path(folder))
        app.ask("fill", heap_mb=256)
        app.ask("run")  # the bundle is unpacked, and the files are in the page cache
        runs = [app.ask("run")[0] for _ in range(STARTS)]
        finds = [app.ask("find")[0] for _ in range(STARTS)]
        assert all(run[:3] == [PHOTOS, 0, 0] for run in runs)
        assert all(found[0] == PHOTOS for found in finds)
        return {
            "known_run_ms": median(run[3] for run in runs),
            "first_result_ms": median(found[2] for found in finds),
            "towers_ms": median(found[3] for found in finds),
            "filter": app.ask("filter", heap_mb=64),
        }


def weigh(source: Path, bundle: Path, work: Path) -> dict[str, int]:
    """Bytes of the APK that the package in `source` makes of a bundle: of all, and by parts."""
    out = work / f"{source.name}.apk"
    command = [sys.executable, "-m", "mcad_mobile", "app", "--bundle", str(bundle)]
    environment = os.environ | {"PYTHONPATH": str(source)}
    subprocess.run(
        [*command, "--out", str(out), "--json"],
        env=environment,
        cwd=source,
        capture_output=True,
        timeout=600,
        check=True,
    )
    sizes = dict.fromkeys(PARTS, 0)
    for info in zipfile.ZipFile(out).infolist():
        part = next(part for part in PARTS if info.filename.startswith(part))
        sizes[part] += info.compress_size
    named = {part.rstrip("/") or "other": size for part, size in sizes.items()}
    return {"all": out.stat().st_size, **named}


def sizes(bundle: Path, before: str | None) -> dict[str, Any]:
    """Of the commit `before`, or as it was stored last, and now."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        now = {"bytes": weigh(ROOT, bundle, work)}
        if before is None:
            return {"before": json.loads(RESULTS.read_text("utf-8"))["apk"]["before"], "now": now}
        source = work / "before"
        source.mkdir()
        archive = work / "before.tar"
        subprocess.run(["git", "archive", "-o", archive, before], cwd=ROOT, timeout=60, check=True)
        subprocess.run(["tar", "xf", archive, "-C", source], timeout=60, check=True)
        return {
            "before": {"commit": before, "bytes": weigh(source, bundle, work)},
            "now": now,
        }


def table(document: dict[str, Any]) -> str:
    def row(what: str, took: float, limit: str) -> str:
        return f"| {what} | {took:,.0f} ms | {limit} |"

    ms = document["times"]
    lines = ["| with 100,000 photos | took | limit |", "|---|---|---|"]
    lines += [
        row("opening the app to its first results, without the towers", ms["first_result_ms"],
            f"{LIMITS_MS['first_result']} ms"),
        row("the text tower's loading and self-test, between the two", ms["towers_ms"], ""),
        row(f"a run with nothing new, {HEAP_MB} MB of heap", ms["known_run_ms"],
            f"{LIMITS_MS['known_run']:,} ms"),
    ]  # fmt: skip
    lines += ["", "| photos that pass | search among all, ms | among these, ms |", "|---|---|---|"]
    lines += [f"| {int(n):,} | {all_:.2f} | {some:.2f} |" for _, n, all_, some in ms["filter"]]
    before, now = (document["apk"][which]["bytes"] for which in ("before", "now"))
    commit = document["apk"]["before"]["commit"]
    lines += ["", f"| part of the APK | bytes at {commit} | bytes now |", "|---|---|---|"]
    lines += [f"| {part} | {before[part]:,} | {now[part]:,} |" for part in now]
    return "\n".join(lines)


def measured(bundle: Path, apk: dict[str, Any]) -> dict[str, Any]:
    """The document; this process, and the JVMs that inherit it, stay on one core from here on."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    load_before = os.getloadavg()[0]
    found = times(bundle)
    return {
        "schema": "mcad-android-app/1",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine() | {"load": [load_before, os.getloadavg()[0]]},
        "setup": {
            "photos": PHOTOS,
            "embeddings": "sample-like",
            "heap_mb": HEAP_MB,
            "starts": STARTS,
            "threads": 1,
        },
        "limits_ms": LIMITS_MS,
        "times": found,
        "apk": apk,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, required=True, help="of the default student")
    parser.add_argument("--before", help="the commit to weigh beside; else the stored weight stays")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    bundle = arguments.bundle.resolve()
    document = measured(bundle, sizes(bundle, arguments.before))
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(table(document))


if __name__ == "__main__":
    main()
