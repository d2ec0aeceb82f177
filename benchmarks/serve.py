"""Measure how fast the page of `mcad-mobile serve` responds in Chromium on this machine.

    python -m benchmarks.serve --bundle build/cpu
    python -m benchmarks.serve --bundle build/cpu --add    # more runs to these

It serves 10,000 photos of 12 megapixels: the bundle's golden photos, enlarged, each under many
names, with embeddings distributed like those of real photos. Each query is typed key by key, twice;
serve_page.py says what is measured. Each run has its own server, browser and cache; figures are
medians over all runs, which are stored too. Scrolling is measured before and after thumbnails are
made. Chromium draws without a GPU here.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.main_job import source
from benchmarks.serve_page import QUERIES, STEPS, scroll, type_query, watch
from mcad_mobile.base.machine import device_facts, process_memory
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.document import percentiles
from mcad_mobile.bench.samples import cloud_batches, real_embeddings, sample_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import create_index
from mcad_mobile.serve.photos import Thumbnails, file_state

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "serve.json"
PHOTOS = 10_000
LIMIT_MS = 50
WINDOW = (1280, 860)
_SEEDS = 16
_SCROLLED = 1000  # photos: at least as many as scroll past


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--add", action="store_true", help="to the runs that are stored")
    options = parser.parse_args()
    bundle = options.bundle.resolve()
    document: dict[str, Any] = json.loads(RESULT.read_text("utf-8")) if options.add else fresh()
    with tempfile.TemporaryDirectory(prefix="serve-") as scratch:
        work = Path(scratch)
        index = made_index(Bundle.load(bundle), work)
        serving = ["--bundle", str(bundle), "--index", str(index)]
        for number in range(options.runs):
            document["runs"].append(typed(serving, work / f"cache-{number}"))
        if not options.add:
            document |= scrolled(serving, work / "scrolled")
    RESULT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print("\n\n".join([*paragraphs(document), table(document)]))


def fresh() -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        **source(),
        "photos": PHOTOS,
        "limit_ms": LIMIT_MS,
        "window": WINDOW,
        "device": device_facts(),
        "versions": tool_versions(("numpy", "onnxruntime", "pillow", "starlette", "uvicorn")),
        "runs": [],
    }


def made_index(bundle: Bundle, folder: Path) -> Path:
    """Create an index of PHOTOS names of a few photos, with blends of real embeddings."""
    (folder / "seeds").mkdir()
    (folder / "photos").mkdir()
    seeds = sample_photos(bundle, folder / "seeds", _SEEDS)
    with create_index(bundle, folder / "index").writer() as writer:
        done = 0
        for batch in cloud_batches(real_embeddings(bundle), PHOTOS):
            paths = []
            for number in range(done, done + len(batch)):
                path = folder / "photos" / f"IMG_{number:05}.jpg"
                path.hardlink_to(seeds[number % len(seeds)])
                paths.append(str(path))
            writer.add(paths, batch)
            done += len(batch)
    return folder / "index"


@contextlib.contextmanager
def opened(serving: list[str], cache: Path) -> Iterator[tuple[Any, str, int]]:
    """Yield a server's page in a fresh browser, its address, and the server's process ID."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "mcad_mobile", "serve", "--json", "--port", "0", *serving]
    environment = {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment}
        ) as server,
        sync_playwright() as playwright,
    ):
        try:
            assert server.stdout is not None
            lines = []
            while (line := server.stdout.readline()) and line != "}\n":
                lines.append(line)
            url = json.loads("".join([*lines, line]))["url"]
            found = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
            page.goto(url)
            page.wait_for_selector("#left .photo")
            yield page, url, server.pid
            browser.close()
        finally:
            server.terminate()


def typed(serving: list[str], cache: Path) -> dict[str, Any]:
    """Run once: type each query before any thumbnail is made, then all of them again."""
    load = [os.getloadavg()[0]]
    with opened(serving, cache) as (page, _, server):
        watch(page)
        first = [type_query(page, query)[-1] for query in QUERIES]
        keys = [type_query(page, query) for query in QUERIES]
        used = process_memory(server)
    load.append(os.getloadavg()[0])
    last = [query[-1] for query in keys]
    every = [key["shown"] for query in keys for key in query if "shown" in key]
    return {
        "at": datetime.datetime.now().isoformat(timespec="seconds"),
        "load_average": [round(value, 2) for value in load],
        "shown_ms": percentiles([key["shown"] for key in last]),
        "shown_cold_ms": percentiles([key["shown"] for key in first]),
        "pictures_ms": percentiles([key["pictures"] for key in last]),
        "pictures_cold_ms": percentiles([key["pictures"] for key in first]),
        "every_key_ms": percentiles(every),
        "keys": sum(map(len, QUERIES)),
        "keys_answered": len(every),
        "steps_ms": {step: round(statistics.median(o[step] for o in last), 1) for step in STEPS},
        "searches": len(last),
        "server_pss_mib": round(used.pss, 1),
    }


def scrolled(serving: list[str], cache: Path) -> dict[str, Any]:
    """Measure scrolling before the thumbnails are made, and after."""
    with opened(serving, cache) as (page, url, _):
        cold = scroll(page)
        page.evaluate("() => scrollTo(0, 0)")
        wait_for_thumbnails(url, cache)
        return {
            "scroll_cold": cold,
            "scroll": scroll(page),
            "chromium": page.context.browser.version,
        }


def wait_for_thumbnails(url: str, cache: Path) -> None:
    """Wait until the thumbnails to scroll over are made, which an idle server does."""
    request = urllib.request.Request(
        f"{url}api/search",
        json.dumps({"limit": _SCROLLED}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        hits = json.load(answer)["hits"]
    os.environ["XDG_CACHE_HOME"] = str(cache)
    thumbnails = Thumbnails()
    until = time.monotonic() + 600
    for path in [f"{hit['folder']}/{hit['name']}" for hit in hits]:
        while not thumbnails.has(path, file_state(path) or ""):
            if time.monotonic() > until:
                raise SystemExit("The server made no thumbnails.")
            time.sleep(0.2)


def median(runs: list[dict[str, Any]], name: str, key: str) -> float:
    """Return the median of a figure over runs."""
    return statistics.median(run[name][key] for run in runs)


def paragraphs(document: dict[str, Any]) -> list[str]:
    """Describe how the table was measured, and scrolling."""
    device, runs = document["device"], document["runs"]
    cold, warm = document["scroll_cold"], document["scroll"]
    steps = {step: f"{median(runs, 'steps_ms', step):.0f}" for step in STEPS}
    loads = [load for run in runs for load in run["load_average"]]
    shown = ", ".join(f"{run['shown_ms']['p50']:.0f}" for run in runs)
    answered, keys = (sum(run[name] for run in runs) for name in ("keys_answered", "keys"))
    memory = statistics.median(run["server_pss_mib"] for run in runs)
    return [
        f"{len(QUERIES)} queries among {document['photos']:,} photos of 12 megapixels, typed key "
        f"by key, twice each. Figures are medians of {len(runs)} runs, each with a new server and "
        f"browser, which share {device['cores']} cores of {device['cpu']} (load average "
        f"{min(loads):.1f} to {max(loads):.1f}). Chromium {document['chromium']} draws without a "
        f"GPU. The goal is {document['limit_ms']} ms from the last key until names and scores are "
        "on the screen, as the browser reports it (Element Timing); the runs' medians are "
        f"{shown} ms. Pictures follow.",
        f"In ms after the key: the request leaves at {steps['sent']}, the answer arrives at "
        f"{steps['answered']}, the page has built its elements at {steps['built']} and starts to "
        f"lay them out at {steps['begun']}, and they are visible at {steps['shown']}. Of {keys:,} "
        f"keys, {100 * answered / keys:.0f} % showed their results before those of the next key.",
        f"While {warm['pixels_a_second']:,} pixels a second scroll past, "
        f"{100 * warm['over_two_frames']:.1f} % of {warm['frames']} frames take more than 34 ms, "
        f"and {100 * warm['pictures_missing']:.0f} % of the pictures in the window are missing. "
        f"Before the server has made thumbnails, {100 * cold['over_two_frames']:.1f} % of the "
        f"frames are late and {100 * cold['pictures_missing']:.0f} % of the pictures are missing: "
        f"it cannot decode so many files a second. Its process takes {memory:.0f} MiB (PSS).",
    ]


def table(document: dict[str, Any]) -> str:
    runs = document["runs"]
    rows = ["| | p50, ms | p90, ms | p99, ms |", "|---|---:|---:|---:|"]
    for name, key in (
        ("last key to results on screen", "shown_ms"),
        ("the same, each query for the first time", "shown_cold_ms"),
        ("every key to its results on screen", "every_key_ms"),
        ("last key to all pictures in the window", "pictures_ms"),
        ("the same, 12-megapixel files read for the first time", "pictures_cold_ms"),
    ):
        figures = " | ".join(f"{median(runs, key, p):.0f}" for p in ("p50", "p90", "p99"))
        rows.append(f"| {name} | {figures} |")
    for name, key in (
        ("a frame while scrolling", "scroll"),
        ("a frame while scrolling, no thumbnails made yet", "scroll_cold"),
    ):
        found = document[key]["frame_ms"]
        rows.append(f"| {name} | {found['p50']:.1f} | {found['p90']:.1f} | {found['p99']:.1f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
