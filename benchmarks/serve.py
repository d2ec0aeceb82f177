"""How quick the page of `mcad-mobile serve` is, in Chromium on this machine.

python benchmarks/serve.py --bundle build/cpu

10,000 photos of 12 megapixels, as phones take them: the bundle's golden photos, enlarged, each
under many names, with blended embeddings. Queries are typed key by key. Measured by the page's own
clock: from the event of the last key to the frame that holds the results, with names and scores
(pictures follow: to the last of those in the window); then frame by frame, how the whole list
scrolls. Chromium draws without a GPU here.
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
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts, memory, percentiles
from mcad_mobile.bench.samples import real_embeddings, sample_photos
from mcad_mobile.bundle import Bundle
from mcad_mobile.engine import create_index
from mcad_mobile.index.synthetic import blend_batches
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
_WATCH = """() => {
    let key = 0;
    window.found = [];
    addEventListener("keydown", (event) => (key = event.timeStamp), true);
    const mark = performance.mark.bind(performance);
    performance.mark = (name, options) => {
        if (name === "shown" && key) {
            const asked = key;
            // A message that is posted in a frame's callback is handled once that frame is drawn.
            requestAnimationFrame(() => {
                const { port1, port2 } = new MessageChannel();
                port1.onmessage = () => {
                    const entry = { shown: performance.now() - asked };
                    window.found.push(entry);
                    const watch = () => {
                        const images = [...document.querySelectorAll("#left .frame img")].filter(
                            (image) => image.getBoundingClientRect().top < innerHeight);
                        if (images.every((image) => image.complete))
                            entry.pictures = performance.now() - asked;
                        else requestAnimationFrame(watch);
                    };
                    watch();
                };
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3, help="how often each query is typed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serve-") as scratch:
        index = made_index(Bundle.load(arguments.bundle), Path(scratch))
        command = [sys.executable, "-m", "mcad_mobile", "serve", "--json", "--port", "0"]
        command += ["--bundle", str(arguments.bundle), "--index", str(index)]
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
    RESULT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(table(document))


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
        # Dates of cameras are looked up first: that is a few seconds once, beside the user.
        until = "s => s.indexes[0].dates_known === s.indexes[0].photos"
        page.wait_for_function(f"async () => ({until})(await (await fetch('/api/status')).json())")
        page.evaluate(_WATCH)
        cold, warm = [], []
        for number in range(rounds + 1):
            for query in QUERIES:
                one = type_query(page, query)
                (warm if number else cold).append(one)
        page.fill("#query", "")
        page.wait_for_timeout(500)
        page.evaluate("() => scrollTo(0, 0)")
        scrolled = page.evaluate(_SCROLL, 10)
        version = browser.version
        browser.close()
    used = memory(server.pid)
    frames = scrolled["frames"]
    return {
        "chromium": version,
        "shown_ms": percentiles([one["shown"] for one in warm]),
        "shown_cold_ms": percentiles([one["shown"] for one in cold]),
        "pictures_ms": percentiles([one["pictures"] for one in warm]),
        "pictures_cold_ms": percentiles([one["pictures"] for one in cold]),
        "searches": len(warm),
        "scroll": {
            "frame_ms": percentiles(frames),
            "frames": len(frames),
            "over_two_frames": sum(one > 34 for one in frames) / len(frames),
            "pictures_missing": scrolled["blank"],
            "pixels_a_second": round(40 * 1000 / statistics.mean(frames)),
        },
        "server_pss_mib": round(used.pss, 1),
    }


def type_query(page: Any, query: str) -> dict[str, float]:
    """ms from the last key to the frame with the results, and to the last picture of it."""
    page.fill("#query", "")
    page.wait_for_timeout(300)
    page.focus("#query")
    page.evaluate("() => void (window.found = [])")
    page.keyboard.type(query, delay=_KEY_MS)
    page.wait_for_timeout(400)
    page.wait_for_function("() => window.found.at(-1)?.pictures")
    found = page.evaluate("() => window.found")
    last: dict[str, float] = found[-1]
    return last


def paragraph(document: dict[str, Any]) -> list[str]:
    """What the table's figures are of, and how the list scrolls."""
    device, scroll, loads = document["device"], document["scroll"], document["load_average"]
    slow, missing = scroll["over_two_frames"], scroll["pictures_missing"]
    return [
        f"{document['photos']:,} photos of 12 megapixels, {document['searches']} queries typed key",
        f"by key in Chromium {document['chromium']}, drawn without a GPU, on {device['cpu']}",
        f"({device['cores']} cores, which server and browser share; load average {loads[0]} before",
        f"and {loads[1]} after). The goal is {document['limit_ms']} ms from the last key to the",
        f"frame that holds the results. Scrolling {scroll['pixels_a_second']:,} pixels a second,",
        f"{100 * slow:.1f} % of {scroll['frames']} frames took more than 34 ms, and",
        f"{100 * missing:.0f} % of the pictures in the window were still to come. The server's",
        f"process had {document['server_pss_mib']:.0f} MiB (PSS) in the end, thumbnails included.",
    ]


def table(document: dict[str, Any]) -> str:
    rows = ["| | p50, ms | p90, ms | p99, ms |", "|---|---:|---:|---:|"]
    for name, key in (
        ("last key to results on screen", "shown_ms"),
        ("the same, each query for the first time", "shown_cold_ms"),
        ("last key to all pictures in the window", "pictures_ms"),
        ("the same, 12-megapixel files read for the first time", "pictures_cold_ms"),
    ):
        found = document[key]
        rows.append(f"| {name} | {found['p50']:.0f} | {found['p90']:.0f} | {found['p99']:.0f} |")
    frames = document["scroll"]["frame_ms"]
    rows.append(
        f"| a frame while scrolling | {frames['p50']:.1f} | {frames['p90']:.1f} | "
        f"{frames['p99']:.1f} |"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
