"""What the index's format was chosen from: recall of other codes and of other bytes.

    python -m benchmarks.index_codes --embeddings build/embeddings

Prints the tables at the end of docs/index-format.md, and writes the last one, what the index itself
chooses and finds, to benchmarks/results/index_students.json. Photos are real ones, or blends of
them, as they are or bent on purpose: *gap*, a random unit vector added to all photos and another to
all queries; *clip*, two large and nearly constant coordinates, as OpenAI's CLIP has; *white*, all
coordinates scaled to equal variance, so that noise weighs as much as what the student knows. Wider
ones are random: *strong*, 96 strong directions and noise in the others, photos in a cone, queries
in another; *white*, even on the sphere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import load_embeddings, machine
from benchmarks.index_engines import F32, K, camera_path
from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.codes import decode, encode
from mcad_mobile.index.kernel import kernel
from mcad_mobile.index.lens import query_words
from mcad_mobile.index.rotation import rotate
from mcad_mobile.index.rounding import error_feedback
from mcad_mobile.index.scan import nearest
from mcad_mobile.index.settings import choose, sample_size
from mcad_mobile.index.synthetic import blend

RESULT = Path(__file__).parent / "results/index_students.json"
CODES = ("sign(x)", "sign(x - mean)", "sign(rest)", "rotated, sign(rest)", "then through the lens")
BYTES = ("int8 of x", "sign + 8 bits of the rest", "the same, rotated", "rotated, with feedback")
# Dimensions that are strong, and the size of the others beside them.
STRONG, WEAK = 96, 0.15


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
    every = np.full((2, photos.shape[1] // 8), 255, np.uint8)
    every[1] = 0
    for bits, query_bits in ways:
        columns = columns_of(bits)
        found = []
        for wanted in np.packbits(query_bits, axis=1, bitorder="little"):
            words = np.concatenate([wanted[None], every]).view("<u8")
            rows, _ = nearest(columns, words, [range(len(photos))], count, kernel=kernel())
            found.append(set(rows.tolist()))
        recalls.append(float(np.mean([len(f & t) / K for f, t in zip(found, true, strict=True)])))
    step = -(-len(turned) // sample_size(turned.shape[1]))
    lens = choose(turned[::step], turned_axis, len(turned)).lens
    columns = columns_of(turned_rest[:, : len(lens)] > 0)
    hits = []
    for query, best in zip(asked, true, strict=True):
        words, _ = query_words(lens, query)
        rows, _ = nearest(columns, words, [range(len(photos))], count, kernel=kernel())
        hits.append(len(set(rows.tolist()) & best) / K)
    return [*recalls, float(np.mean(hits))]


def columns_of(bits: Any) -> Any:
    """Bits [N, D] as columns [D/64, N] uint64."""
    return np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little").view("<u8").T)


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


def random_set(kind: str, dim: int, photos: int, queries: int) -> tuple[F32, F32]:
    random = np.random.default_rng(dim)
    if kind == "white":
        rows = random.standard_normal((photos + queries, dim), dtype=np.float32)
        return unit(rows[:photos]), unit(rows[photos:])
    basis = np.linalg.qr(random.normal(size=(dim, dim)))[0].astype(np.float32)
    sizes = np.where(np.arange(dim) < STRONG, 1, WEAK).astype(np.float32)
    sizes /= np.linalg.norm(sizes)
    sets = []
    for count, cone in zip((photos, queries), unit(random.normal(size=(2, dim))), strict=True):
        rows = random.standard_normal((count, dim), dtype=np.float32) * sizes
        sets.append(unit(rows @ basis.T + cone.astype(np.float32)))
    return sets[0], sets[1]


def chosen_by_index(name: str, photos: F32, queries: F32) -> dict[str, Any]:
    """What an index of `photos` chooses, and how that searches."""
    with tempfile.TemporaryDirectory() as folder:
        index = PhotoIndex.create(
            Path(folder) / "index", dim=photos.shape[1], student_sha256="0" * 64, student="bench"
        )
        with index.writer() as writer:
            writer.add([camera_path(i) for i in range(len(photos))], photos)
        (live,) = index._commit[1]
        hits, times = 0, []
        for query, best in zip(queries, neighbours(photos, queries), strict=True):
            started = time.perf_counter()
            paths = index.search(query, K).paths
            times.append((time.perf_counter() - started) * 1e3)
            hits += len({int(path[-12:-4]) for path in paths} & best)
        return {
            "vectors": name,
            "dim": photos.shape[1],
            "bits": len(live.segment.lens),
            "first_bits": live.first.bits if live.first else len(live.segment.lens),
            **vars(live.reach),
            "candidates": live.reach.candidates(len(photos), K),
            "recall_at_10": hits / (len(queries) * K),
            "p50_ms": float(np.median(times)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--only-chosen", action="store_true", help="only what the index chooses")
    args = parser.parse_args()
    images = load_embeddings(args.embeddings / "images.npy")
    texts = load_embeddings(args.embeddings / "texts.npy")
    queries = texts[np.random.default_rng(0).choice(len(texts), args.queries, replace=False)]
    blended = blend(images, args.photos)
    sets = {"real": (images, queries)}
    sets |= {kind: bent(kind, blended, queries) for kind in ("blend", "gap", "clip", "white")}
    if not args.only_chosen:
        columns = {name: code_recalls(*pair, args.count) for name, pair in sets.items()}
        print_table(f"pass 1, C = {args.count}", CODES, columns)
        print_table("pass 2", BYTES, {name: byte_recalls(*pair) for name, pair in sets.items()})
    rows = [chosen_by_index(name, *pair) for name, pair in sets.items()]
    for kind in ("strong", "white"):
        for dim in (512, 768):
            pair = random_set(kind, dim, args.photos, args.queries)
            rows.append(chosen_by_index(kind, *pair))
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "photos": args.photos,
        "queries": args.queries,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print_chosen(rows)


def print_chosen(rows: list[dict[str, Any]]) -> None:
    print(
        "\n| vectors | dimensions | bits | scanned first | candidates | recall@10 | ms |\n|---|"
        + "---:|" * 6
    )
    for row in rows:
        print(
            f"| {row['vectors']} | {row['dim']} | {row['bits']} | {row['first_bits']} "
            f"| {row['candidates']:,} | {row['recall_at_10']:.4f} | {row['p50_ms']:.2f} |"
        )


def print_table(title: str, rows: tuple[str, ...], columns: dict[str, list[float]]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for number, name in enumerate(rows):
        print(f"| {name} | {' | '.join(f'{c[number]:.3f}' for c in columns.values())} |")


if __name__ == "__main__":
    main()
