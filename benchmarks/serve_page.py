"""What the browser measures on the page of `mcad-mobile serve`, by its own clock.

For each key whose results were shown, in ms from the key event's timestamp: when the page asked,
when the request was sent, when its answer arrived, when the elements were built, when the frame
that lays them out began, when the best result's score was on screen (Element Timing's renderTime;
one frame lays out all results), and when the last picture in the window was.
"""

from __future__ import annotations

import statistics
from typing import Any

from mcad_mobile.bench.document import percentiles

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
STEPS = ("asked", "sent", "answered", "built", "begun", "shown")
_KEY_MS = 110  # between keys, for a fast typist
_SCROLL_S = 10
_WATCH = """() => {
    let entry = null;
    window.found = [];
    const since = () => performance.now() - entry.key;
    addEventListener("keydown", (event) => (entry = { key: event.timeStamp }), true);
    new PerformanceObserver((list) => {
        for (const { identifier, renderTime } of list.getEntries()) {
            const stroke = window.found[Number(identifier)];
            if (stroke) stroke.shown = renderTime - stroke.key;
        }
    }).observe({ type: "element" });
    const pictures = () => {
        const stroke = window.found.at(-1);
        if (!stroke?.begun || stroke.pictures) return;
        const seen = [...document.querySelectorAll("#left .frame img")].filter(
            (image) => image.getBoundingClientRect().top < innerHeight);
        if (seen.every((image) => image.complete && image.naturalWidth))
            stroke.pictures = performance.now() - stroke.key;
    };
    document.addEventListener("load", pictures, true);
    const mark = performance.mark.bind(performance);
    performance.mark = (name, options) => {
        if (name === "asked" && entry) entry.asked = since();
        if (name === "shown" && entry?.asked && !entry.built) {
            const stroke = entry;
            stroke.built = since();
            const resource = performance.getEntriesByType("resource").filter(
                ({ name }) => name.endsWith("/api/search")).at(-1);
            stroke.sent = resource.requestStart - stroke.key;
            stroke.answered = resource.responseEnd - stroke.key;
            performance.clearResourceTimings();
            const score = document.querySelector("#left .caption b");
            score?.setAttribute("elementtiming", window.found.push(stroke) - 1);
            // A message that is posted in a frame's callback is handled once that frame is drawn.
            requestAnimationFrame(() => {
                stroke.begun = performance.now() - stroke.key;
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


def watch(page: Any) -> None:
    """Start recording key strokes."""
    page.evaluate(_WATCH)


def type_query(page: Any, query: str) -> list[dict[str, float]]:
    """Type a query; return the times of each key whose results were shown, in ms from the key."""
    page.fill("#query", "")
    page.wait_for_timeout(300)
    page.focus("#query")
    page.evaluate("() => void (window.found = [])")
    page.keyboard.type(query, delay=_KEY_MS)
    page.wait_for_timeout(400)
    page.wait_for_function("() => window.found.at(-1)?.pictures && window.found.at(-1).shown")
    found: list[dict[str, float]] = page.evaluate("() => window.found")
    return found


def scroll(page: Any) -> dict[str, Any]:
    """Scroll down the list, and measure each frame."""
    scrolled = page.evaluate(_SCROLL, _SCROLL_S)
    frames = scrolled["frames"]
    return {
        "frame_ms": percentiles(frames),
        "frames": len(frames),
        "over_two_frames": sum(frame > 34 for frame in frames) / len(frames),
        "pictures_missing": scrolled["blank"],
        "pixels_a_second": round(40 * 1000 / statistics.mean(frames)),
    }
