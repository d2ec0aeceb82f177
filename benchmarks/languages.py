"""Compare search with a multilingual text tower to search with the English one.

    npm pack cldr-annotations-full@48.2.0
    python -m benchmarks.languages --english build/cpu --many build/many --data flickr8k \\
        --objects objects200 --things cldr-annotations-full-48.2.0.tgz

Both are 8-bit cpu bundles with the same image tower. Measured are recall on Flickr8k's test split
and for names of 200 things, in English; R@10 of captions in eleven languages among Flickr8k's
validation split (tests/data/captions_in_languages.json, written for this test and translated by a
language model); and R@5 among those 200 photos, of everyday names that the tower was taught in 64
languages, and of names that it was taught only in English. `bench` times searches in a process of
its own. Writes benchmarks/results/languages.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.main_job import PHOTOS, mcad, provenance
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.data.captions import load_captions
from mcad_mobile.distill.languages import (
    ENGLISH,
    HELD_OUT,
    LANGUAGES,
    Thing,
    everyday_things,
    read_books,
    read_things,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.recall import EmbeddedPairs

ROOT = Path(__file__).parent
RESULT = ROOT / "results" / "languages.json"
PHRASES = ROOT.parent / "models" / "mcad-m" / "phrases"
CAPTIONS = ROOT.parent / "tests" / "data" / "captions_in_languages.json"
TOWERS = ("english", "many")
Embed = Callable[[str], NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in (*TOWERS, "data", "objects", "things"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    # Before this process loads the runtime: PSS counts a library that two processes use by halves.
    search = {name: _search(getattr(given, name)) for name in TOWERS}
    engines = {
        name: SearchEngine(Bundle.load(getattr(given, name)), runtime="onnx") for name in TOWERS
    }
    photos = engines["english"].embed_photo
    assert len({engine.bundle.student.image_sha256 for engine in engines.values()}) == 1
    result: dict[str, Any] = {**provenance(tool_versions(("onnxruntime", "numpy")))}
    for key, folder in (("flickr8k", given.data), ("objects200", given.objects)):
        split = load_captions(folder, "test")
        images = np.stack([photos(photo.path) for photo in split])
        owners = np.array([i for i, photo in enumerate(split) for _ in photo.captions])
        captions = [text for photo in split for text in photo.captions]
        result[key] = {
            name: EmbeddedPairs(images, _rows(engine.embed_text, captions), owners)
            .retrieval()
            .to_json()
            for name, engine in engines.items()
        }
        print(key, file=sys.stderr, flush=True)
    # `images` still holds the photos of objects200.
    shown = [_name(photo.captions[0]) for photo in split]
    books = read_books(PHRASES, LANGUAGES)
    for key, things, languages in (
        ("everyday", everyday_things(books), sorted(books)),
        ("names", _held_out(given.things), LANGUAGES),
    ):
        result[key] = _names(
            [t for t in things if t.english in shown], shown, images, engines, languages
        )
    val = load_captions(given.data, "val")
    result["captions"] = _captions(
        [photo.path.name for photo in val], np.stack([photos(photo.path) for photo in val]), engines
    )
    result["search"] = search
    result["text_bytes"] = {name: _text_bytes(e.bundle) for name, e in engines.items()}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def table(result: dict[str, Any]) -> str:
    """Return both towers' recall in English, and the multilingual one's in other languages."""

    def row(name: str, english: str, many: str) -> str:
        return f"| {name} | {english} | {many} |"

    lines = [row("", "English tower", "multilingual tower"), "|---|---|---|"]
    recalls = (f"{result['flickr8k'][tower]['mean_recall']:.1f}" for tower in TOWERS)
    lines.append(row("Flickr8k's test split, mR", *recalls))
    for name, direction in (("photo to name", "image_to_text"), ("name to photo", "text_to_image")):
        recalls = (f"{_first(result, tower, direction):.1f}" for tower in TOWERS)
        lines.append(row(f"200 things, {name}, R@1", *recalls))
    captions = result["captions"]
    lines.append(_row_of("40 captions, R@10: English", captions))
    others = _others(captions)
    lines.append(
        row(f"these captions in {len(others)} other languages, mean", "", f"{_mean(others):.1f}")
    )
    by_recall = sorted(others.items(), key=lambda found: -found[1])
    each = ", ".join(f"{language} {recall:.1f}" for language, recall in by_recall)
    for key, kind in (
        ("everyday", "everyday names, taught"),
        ("names", "names that it was taught only in English"),
    ):
        names = result[key]
        lines.append(_row_of(f"{names['things']} {kind}, R@5: English", names))
        others = _others(names)
        enough = sum(recall >= 0.6 * names["english"] for recall in others.values())
        worst = min(others, key=lambda language: others[language])
        lines.append(
            row(f"these names in {len(others)} other languages, mean", "", f"{_mean(others):.1f}")
        )
        lines.append(row(f"lowest of these ({worst})", "", f"{others[worst]:.1f}"))
        lines.append(row("languages that reach 60 % of English", "", f"{enough}"))
    size = (f"{result['text_bytes'][tower] / 1e6:.1f}" for tower in TOWERS)
    searches = [result["search"][tower] for tower in TOWERS]
    lines += [
        row(f"a search among {PHOTOS:,} photos, ms", *(f"{one['p50_ms']:.2f}" for one in searches)),
        row(
            "of this, tokenizing and the text tower, ms",
            *(f"{one['text_ms']:.2f}" for one in searches),
        ),
        row("peak PSS of the search, MiB", *(f"{one['peak_pss_mib']:.1f}" for one in searches)),
        row("tower, table, tokenizer, MB", *size),
        "",
        f"Captions by language: {each}.",
    ]
    return "\n".join(lines)


def _first(result: dict[str, Any], tower: str, direction: str) -> float:
    recall: float = result["objects200"][tower][direction]["r1"]
    return recall


def _row_of(name: str, found: dict[str, float]) -> str:
    return f"| {name} | {found['english']:.1f} | {found[ENGLISH]:.1f} |"


def _others(found: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in found.items() if key not in (ENGLISH, "english", "things")}


def _mean(found: dict[str, float]) -> float:
    return float(np.mean([*found.values()]))


def _search(bundle: Path) -> dict[str, float]:
    """Return median times of a search and of its text, with tokenizing, and the peak memory of a
    process that only searches."""
    bench = mcad("bench", "--bundle", str(bundle), "--synthetic", str(PHOTOS))
    latency = bench["latency_ms"]
    return {
        "p50_ms": latency["total"]["p50"],
        "text_ms": round(latency["tokenize"]["p50"] + latency["text"]["p50"], 3),
        "peak_pss_mib": bench["memory_mib"]["peak_pss"],
    }


def _text_bytes(bundle: Bundle) -> int:
    """Return the bytes of all files that embed a text."""
    return bundle.text.rungs[0].bytes + bundle.token_table.file.bytes + bundle.tokenizer_file.bytes


def _rows(embed: Embed, texts: list[str]) -> NDArray[np.float32]:
    return np.stack([embed(text) for text in texts])


def _captions(
    files: list[str], images: NDArray[np.float32], engines: dict[str, SearchEngine]
) -> dict[str, float]:
    """Return R@10 in percent by language; "english" is the English tower's."""
    document = json.loads(CAPTIONS.read_text("utf-8"))
    own = np.array([files.index(name) for name in document["photos"]])

    def recall(embed: Embed, texts: list[str]) -> float:
        return _recall(_rows(embed, texts) @ images.T, own, 10)

    found = {"english": recall(engines["english"].embed_text, document["captions"][ENGLISH])}
    for language, texts in document["captions"].items():
        found[language] = recall(engines["many"].embed_text, texts)
    return found


def _name(caption: str) -> str:
    return caption.removeprefix("a photo of a ").removeprefix("a photo of an ").lower()


def _held_out(archive: Path) -> list[Thing]:
    return [thing for thing in read_things(archive, LANGUAGES) if thing.english in HELD_OUT]


def _names(
    things: Sequence[Thing],
    shown: list[str],
    images: NDArray[np.float32],
    engines: dict[str, SearchEngine],
    languages: Sequence[str],
) -> dict[str, float]:
    """Return R@5 in percent by language, and the count of `things`; "english" is the English
    tower's."""
    own = np.array([shown.index(thing.english) for thing in things])

    def recall(embed: Embed, language: str) -> float:
        names = [thing.names.get(language, thing.english) for thing in things]
        return _recall(_rows(embed, names) @ images.T, own, 5)

    found = {"things": len(things), "english": recall(engines["english"].embed_text, ENGLISH)}
    return found | {name: recall(engines["many"].embed_text, name) for name in languages}


def _recall(scores: NDArray[np.float32], own: NDArray[np.intp], k: int) -> float:
    ranks = (scores >= scores[np.arange(len(own)), own][:, None]).sum(1)
    return round(float((ranks <= k).mean() * 100), 1)


if __name__ == "__main__":
    main()
