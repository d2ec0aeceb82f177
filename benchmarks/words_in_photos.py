"""Find photos by words that stand in them: made receipts, tickets, screenshots and signs.

    apt-get install tesseract-ocr tesseract-ocr-{deu,fra,spa,por,ita}
    pip install --no-deps noto-cjk-sans-jp-regular
    python -m benchmarks.words_in_photos --bundle build/cpu --data flickr8k

Draws photos the same way every time, on photos that installed packages ship, with perspective,
blur, noise and what JPEG leaves; their words are names of countries, languages and months. They are
indexed and read among Flickr8k's test photos, and each is searched for by two words that stand in
it: by embeddings, by words and by both. Flickr8k's captions are searched by embeddings and by both.
Other programs read the made photos, too. Writes benchmarks/results/words_in_photos.json.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.main_job import provenance, store
from benchmarks.text_reader import READERS, TESSERACT, measured
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Channel, SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from tests.export.reader.reading import edits
from tests.support.text_photos import LANGUAGES, draw

RESULT = Path(__file__).parent / "results" / "words_in_photos.json"
PHOTOS = 170
Pairs = Sequence[tuple[str, str]]  # a query, and the photo to find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    engine, chance = SearchEngine(Bundle.load(given.bundle)), random.Random(74)
    split = load_captions(given.data, "test")
    captions = [(text, str(photo.path.resolve())) for photo in split for text in photo.captions]
    with tempfile.TemporaryDirectory() as folder:
        made = {str(Path(folder) / f"{n:03}.jpg"): draw(n, chance) for n in range(PHOTOS)}
        for path, (page, _) in made.items():
            page.save(path, quality=85)
        index = create_index(engine.bundle, Path(folder) / "index")
        engine.index_photos(index, [*made, *dict.fromkeys(path for _, path in captions)])
        started = time.perf_counter()
        read = engine.read_texts(index)
        seconds = time.perf_counter() - started
        pairs = [
            (" ".join(max(line.split(), key=len) for line in lines[:2]), path)
            for path, (_, lines) in made.items()
        ]
        channels: tuple[Channel | None, ...] = ("content", "words", None)
        result = {
            **provenance(tool_versions(("onnxruntime", "numpy", "rapidocr"))),
            **{"photos": index.photos, "of_text": len(made), "languages": LANGUAGES},
            **{"with_text": read.with_text, "photos_an_hour": 3600 * read.photos / seconds},
            "two_words": {by or "both": recalls(engine, index, pairs, by) for by in channels},
            "captions": {
                by or "both": recalls(engine, index, captions, by) for by in channels[::2]
            },
            "readers": {name: peer(name, given.bundle, folder, made) for name in READERS},
        }
    store(result, RESULT)
    print(json.dumps(result, indent=2))


def peer(
    name: str, bundle: Path, folder: str, made: dict[str, tuple[Image.Image, list[str]]]
) -> dict[str, float]:
    """Let a program read the made photos on one thread; return its time, memory and errors."""
    found, errors = measured(name, bundle, Path(folder)), []
    for path, text in found.pop("texts").items():
        wanted, got = ("".join("".join(part).split()) for part in (made[path][1], text))
        errors.append((edits(wanted, got), len(wanted)))
    latin = [errors[n] for n in range(PHOTOS) if LANGUAGES[n % len(LANGUAGES)] in TESSERACT]
    rates = {"error_rate": errors, "error_rate_in_six_languages": latin}
    return found | {
        key: 100 * sum(edit for edit, _ in some) / sum(length for _, length in some)
        for key, some in rates.items()
    }


def recalls(
    engine: SearchEngine, index: PhotoIndex, queries: Pairs, by: Channel | None
) -> dict[str, float]:
    """Return the percentages of queries that find their photo first, within five and within ten."""
    ranks = []
    for query, path in queries:
        paths = [result.path for result in engine.search(index, query, 10, by=by).results]
        ranks.append(paths.index(path) if path in paths else len(paths))
    return {f"r{k}": 100 * sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5, 10)}


if __name__ == "__main__":
    main()
