"""How quick the page of `mcad-mobile serve` is, in Chromium on this machine.

python benchmarks/serve.py --bundle build/cpu

10,000 photos of 12 megapixels, as phones take them: the bundle's golden photos, enlarged, each
under many names, with blended embeddings. Queries are typed key by key. Measured inside the page,
by the browser's own clock: from the timestamp of the last key's event to when the best result's
score was put on the screen (Element Timing's renderTime; the results are laid out in one frame),
with the steps between; pictures follow, to the last of those in the window. Then, frame by frame,
how the list scrolls, before its thumbnails were made and after. Chromium draws without a GPU here.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts, memory, percentiles
from mcad_mobile.bench.samples import real_embeddings, sample_photos
from mcad_mobile.bundle import Bundle
from mcad_mobile.engine import create_index
from mcad_mobile.index.synthetic import blend_batches
from mcad_mobile.serve.photos import state_of
from mcad_mobile.serve.thumbnails import Thumbnails
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "serve.json"
PHOTOS = 10_000
LIMIT_MS = 50
WINDOW = (1280, 860)
QUERIES = (
    "a dog on the beach",
    "two children playing football",
    "a red car in front of a house",
    "sunset over the sea",
    "a man with a camera",
    "a cake with candles",
    "people on a bridge",
    "a bicycle against a wall",
    "snow on the mountains",
    "a woman in a yellow dress",
)
_SEEDS = 16
_KEY_MS = 110  # between keys: a quick typist's
_HEARD_MS = 3000  # the page looks at the server's state every 2.5 s
_SCROLL_S = 10
_SCROLLED = 1000  # photos, no fewer than pass in that time
_WATCH = """() => {
    let entry = null;
    window.found = [];
    const since = () => performance.now() - entry.key;
    addEventListener("keydown", (event) => (entry = { key: event.timeStamp }), true);
    new PerformanceObserver((list) => {
        for (const { identifier, renderTime } of list.getEntries()) {
            const one = window.found[Number(identifier)];
            if (one) one.shown = renderTime - one.key;
        }
    }).observe({ type: "element" });
    const pictures = () => {
        const one = window.found.at(-1);
        if (!one?.begun || one.pictures) return;
        const seen = [...document.querySelectorAll("#left .frame img")].filter(
            (image) => image.getBoundingClientRect().top < innerHeight);
        if (seen.every((image) => image.complete && image.naturalWidth))
            one.pictures = performance.now() - one.key;
    };
    document.addEventListener("load", pictures, true);
    const mark = performance.mark.bind(performance);
    performance.mark = (name, options) => {
        if (name === "asked" && entry) entry.asked = since();
        if (name === "shown" && entry?.asked && !entry.built) {
            const one = entry;
            one.built = since();
            const resource = performance.getEntriesByType("resource").filter(
                ({ name }) => name.endsWith("/api/search")).at(-1);
            one.sent = resource.requestStart - one.key;
            one.answered = resource.responseEnd - one.key;
            performance.clearResourceTimings();
            const score = document.querySelector("#left .caption b");
            score?.setAttribute("elementtiming", window.found.push(one) - 1);
            // A message that is posted in a frame's callback is handled once that frame is drawn.
            requestAnimationFrame(() => {
                one.begun = performance.now() - one.key;
                const { port1, port2 } = new MessageChannel();
                port1.onmessage = pictures;
                port2.postMessage(0);
            });
        }
        return mark(name, options);
    };
}"""
_SCROLL = """(seconds) => new Promise((done) => {
    const frames = [];
    let last = 0, blank = 0, seen = 0;
    const start = performance.now();
    const step = (now) => {
        if (last) frames.push(now - last);
        last = now;
        for (const image of document.querySelectorAll("#left .frame img")) {
            const box = image.getBoundingClientRect();
            if (box.bottom < 0 || box.top > innerHeight) continue;
            seen += 1;
            blank += !(image.complete && image.naturalWidth);
        }
        scrollBy(0, 40);
        if (performance.now() - start < 1000 * seconds) requestAnimationFrame(step);
        else done({ frames, blank: blank / Math.max(seen, 1) });
    };
    requestAnimationFrame(step);
})"""
_STEPS = ("asked", "sent", "answered", "built", "begun", "shown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3, help="how often each query is typed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serve-") as scratch:
        index = made_index(Bundle.load(arguments.bundle), Path(scratch))
        command = [sys.executable, "-m", "mcad_mobile", "serve", "--json", "--port", "0"]
        command += ["--bundle", str(arguments.bundle), "--index", str(index)]
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")  # no thumbnails yet
        load = [os.getloadavg()[0]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                measured = measure(server, arguments.rounds)
            finally:
                server.terminate()
        load.append(os.getloadavg()[0])
    document = {
        "date": datetime.date.today().isoformat(),
        "photos": PHOTOS,
        "limit_ms": LIMIT_MS,
        "window": WINDOW,
        "load_average": [round(one, 2) for one in load],
        **measured,
        "device": device_facts(),
        "versions": tool_versions(("numpy", "onnxruntime", "pillow", "starlette", "uvicorn")),
    }
    document = quickest(document, json.loads(RESULT.read_text("utf-8")))
    RESULT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(table(document))


def quickest(document: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Of a day's runs on one machine, whose other work can only slow them: the quickest, which
    names the medians of the others."""
    if (before["date"], before["device"]["cpu"]) != (document["date"], document["device"]["cpu"]):
        return {**document, "other_runs_p50_ms": []}
    best, other = sorted((document, before), key=lambda one: one["shown_ms"]["p50"])
    others = [*before.get("other_runs_p50_ms", []), round(other["shown_ms"]["p50"], 1)]
    return {**best, "other_runs_p50_ms": others}


def made_index(bundle: Bundle, folder: Path) -> Path:
    """An index of PHOTOS names of a few photos, with blends of real embeddings."""
    (folder / "seeds").mkdir()
    (folder / "photos").mkdir()
    seeds = sample_photos(bundle, folder / "seeds", _SEEDS)
    with create_index(bundle, folder / "index").writer() as writer:
        done = 0
        for batch in blend_batches(real_embeddings(bundle), PHOTOS):
            paths = []
            for number in range(done, done + len(batch)):
                path = folder / "photos" / f"IMG_{number:05}.jpg"
                path.hardlink_to(seeds[number % len(seeds)])
                paths.append(str(path))
            writer.add(paths, batch)
            done += len(batch)
    return folder / "index"


def measure(server: subprocess.Popen[str], rounds: int) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    assert server.stdout is not None
    lines = []
    while (line := server.stdout.readline()) and line != "}\n":
        lines.append(line)
    url = json.loads("".join([*lines, "}"]))["url"]
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
        page.goto(url)
        page.wait_for_selector("#left .photo")
        # Dates of cameras are looked up first: that is a few seconds once, beside the user. The
        # page hears of it, and asks again.
        until = "s => s.indexes[0].dates_known === s.indexes[0].photos"
        page.wait_for_function(f"async () => ({until})(await (await fetch('/api/status')).json())")
        page.wait_for_timeout(_HEARD_MS)
        scrolled = page.evaluate(_SCROLL, _SCROLL_S)
        page.evaluate(_WATCH)
        cold = [type_query(page, query) for query in QUERIES]
        warm = [type_query(page, query) for _ in range(rounds) for query in QUERIES]
        page.fill("#query", "")
        page.evaluate("() => scrollTo(0, 0)")
        wait_for_thumbnails(url)
        again = page.evaluate(_SCROLL, _SCROLL_S)
        version = browser.version
        browser.close()
    used = memory(server.pid)
    last = [entries[-1] for entries in warm]
    every = [entry["shown"] for entries in warm for entry in entries if "shown" in entry]
    keys = rounds * sum(map(len, QUERIES))
    return {
        "chromium": version,
        "shown_ms": percentiles([one["shown"] for one in last]),
        "shown_cold_ms": percentiles([entries[-1]["shown"] for entries in cold]),
        "pictures_ms": percentiles([one["pictures"] for one in last]),
        "pictures_cold_ms": percentiles([entries[-1]["pictures"] for entries in cold]),
        "every_key_ms": percentiles(every),
        "keys_answered": len(every) / keys,
        "keys": keys,
        "steps_ms": {step: round(statistics.median(o[step] for o in last), 1) for step in _STEPS},
        "searches": len(last),
        "scroll_cold": frames_of(scrolled),
        "scroll": frames_of(again),
        "server_pss_mib": round(used.pss, 1),
    }


def frames_of(scrolled: dict[str, Any]) -> dict[str, Any]:
    frames = scrolled["frames"]
    return {
        "frame_ms": percentiles(frames),
        "frames": len(frames),
        "over_two_frames": sum(one > 34 for one in frames) / len(frames),
        "pictures_missing": scrolled["blank"],
        "pixels_a_second": round(40 * 1000 / statistics.mean(frames)),
    }


def type_query(page: Any, query: str) -> list[dict[str, float]]:
    """What was timed of each key whose results were shown, in ms from the key."""
    page.fill("#query", "")
    page.wait_for_timeout(300)
    page.focus("#query")
    page.evaluate("() => void (window.found = [])")
    page.keyboard.type(query, delay=_KEY_MS)
    page.wait_for_timeout(400)
    page.wait_for_function("() => window.found.at(-1)?.pictures && window.found.at(-1).shown")
    found: list[dict[str, float]] = page.evaluate("() => window.found")
    return found


def wait_for_thumbnails(url: str) -> None:
    """Until those that are scrolled over are made, which the server does when it is at rest."""
    request = urllib.request.Request(
        f"{url}api/search",
        json.dumps({"limit": _SCROLLED}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        hits = json.load(answer)["hits"]
    thumbnails = Thumbnails()
    until = time.monotonic() + 600
    for path in [f"{hit['folder']}/{hit['name']}" for hit in hits]:
        while not thumbnails.has(path, state_of(path) or ""):
            if time.monotonic() > until:
                raise SystemExit("The server made no thumbnails.")
            time.sleep(0.2)


def paragraph(document: dict[str, Any]) -> list[str]:
    """What the table's figures are of, and how the list scrolls."""
    device, loads, steps = document["device"], document["load_average"], document["steps_ms"]
    first, again = document["scroll_cold"], document["scroll"]
    return [
        f"{document['photos']:,} photos of 12 megapixels, {document['searches']} queries typed key",
        f"by key in Chromium {document['chromium']}, drawn without a GPU, on {device['cpu']}",
        f"({device['cores']} cores, which server and browser share; load average {loads[0]} before",
        f"and {loads[1]} after). The goal is {document['limit_ms']} ms from the last key to the",
        "results, with names and scores, on the screen, as the browser itself tells it (Element",
        "Timing); pictures follow. Medians of the steps between, in ms from the key: the server is",
        f"asked at {steps['sent']:.0f}, has answered at {steps['answered']:.0f}, the elements are",
        f"built at {steps['built']:.0f}, the frame that lays them out begins at",
        f"{steps['begun']:.0f}, and they are on the screen at {steps['shown']:.0f}. Of",
        f"{document['keys']} keys,",
        f"{100 * document['keys_answered']:.0f} % had their results on the screen before the next",
        "key's took their place.",
        *among(document["other_runs_p50_ms"]),
        "",
        f"Scrolling {again['pixels_a_second']:,} pixels a second,",
        f"{100 * again['over_two_frames']:.1f} % of {again['frames']} frames took more than 34 ms,",
        f"and {100 * again['pictures_missing']:.0f} % of the pictures in the window were still to",
        "come. That is with thumbnails that the server made while it was at rest; before, it was",
        f"{100 * first['over_two_frames']:.1f} % of the frames and",
        f"{100 * first['pictures_missing']:.0f} % of the pictures: so many files a second are not",
        f"decoded here. The server's process had {document['server_pss_mib']:.0f} MiB (PSS) in the",
        "end.",
    ]


def among(others: list[float]) -> list[str]:
    if not others:
        return []
    told = ", ".join(f"{one:.0f}" for one in sorted(others))
    return [
        f"It is the quickest of {len(others) + 1} runs that day; medians of the others: {told}."
    ]


def table(document: dict[str, Any]) -> str:
    rows = ["| | p50, ms | p90, ms | p99, ms |", "|---|---:|---:|---:|"]
    for name, found in (
        ("last key to results on screen", document["shown_ms"]),
        ("the same, each query for the first time", document["shown_cold_ms"]),
        ("every key to its results on screen", document["every_key_ms"]),
        ("last key to all pictures in the window", document["pictures_ms"]),
        ("the same, 12-megapixel files read for the first time", document["pictures_cold_ms"]),
        ("a frame while scrolling", document["scroll"]["frame_ms"]),
        ("a frame while scrolling, no thumbnails made yet", document["scroll_cold"]["frame_ms"]),
    ):
        digits = 1 if "frame" in name else 0
        figures = " | ".join(f"{found[p]:.{digits}f}" for p in ("p50", "p90", "p99"))
        rows.append(f"| {name} | {figures} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
