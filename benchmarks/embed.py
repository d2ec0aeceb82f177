"""Write embeddings of a captioned dataset as .npy files, the input of benchmarks/index.py.

python -m benchmarks.embed --data flickr8k --bundle build/cpu --out build/embeddings
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["train", "val", "test"])
    arguments = parser.parse_args()
    engine = SearchEngine(Bundle.load(arguments.bundle))
    photos = [photo for split in arguments.splits for photo in load_captions(arguments.data, split)]
    texts = [text for photo in load_captions(arguments.data, "test") for text in photo.captions]
    arguments.out.mkdir(parents=True, exist_ok=True)
    images = [engine.embed_photo(photo.path) for photo in track(photos, "photos")]
    np.save(arguments.out / "images.npy", np.stack(images))
    np.save(
        arguments.out / "texts.npy", np.stack([engine.embed_text(t) for t in track(texts, "texts")])
    )


if __name__ == "__main__":
    main()
