"""bench(): measure a bundle on a device, and judge it against the targets."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.devices.base import RESULT_SCHEMA, Device, Spec, TowerDevice
from mcad_mobile.bench.devices.host import HostDevice
from mcad_mobile.bench.samples import index_photos, sample_photos, synthetic_index
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.errors import BenchError

# Everyday photo queries, from one word to a long sentence: what the bench searches for.
#
# Length matters (it decides how many tokens a text tower reads), so lengths are mixed as people
# mix them: mostly two to six words.

QUERIES = (
    "dog",
    "beach",
    "sunset",
    "birthday",
    "passport",
    "my cat",
    "red car",
    "snowy mountains",
    "wedding dance",
    "pizza slice",
    "a dog on the beach",
    "kids playing football",
    "sunset over the sea",
    "people around a campfire",
    "coffee on a wooden table",
    "a bicycle against a wall",
    "grandma in the garden",
    "receipt from the restaurant",
    "a train at the station",
    "city lights at night",
    "baby sleeping in a crib",
    "two friends laughing",
    "flowers in a blue vase",
    "a boat on a calm lake",
    "whiteboard with a drawing",
    "screenshot of a map",
    "man riding a horse",
    "girl with a red umbrella",
    "birthday cake with candles",
    "football match in the rain",
    "an old stone bridge over a river",
    "a bowl of soup with noodles",
    "skiing down a steep slope in winter",
    "a small white dog running through grass",
    "children building a castle in the sand",
    "crowd at a concert with stage lights",
    "a plate of pasta and a glass of wine",
    "an airplane wing above the clouds",
    "a woman reading a book on a park bench",
    "the view from the hotel window in the morning",
    "a black cat sitting on top of a laptop keyboard",
    "a group of hikers resting beside a mountain stream",
    "a street market with fruit and vegetables under coloured awnings",
    "my brother holding a large fish on the wooden pier at the lake",
    "a child in a yellow raincoat jumping into a puddle in front of the house",
    "two people on a motorbike riding along a dusty road between green rice fields at dawn",
    "a long table set for dinner in the garden with lanterns hanging from the trees "
    "and guests arriving",
    "a man in a dark suit and a woman in a white dress cutting a tall cake while their "
    "families watch",
)

MEMORY_LIMIT_MIB = 100.0
SEARCH_LIMIT_MS = 8.0
DEFAULT_PHOTOS = 100_000  # a large personal library, and what the targets are stated for
_DECODED_PHOTOS = 24
_DIGITS = 3


def bench(
    bundle: Bundle,
    *,
    index: Path | None = None,
    synthetic: int | None = None,
    threads: int = 1,
    searches: int = 200,
    runtime: str | None = None,
    repeats: int | None = None,
    cool_down_s: float | None = None,
    device: Device | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure memory (MiB) and latency (ms) of `bundle`; return the mcad-bench/1 document.

    `index` is a real one; without it, an index of `synthetic` photos (100,000 unless told) is
    made of blended real embeddings. `device` is this host unless given; it says how many
    `repeats` there are, and how long it cools between, unless told. `progress` hears of each step.
    Peak PSS is judged against 100 MiB, the median of a whole search against 8 ms.
    Raises BenchError for what cannot be measured, simulated towers included, and PhotoIndexError
    for an index that cannot be read.
    """
    if index is not None and synthetic is not None:
        raise BenchError(
            "A real index and a synthetic one were both asked for.",
            "Give --index DIR or --synthetic N.",
        )
    device = device or HostDevice()
    size = DEFAULT_PHOTOS if synthetic is None else synthetic
    if searches < 1 or size < 1:
        raise BenchError(
            f"{searches} searches of {size} photos leave nothing to measure.",
            "Ask for at least one search and one photo.",
        )
    progress("asking the device what it is")
    device.check(bundle)
    with tempfile.TemporaryDirectory(prefix="mcad-bench-") as folder:
        made = Path(folder)
        if index is None:
            progress(f"blending {size:,} embeddings into an index")
            synthetic_index(bundle, made / "index", size)
            photos: list[Path] = []
        else:
            photos = index_photos(bundle, index, _DECODED_PHOTOS)
        real_photos = bool(photos)
        if not real_photos:
            progress(f"making {_DECODED_PHOTOS} photos to decode")
            photos = sample_photos(bundle, made, _DECODED_PHOTOS)
        spec = Spec(
            bundle=bundle,
            index=index or made / "index",
            queries=(*bundle.text.golden.texts, *QUERIES),
            photos=tuple(photos),
            searches=searches,
            threads=threads,
            runtime=runtime,
            repeats=device.repeats if repeats is None else repeats,
            cool_down_s=device.cool_down_s if cool_down_s is None else cool_down_s,
        )
        measured = device.measure(spec, progress)
    measured["index"]["source"] = (
        "vectors that lie and spread as real photo embeddings do" if index is None else str(index)
    )
    measured["indexing"]["source"] = (
        "photos of the index"
        if real_photos
        else "the bundle's golden photos, enlarged to 12-megapixel JPEG files with grain"
    )
    return judge(bundle, measured)


def bench_towers(
    bundle: Bundle,
    device: TowerDevice,
    *,
    runtime: str | None = None,
    progress: Progress = silent,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the towers alone: a mcad-bench/1 document for each device, and why others failed.

    What a whole search takes is not known then: its targets have no verdict (null).
    """
    found, failures = device.measure_towers(bundle, runtime, progress)
    for measured in found:
        measured["index"]["source"] = "none"
    return [judge(bundle, measured) for measured in found], failures


def judge(bundle: Bundle, measured: dict[str, Any]) -> dict[str, Any]:
    """A device's numbers (see Device.measure) -> the whole document, rounded to 3 decimals and
    judged as rounded: what a reader sees is what passes or fails. What was not measured has no
    verdict: null."""
    document: dict[str, Any] = {
        "schema": RESULT_SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": _bundle_facts(bundle),
        **measured,
    }
    document = {key: _rounded(value) for key, value in document.items()}
    peak, search = document["memory_mib"]["peak_pss"], _median(document, "total")
    document["targets"] = {
        "memory": {
            "limit_mib": MEMORY_LIMIT_MIB,
            "measured_mib": peak,
            "pass": None if peak is None else peak <= MEMORY_LIMIT_MIB,
        },
        "search": {
            "limit_ms": SEARCH_LIMIT_MS,
            "measured_ms": search,
            "pass": None if search is None else search <= SEARCH_LIMIT_MS,
        },
    }
    return document


def _median(document: dict[str, Any], stage: str) -> float | None:
    taken = document["latency_ms"].get(stage)
    return None if taken is None else float(taken["p50"])


def _bundle_facts(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "created": bundle.created,
        "student": msgspec.to_builtins(bundle.student),
        "target": msgspec.to_builtins(bundle.target),
        "dim": bundle.dim,
        "tools": bundle.tools,
        "towers": {
            name: [
                {
                    "runtime": rung.runtime,
                    "precision": rung.precision,
                    "bytes": rung.bytes,
                    "low_parity": rung.low_parity,
                }
                for rung in bundle.tower(name).rungs
            ]
            for name in TOWERS
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
