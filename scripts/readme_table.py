"""README's table: what a query, a photo and a search of a million cost, here and by what one would
use instead. From the stored results of benchmarks/peers.py and benchmarks/index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_CLIP = "CLIP ViT-B/32"
_TOWERS = (
    (_CLIP, "torch", "fp32", f"{_CLIP}, PyTorch"),
    (_CLIP, "onnx", "fp32", f"{_CLIP}, ONNX Runtime"),
    ("ours", "onnx", "int8", "**mcad-mobile, 8 bits**"),
)
_INDEXES = (
    ("numpy", "numpy, float32"),
    ("sqlite_vec", "sqlite-vec, float32"),
    ("faiss_hnsw", "faiss HNSW"),
    ("ours", "**mcad-mobile**"),
)


def lines() -> list[str]:
    machines = json.loads((RESULTS / "peers.json").read_text("utf-8"))
    indexes = RESULTS / "index" / "1000000"
    first = json.loads((indexes / f"{_INDEXES[0][0]}.json").read_text("utf-8"))
    # So that the whole table is of one machine.
    peers = next(one for one in machines if one["device"]["cpu"] == first["machine"]["cpu"])
    table = ["| | by | ms | MiB | recall@10 | bytes a photo |", "|---|---|---:|---:|---:|---:|"]
    for tower, what in (("text", "a query into a vector"), ("image", "a photo into a vector")):
        for model, runtime, precision, name in _TOWERS:
            row = _row(peers["rows"], model, tower, runtime, precision)
            table.append(f"| {what} | {name} | {row['p50']:.2f} | {row['peak_pss_mib']:.0f} | | |")
            what = ""
    what = "a vector to its ten of a million photos"
    for file, name in _INDEXES:
        row = json.loads((indexes / f"{file}.json").read_text("utf-8"))["row"]
        memory = row["library_pss_mib"] + row["searched_pss_mib"]
        table.append(
            f"| {what} | {name} | {row['p50_ms']:.2f} | {memory:.0f} | {row['recall_at_10']:.3f} "
            f"| {row['bytes_per_photo']:,.0f} |"
        )
        what = ""
    cpu = peers["device"]["cpu"]
    return [
        "",
        *table,
        "",
        f"One thread on {cpu}, a server, {peers['date']}: median, peak PSS.",
        "",
    ]


def _row(rows: list[dict[str, Any]], *wanted: str) -> dict[str, Any]:
    fields = ("model", "tower", "runtime", "precision")
    (found,) = (row for row in rows if tuple(row[field] for field in fields) == wanted)
    return found
