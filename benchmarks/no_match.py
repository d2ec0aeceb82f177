"""How well a search knows that nothing matches: the threshold of engine/query.py, fitted on
the words for half of the photos and judged on those for the other half. The fit is what
models/mcad-s/no_match.json holds.

    python -m benchmarks.no_match --data flickr8k --others coco_more --things objects200 \\
        --bundle build/cpu

Captions of the test split have their photo in the index. Captions of another dataset have none when
they name something (of COCO's categories) that no caption of the test split names: of pizzas, say,
or of clocks. The same threshold is judged on names of things, too: photos of some are a tenth of
the index, the others are left out, and of these many look like one that is there (another breed of
dog), so that they count as false too often. Nothing is fitted on names. Writes
benchmarks/results/no_match.json.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine

RESULTS = Path(__file__).parent / "results/no_match.json"
THINGS = """
bus train truck boat hydrant meter giraffe zebra elephant bear cow sheep horse cat pizza donut cake
sandwich broccoli banana apple orange toilet sink refrigerator oven microwave laptop keyboard mouse
tv television clock vase scissors teddy toothbrush bed airplane plane jet desk computer kitchen
bathroom kite tennis umbrella
""".split()  # noqa: SIM905
SIZES = (125, 250, 500, 1000)
THINGS_AMONG = 10  # one photo in so many is of a thing with a name
DRAWS = 20  # of photos that are indexed: one draw of 125 moves a threshold by more than the fit


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def scored(queries: np.ndarray, photos: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Of each query: its best score over `photos`, and the mean one over `background`. [Q, 2]"""
    best, at_large = (queries @ photos.T).max(axis=1), (queries @ background.T).mean(axis=1)
    return np.stack([best, at_large], axis=1)


def margins(scores: np.ndarray) -> np.ndarray:
    difference: np.ndarray = scores[:, 0] - scores[:, 1]
    return difference


@dataclass(frozen=True)
class Words:
    """Scores of words whose photo is in the index [P, 2], and of words without one [A, 2]; and
    which of either a threshold is fitted on."""

    present: np.ndarray
    absent: np.ndarray
    fits: tuple[np.ndarray, np.ndarray]

    def half(self, fitting: bool) -> tuple[np.ndarray, np.ndarray]:
        present, absent = self.fits
        return self.present[present == fitting], self.absent[absent == fitting]

    def fitted(self) -> float:
        present, absent = self.half(True)
        return equal_error(margins(present), margins(absent))

    def wrong(self, threshold: float) -> tuple[float, float, float]:
        """Shares, of the words that nothing was fitted on: missed matches, false ones, and false
        ones of a limit on the score alone that misses as many."""
        present, absent = self.half(False)
        missed = float(np.mean(margins(present) < threshold))
        limit = np.quantile(present[:, 0], missed)
        false = float(np.mean(margins(absent) >= threshold))
        return missed, false, float(np.mean(absent[:, 0] >= limit))


def equal_error(present: np.ndarray, absent: np.ndarray) -> float:
    """The threshold at which as large a share of each is on the wrong side."""
    steps = np.unique(np.concatenate([present, absent]))
    missed = np.searchsorted(np.sort(present), steps) / len(present)
    false = 1 - np.searchsorted(np.sort(absent), steps) / len(absent)
    return float(steps[np.abs(missed - false).argmin()])


@dataclass(frozen=True)
class Scores:
    """Embeddings of photos and of words, and which words belong to which photo."""

    photos: np.ndarray  # [N, D]
    texts: np.ndarray  # [T, D]
    owner: np.ndarray  # [T]

    @staticmethod
    def of(engine: SearchEngine, captioned: Sequence[CaptionedPhoto], label: str) -> Scores:
        photos = [engine.embed_photo(photo.path) for photo in track(captioned, label)]
        texts = [text for photo in captioned for text in photo.captions]
        owner = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in captioned])
        embedded = [engine.embed_text(text) for text in track(texts, f"{label}: words")]
        return Scores(np.stack(photos), np.stack(embedded), owner)


@dataclass(frozen=True)
class Draws:
    """Words of photos that are indexed, for draws of DRAWS sets of photos of each size."""

    of_size: dict[int, list[dict[str, Words]]]

    @staticmethod
    def of(
        captions: Scores,
        names: Scores,
        absent: np.ndarray,
        background: np.ndarray,
        owners: tuple[int, int, Sequence[int]],
    ) -> Draws:
        """`absent` [A, D]: words that no photo matches. `owners`: the number of captioned photos
        and of things, and the photo of each absent text."""
        random = np.random.default_rng(0)
        tests, things, absent_owner = owners
        # Words for one photo are on one side: captions of it say nearly the same.
        side, side_of_things = (random.permutation(size) % 2 == 0 for size in (tests, things))
        side_of_absent = np.array(absent_owner) % 2 == 0

        def drawn(size: int) -> dict[str, Words]:
            inside = random.permutation(things)[: size // THINGS_AMONG]
            chosen = random.permutation(tests)[: size - len(inside)]
            photos = np.concatenate([captions.photos[chosen], names.photos[inside]])
            here, there = np.isin(captions.owner, chosen), np.isin(names.owner, inside)
            return {
                "captions": Words(
                    scored(captions.texts[here], photos, background),
                    scored(absent, photos, background),
                    (side[captions.owner[here]], side_of_absent),
                ),
                "names": Words(
                    scored(names.texts[there], photos, background),
                    scored(names.texts[~there], photos, background),
                    (side_of_things[names.owner[there]], side_of_things[names.owner[~there]]),
                ),
            }

        return Draws({size: [drawn(size) for _ in range(DRAWS)] for size in SIZES})

    def threshold(self, size: int) -> float:
        return float(np.mean([draw["captions"].fitted() for draw in self.of_size[size]]))

    def judged(self, size: int, threshold: float) -> dict[str, float]:
        """Shares of words of each kind that a threshold decides wrongly."""
        shares: dict[str, float] = {}
        for kind in ("captions", "names"):
            wrong = np.mean([draw[kind].wrong(threshold) for draw in self.of_size[size]], axis=0)
            for name, share in zip(("missed", "false", "false_by_score"), wrong, strict=True):
                shares[f"{kind}_{name}"] = round(float(share), 4)
        return shares


def unmatched(
    photos: Sequence[CaptionedPhoto], elsewhere: Sequence[CaptionedPhoto]
) -> tuple[list[str], list[int]]:
    """Captions `elsewhere` that name a thing which no caption of `photos` names; and the number
    of the photo of each."""
    named = set().union(*(words(text) for photo in photos for text in photo.captions))
    unknown = {
        t for thing in THINGS if not {thing, f"{thing}s"} & named for t in (thing, f"{thing}s")
    }
    texts, owner = [], []
    for number, photo in enumerate(elsewhere):
        found = [text for text in photo.captions if words(text) & unknown]
        texts += found
        owner += [number] * len(found)
    return texts, owner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, required=True, help="Karpathy layout, with a test split"
    )
    parser.add_argument("--others", type=Path, required=True, help="captions of other photos")
    parser.add_argument("--things", type=Path, required=True, help="photos of things, a test split")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    engine = SearchEngine(Bundle.load(arguments.bundle))
    test = load_captions(arguments.data, "test")
    things = load_captions(arguments.things, "test")
    texts, owner = unmatched([*test, *things], load_captions(arguments.others, "train"))
    document = fitted(engine, test, things, texts, owner)
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(as_markdown(document))


def fitted(
    engine: SearchEngine,
    test: Sequence[CaptionedPhoto],
    things: Sequence[CaptionedPhoto],
    absent_texts: Sequence[str],
    absent_owner: Sequence[int],
) -> dict[str, Any]:
    """The fit of the margin by the number of photos, and what it and the shipped one decide."""
    shipped = engine.bundle.no_match
    assert shipped is not None, "the bundle's student has no margin yet"
    captions, names = Scores.of(engine, test, "photos"), Scores.of(engine, things, "things")
    absent = np.stack([engine.embed_text(text) for text in track(absent_texts, "others")])
    owners = (len(test), len(things), absent_owner)
    draws = Draws.of(captions, names, absent, engine.background, owners)
    fits = {size: draws.threshold(size) for size in SIZES}
    slope, constant = np.polyfit(np.log(SIZES), list(fits.values()), 1)
    rows = [
        {
            "photos": size,
            "threshold": round(fits[size], 4),
            **draws.judged(size, fits[size]),
            "shipped": draws.judged(size, shipped.margin + shipped.per_log_n * np.log(size)),
        }
        for size in SIZES
    ]
    return {
        "schema": "mcad-no-match/2",
        "date": time.strftime("%Y-%m-%d"),
        "student": msgspec.structs.asdict(engine.bundle.student),
        "captions_with_photo": len(captions.texts),
        "captions_without": len(absent_texts),
        "names": len(names.texts),
        "draws": DRAWS,
        "shipped": msgspec.structs.asdict(shipped),
        "fit": {"margin": round(float(constant), 4), "margin_per_log_n": round(float(slope), 4)},
        "rows": rows,
    }


def as_markdown(document: dict[str, Any]) -> str:
    lines = [
        "| photos | margin | captions missed | false | names missed | false "
        "| shipped: captions missed | false | names missed | false |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ("captions_missed", "captions_false", "names_missed", "names_false")
    for row in document["rows"]:
        cells = [f"{part[key]:.1%}" for part in (row, row["shipped"]) for key in keys]
        lines.append(f"| {row['photos']} | {row['threshold']:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
