"""Can a score tell whether the first photo of a search shows what was asked for?

    python -m benchmarks.confidence --data flickr8k --absent coco_more --things objects200 \\
        --bundle build/cpu

Each draw indexes photos of the validation split; one photo in ten is of a thing. Its queries are
all captions and names whose photo is in the index, captions of another dataset that name a thing in
no caption of the split, and the names of the other things. A threshold may be set for the score
itself, the score above the query's mean over photos at large, or the same in standard deviations.
It is set so that one in twenty right photos that rank first falls below it, for captions or for
names, whichever threshold is lower. The last score is also judged at the threshold of `search
--matches`. Writes benchmarks/results/confidence.json.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from benchmarks.main_job import commit
from mcad_mobile.base import machine
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.query import MATCH_DEVIATIONS

RESULTS = Path(__file__).parent / "results/confidence.json"
THINGS = """
bus train truck boat hydrant meter giraffe zebra elephant bear cow sheep horse cat pizza donut cake
sandwich broccoli banana apple orange toilet sink refrigerator oven microwave laptop keyboard mouse
tv television clock vase scissors teddy toothbrush bed airplane plane jet desk computer kitchen
bathroom kite tennis umbrella
""".split()  # noqa: SIM905
SIZES = (50, 250, 1000)
THINGS_AMONG = 10  # one photo in ten is of a named thing
DRAWS = 20
MISSED = 0.05  # the share of right photos that a threshold may hide
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]  # best score, scores at large -> score
SCORES: dict[str, Score] = {
    "score": lambda best, at_large: best,
    "above the mean": lambda best, at_large: best - at_large.mean(axis=1),
    "deviations": lambda best, at_large: (best - at_large.mean(axis=1)) / at_large.std(axis=1),
}


@dataclass(frozen=True)
class Embedded:
    photos: np.ndarray  # [N, D]
    texts: np.ndarray  # [T, D]
    owner: np.ndarray  # [T]: the photo of each text

    @staticmethod
    def of(engine: SearchEngine, captioned: Sequence[CaptionedPhoto], label: str) -> Embedded:
        photos = [engine.embed_photo(photo.path) for photo in track(captioned, label)]
        texts = [text for photo in captioned for text in photo.captions]
        owner = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in captioned])
        embedded = [engine.embed_text(text) for text in track(texts, f"{label}: words")]
        return Embedded(np.stack(photos), np.stack(embedded), owner)


def absent_captions(
    photos: Sequence[CaptionedPhoto], elsewhere: Sequence[CaptionedPhoto]
) -> list[str]:
    """Return captions of `elsewhere` that name a thing in no caption of `photos`."""

    def words(text: str) -> set[str]:
        return set(re.findall(r"[a-z]+", text.lower()))

    named = set().union(*(words(text) for photo in photos for text in photo.captions))
    unknown = {
        t for thing in THINGS if not {thing, f"{thing}s"} & named for t in (thing, f"{thing}s")
    }
    return [text for photo in elsewhere for text in photo.captions if words(text) & unknown]


def judged(
    captions: Embedded, names: Embedded, absent: np.ndarray, typical_photos: np.ndarray, size: int
) -> list[dict[str, Any]]:
    """Return a row per score: its threshold, and the shares that it hides and lets pass."""
    random = np.random.default_rng(0)
    groups: dict[str, list[np.ndarray]] = {}

    def ask(group: str, texts: np.ndarray, photos: np.ndarray, owner: np.ndarray | None) -> None:
        scores = texts @ photos.T
        first = scores.argmax(axis=1)
        found = np.column_stack([scores.max(axis=1), texts @ typical_photos.T])
        groups.setdefault(group, []).append(found if owner is None else found[first == owner])

    for _ in range(DRAWS):
        things = random.permutation(len(names.photos))[: size // THINGS_AMONG]
        chosen = random.permutation(len(captions.photos))[: size - len(things)]
        photos = np.concatenate([captions.photos[chosen], names.photos[things]])
        for group, embedded, drawn, start in (
            ("captions", captions, chosen, 0),
            ("names", names, things, len(chosen)),
        ):
            row = np.full(len(embedded.photos), -1)
            row[drawn] = np.arange(start, start + len(drawn))
            owner = row[embedded.owner]
            ask(group, embedded.texts[owner >= 0], photos, owner[owner >= 0])
            if group == "names":
                ask("names without photo", embedded.texts[owner < 0], photos, None)
        ask("captions without photo", absent, photos, None)

    rows = []
    for name, score in SCORES.items():
        of = {
            group: score(found[:, 0], found[:, 1:])
            for group, found in ((key, np.concatenate(parts)) for key, parts in groups.items())
        }
        own = min(float(np.quantile(of[group], MISSED)) for group in ("captions", "names"))
        fixed = [("search --matches", MATCH_DEVIATIONS)] if name == "deviations" else []
        for label, threshold in [(name, own), *fixed]:
            hidden = {group: float(np.mean(scores < threshold)) for group, scores in of.items()}
            shares = {
                group: round(1 - share if "without" in group else share, 4)
                for group, share in hidden.items()
            }
            rows.append({"photos": size, "score": label, "line": round(threshold, 3), **shares})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout, val split")
    parser.add_argument("--absent", type=Path, required=True, help="captions of other photos")
    parser.add_argument("--things", type=Path, required=True, help="photos of things, a test split")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    engine = SearchEngine(Bundle.load(arguments.bundle))
    val = load_captions(arguments.data, "val")
    things = load_captions(arguments.things, "test")
    texts = absent_captions([*val, *things], load_captions(arguments.absent, "train"))
    captions, names = Embedded.of(engine, val, "photos"), Embedded.of(engine, things, "things")
    absent = np.stack([engine.embed_text(text) for text in track(texts, "absent")])
    document = {
        "schema": "mcad-confidence/1",
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine.summary(),
        "versions": tool_versions(("onnxruntime", "numpy")),
        "student": msgspec.to_builtins(engine.bundle.student),
        "captions": len(captions.texts),
        "captions_without_photo": len(texts),
        "names": len(names.texts),
        "draws": DRAWS,
        "rows": [
            row
            for size in SIZES
            for row in judged(captions, names, absent, engine.typical_photos, size)
        ],
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(as_markdown(document))


def as_markdown(document: dict[str, Any]) -> str:
    lines = [
        "| photos | threshold on | right captions hidden | right names hidden "
        "| captions without photo that pass | names without photo that pass |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    groups = ("captions", "names", "captions without photo", "names without photo")
    for row in document["rows"]:
        cells = [f"{row[group]:.0%}" for group in groups]
        lines.append(f"| {row['photos']:,} | {row['score']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
