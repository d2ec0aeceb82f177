"""How well a search knows that nothing matches: the threshold of mcad_mobile/query.py, fitted on
the captions of half of the photos and judged on those of the other half. The fit is what
models/mcad-s/no_match.json holds.

    python benchmarks/no_match.py --data flickr8k --others coco_more --bundle build/cpu

Captions of the test split have their photo in the index. Captions of another dataset have none when
they name something (of COCO's categories) that no caption of the test split names: of pizzas, say,
or of clocks. Writes benchmarks/results/no_match.json.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from mcad_mobile.bundle import Bundle
from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine import SearchEngine

RESULTS = Path(__file__).parent / "results/no_match.json"
THINGS = """
bus train truck boat hydrant meter giraffe zebra elephant bear cow sheep horse cat pizza donut cake
sandwich broccoli banana apple orange toilet sink refrigerator oven microwave laptop keyboard mouse
tv television clock vase scissors teddy toothbrush bed airplane plane jet desk computer kitchen
bathroom kite tennis umbrella
""".split()  # noqa: SIM905
SIZES = (125, 250, 500, 1000)
DRAWS = 20  # of photos that are indexed: one draw of 125 moves a threshold by more than the fit


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def margins(queries: np.ndarray, photos: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Best score over `photos` less the mean score over `background`."""
    best: np.ndarray = (queries @ photos.T).max(axis=1) - (queries @ background.T).mean(axis=1)
    return best


def equal_error(present: np.ndarray, absent: np.ndarray) -> float:
    """The threshold at which as large a share of each is on the wrong side."""
    steps = np.unique(np.concatenate([present, absent]))
    missed = np.searchsorted(np.sort(present), steps) / len(present)
    false = 1 - np.searchsorted(np.sort(absent), steps) / len(absent)
    return float(steps[np.abs(missed - false).argmin()])


def rounded(found: list[tuple[float, ...]]) -> list[float]:
    """The means over draws."""
    means: list[float] = np.mean(found, axis=0).round(4).tolist()
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, required=True, help="Karpathy layout, with a test split"
    )
    parser.add_argument("--others", type=Path, required=True, help="captions of other photos")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    engine = SearchEngine(Bundle.load(arguments.bundle))
    shipped = engine.bundle.no_match
    assert shipped is not None, "the bundle's student has no margin yet"
    test = load_captions(arguments.data, "test")
    named = set().union(*(words(text) for photo in test for text in photo.captions))
    unknown = {
        t for thing in THINGS if not {thing, f"{thing}s"} & named for t in (thing, f"{thing}s")
    }
    others = load_captions(arguments.others, "train")
    absent_texts, absent_owner = [], []
    for number, photo in enumerate(others):
        found = [text for text in photo.captions if words(text) & unknown]
        absent_texts += found
        absent_owner += [number] * len(found)
    photos = np.stack([engine.embed_photo(photo.path) for photo in track(test, "photos")])
    texts = [text for photo in test for text in photo.captions]
    owner = np.repeat(np.arange(len(test)), [len(photo.captions) for photo in test])
    present = np.stack([engine.embed_text(text) for text in track(texts, "captions")])
    absent = np.stack([engine.embed_text(text) for text in track(absent_texts, "others")])

    background = engine.background
    random = np.random.default_rng(0)
    # Captions of one photo are on one side: they say nearly the same.
    side = random.permutation(len(test)) % 2 == 0
    fitting, fitting_absent = side[owner], np.array(absent_owner) % 2 == 0
    draws = {size: [random.permutation(len(test))[:size] for _ in range(DRAWS)] for size in SIZES}
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        found = []
        for chosen in draws[size]:
            here = np.isin(owner, chosen)
            p = margins(present, photos[chosen], background)
            a = margins(absent, photos[chosen], background)
            threshold = equal_error(p[here & fitting], a[fitting_absent])
            missed = np.mean(p[here & ~fitting] < threshold)
            # The score alone, with a limit that misses as many.
            limit = np.quantile((present[here & ~fitting] @ photos[chosen].T).max(axis=1), missed)
            by_score = (absent[~fitting_absent] @ photos[chosen].T).max(axis=1) >= limit
            false = np.mean(a[~fitting_absent] >= threshold)
            found.append((threshold, missed, false, np.mean(by_score)))
        names = ("threshold", "missed_matches", "false_matches", "false_matches_by_score")
        rows.append({"photos": size, **dict(zip(names, rounded(found), strict=True))})
    slope, constant = np.polyfit(np.log(SIZES), [row["threshold"] for row in rows], 1)
    for size, row in zip(SIZES, rows, strict=True):
        limit = shipped.margin + shipped.per_log_n * np.log(size)
        found = []
        for chosen in draws[size]:
            here = np.isin(owner, chosen)
            p = margins(present[here & ~fitting], photos[chosen], background)
            a = margins(absent[~fitting_absent], photos[chosen], background)
            found.append((np.mean(p < limit), np.mean(a >= limit)))
        names = ("missed_matches_shipped", "false_matches_shipped")
        row.update(zip(names, rounded(found), strict=True))
    document = {
        "schema": "mcad-no-match/1",
        "date": time.strftime("%Y-%m-%d"),
        "student": msgspec.structs.asdict(engine.bundle.student),
        "captions_with_photo": len(texts),
        "captions_without": len(absent_texts),
        "draws": DRAWS,
        "shipped": msgspec.structs.asdict(shipped),
        "fit": {"margin": round(float(constant), 4), "margin_per_log_n": round(float(slope), 4)},
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(as_markdown(document))


def as_markdown(document: dict[str, Any]) -> str:
    lines = [
        "| photos | margin | missed matches | false matches | false, by score alone "
        "| missed, shipped | false, shipped |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        lines.append(
            f"| {row['photos']} | {row['threshold']:.3f} | {row['missed_matches']:.1%} "
            f"| {row['false_matches']:.1%} | {row['false_matches_by_score']:.1%} "
            f"| {row['missed_matches_shipped']:.1%} | {row['false_matches_shipped']:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
