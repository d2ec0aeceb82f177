"""What the index's format was chosen from: recall of other codes and of other bytes.

    python -m benchmarks.index_codes --embeddings build/embeddings

Prints the tables at the end of docs/index-format.md. Photos are real ones, or blends of them, as
they are or bent on purpose: *gap*, a random unit vector added to all photos and another to all
queries; *clip*, two large and nearly constant coordinates, as OpenAI's CLIP has; *white*, all
coordinates scaled to equal variance, so that noise weighs as much as what the student knows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.index import load_embeddings
from benchmarks.index_engines import F32, K
from mcad_mobile.index.codes import decode, encode, estimate, split_query
from mcad_mobile.index.rotation import rotate
from mcad_mobile.index.rounding import error_feedback
from mcad_mobile.index.scan import nearest_codes
from mcad_mobile.index.synthetic import blend

CODES = ("sign(x)", "sign(x - mean)", "sign(rest)", "rotated, sign(rest)", "then by estimate")
BYTES = ("int8 of x", "sign + 8 bits of the rest", "the same, rotated", "rotated, with feedback")


def unit(rows: F32) -> F32:
    scaled: F32 = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled


def bent(kind: str, photos: F32, queries: F32) -> tuple[F32, F32]:
    random = np.random.default_rng(0)
    if kind == "gap":
        a, b = unit(random.normal(size=(2, photos.shape[1])).astype(np.float32))
        return unit(photos + a), unit(queries + b)
    if kind == "clip":
        photos, queries = photos.copy(), queries.copy()
        for rows in (photos, queries):
            rows[:, 3] += 0.7
            rows[:, 100] -= 0.5
        return unit(photos), unit(queries)
    if kind == "white":
        scale = 1 / np.maximum(photos.std(axis=0), 1e-3)
        return unit(photos * scale), unit(queries * scale)
    return photos, queries


def neighbours(photos: F32, queries: F32) -> list[set[int]]:
    return [set(np.argpartition(photos @ q, len(photos) - K)[-K:].tolist()) for q in queries]


def axis_of(rows: F32) -> F32:
    return unit(rows.mean(axis=0))


def code_recalls(photos: F32, queries: F32, count: int) -> list[float]:
    """Share of the true ten among the `count` that the codes alone would choose."""
    true = neighbours(photos, queries)
    mean, axis = photos.mean(axis=0), axis_of(photos)
    turned, asked = rotate(photos), rotate(queries)
    turned_axis = rotate(axis)
    rest, turned_rest = (
        rows - (rows @ direction)[:, None] * direction
        for rows, direction in ((photos, axis), (turned, turned_axis))
    )
    ways = [
        (photos > 0, queries > 0),
        (photos - mean > 0, queries > 0),
        (rest > 0, queries - (queries @ axis)[:, None] * axis > 0),
        (turned_rest > 0, asked - (asked @ turned_axis)[:, None] * turned_axis > 0),
    ]
    recalls = []
    for bits, query_bits in ways:
        codes = np.packbits(bits, axis=1, bitorder="little")
        wanted = np.packbits(query_bits, axis=1, bitorder="little")
        found = [set(nearest_codes(codes, q, count).tolist()) for q in wanted]
        recalls.append(float(np.mean([len(f & t) / K for f, t in zip(found, true, strict=True)])))
    encoded = encode(turned, turned_axis)
    hits = []
    for query, best in zip(asked, true, strict=True):
        scores = estimate(split_query(query, turned_axis), encoded.codes, encoded.along)
        hits.append(len(set(np.argpartition(-scores, count)[:count].tolist()) & best) / K)
    return [*recalls, float(np.mean(hits))]


def byte_recalls(photos: F32, queries: F32) -> list[float]:
    """Recall@10 when all photos are scored by their bytes."""
    true = neighbours(photos, queries)
    axis, turned = axis_of(photos), rotate(photos)
    turned_axis = rotate(axis)
    sample = turned[:: max(len(turned) // 4096, 1)]
    feedback = error_feedback(sample - (sample @ turned_axis)[:, None] * turned_axis)
    scale = np.abs(photos).max(axis=1, keepdims=True) / 127
    kept = [
        (np.rint(photos / scale) * scale, queries),
        (decode(encode(photos, axis), axis), queries),
        (decode(encode(turned, turned_axis), turned_axis), rotate(queries)),
        (decode(encode(turned, turned_axis, feedback), turned_axis), rotate(queries)),
    ]
    return [
        float(np.mean([len(f & t) / K for f, t in zip(neighbours(*pair), true, strict=True)]))
        for pair in kept
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    images = load_embeddings(args.embeddings / "images.npy")
    texts = load_embeddings(args.embeddings / "texts.npy")
    queries = texts[np.random.default_rng(0).choice(len(texts), args.queries, replace=False)]
    blended = blend(images, args.photos)
    sets = {"real": (images, queries)}
    sets |= {kind: bent(kind, blended, queries) for kind in ("blend", "gap", "clip", "white")}
    columns = {name: code_recalls(*pair, args.count) for name, pair in sets.items()}
    print_table(f"pass 1, C = {args.count}", CODES, columns)
    print_table("pass 2", BYTES, {name: byte_recalls(*pair) for name, pair in sets.items()})


def print_table(title: str, rows: tuple[str, ...], columns: dict[str, list[float]]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for number, name in enumerate(rows):
        print(f"| {name} | {' | '.join(f'{c[number]:.3f}' for c in columns.values())} |")


if __name__ == "__main__":
    main()
