"""Write embeddings of a captioned dataset as .npy files, the input of benchmarks/index.py.

python -m benchmarks.embed --data flickr8k --bundle build/cpu --out build/embeddings
python -m benchmarks.embed --data flickr8k --bundle build/cpu build/other --out build/wide

Embeddings of two bundles are joined, as those of one student with more dimensions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout")
    parser.add_argument("--bundle", type=Path, required=True, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["train", "val", "test"])
    arguments = parser.parse_args()
    engines = [SearchEngine(Bundle.load(bundle)) for bundle in arguments.bundle]
    photos = [photo for split in arguments.splits for photo in load_captions(arguments.data, split)]
    texts = [text for photo in load_captions(arguments.data, "test") for text in photo.captions]
    arguments.out.mkdir(parents=True, exist_ok=True)
    images = [
        joined([engine.embed_photo(photo.path) for engine in engines])
        for photo in track(photos, "photos")
    ]
    np.save(arguments.out / "images.npy", np.stack(images))
    rows = [
        joined([engine.embed_text(text) for engine in engines]) for text in track(texts, "texts")
    ]
    np.save(arguments.out / "texts.npy", np.stack(rows))


def joined(embeddings: Sequence[F32]) -> F32:
    """Return embeddings [D] of unit length as one, of unit length, too."""
    return np.concatenate(embeddings) / np.float32(len(embeddings) ** 0.5)


if __name__ == "__main__":
    main()
