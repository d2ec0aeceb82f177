"""Published students' text towers and whole searches, beside the towers of their libraries.

    python benchmarks/students.py            # writes benchmarks/results/students.json

Random weights (random_students.py): time, memory, bytes and cosine to the float tower are real, and
recall is not measured. Each row of text towers is a process of its own, a few times over, in turn,
one thread: ours as a cpu bundle ships it, the same with the token table inside the graph, and
ONNX Runtime fp32 of open_clip's own encode_text, 77 or 64 tokens long. The whole search is
`mcad-mobile bench --synthetic 100000`. This machine is no phone.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch
from main_job import PHOTOS, mcad, summary
from peer_towers import Encoder, Row
from random_students import STUDENTS
from torch import Tensor, nn

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import Bundle, TensorSpec
from mcad_mobile.export.onnx import export_onnx
from mcad_mobile.export.pipeline import Order, export
from mcad_mobile.quantize.qdq import quantize_dynamic_int8
from mcad_mobile.students.load import load_student
from mcad_mobile.students.protocol import Student
from mcad_mobile.targets import find_target
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "students.json"
MEASURED = ("TinyCLIP-ViT-8M-16-Text-3M", "MobileCLIP2-S0", "ViT-B-32", "ViT-B-32-SigLIP2-256")
OURS, IN_GRAPH, PEER = "rows from a mapped table, int8", "table in the graph, int8", "library, fp32"
_QUERIES = (
    "a dog on the beach",
    "two children playing football in the rain",
    "the sea at night",
    "a woman in a red coat waits for the bus with an umbrella",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    students = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in MEASURED:
            print(name, file=sys.stderr, flush=True)
            folder = Path(scratch) / name
            folder.mkdir()
            students[name] = measure(name, folder, runs)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(peers.TOOLS),
        "runs": runs,
        "photos": PHOTOS,
        "students": students,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(table(result))


@torch.no_grad()
def measure(name: str, folder: Path, runs: int) -> dict[str, Any]:
    (folder / "student").mkdir()
    spec = STUDENTS[name](folder / "student")
    student = load_student(spec)
    out = folder / "bundle"
    (made,) = export(student, [Order(find_target("cpu"), out)], allow_low_parity=True)
    rows = towers(spec, student, made.bundle, folder)
    taken: list[list[dict[str, Any]]] = [[] for _ in rows]
    benches = []
    for _ in range(runs):
        for number, row in enumerate(rows):
            taken[number].append(peers.in_a_process(row, folder))
        benches.append(mcad("bench", "--bundle", str(out), "--synthetic", str(PHOTOS)))
    image = made.bundle.image.rungs[0]
    return {
        "text": [
            {**peers.summary(row, found), "bytes": size(Path(row.file))}
            for row, found in zip(rows, taken, strict=True)
        ],
        "token_table_bytes": made.bundle.token_table.file.bytes,
        "image_bytes": image.bytes,
        "search_p50_ms": summary([run["latency_ms"]["total"]["p50"] for run in benches]),
        "search_p99_ms": summary([run["latency_ms"]["total"]["p99"] for run in benches]),
        "stages_p50_ms": {
            stage: statistics.median(run["latency_ms"][stage]["p50"] for run in benches)
            for stage in ("tokenize", "text", "scan", "rescore", "image")
        },
        "peak_pss_mib": summary([run["memory_mib"]["peak_pss"] for run in benches]),
    }


def towers(spec: str, student: Student, bundle: Bundle, folder: Path) -> list[Row]:
    """The text tower three times, on the same texts."""
    read = student.read(list(_QUERIES))
    whole = folder / "texts.npz"
    np.savez(whole, **read.inputs())
    by_id = folder / "ids.npz"
    np.savez(by_id, ids=read.ids, attention_mask=read.mask, pooling=read.pooling)
    only_ids = folder / "only_ids.npz"
    np.savez(only_ids, ids=read.ids.astype(np.int64))
    tower = student.tower("text")
    found = tower(*(torch.from_numpy(value) for value in read.inputs().values())).numpy()
    expected = folder / "expected.npy"
    np.save(expected, found / np.linalg.norm(found, axis=1, keepdims=True))
    length, dim = student.text_spec.length, student.dim
    output = TensorSpec("text_embedding", "float32", (1, dim), "ND")

    in_graph = folder / "in_graph.onnx"
    floats = folder / "in_graph_fp32.onnx"
    inputs = (
        TensorSpec("ids", "int32", (1, length), "NL"),
        TensorSpec("attention_mask", "float32", (1, length), "NL"),
        TensorSpec("pooling", "float32", (1, length), "NL"),
    )
    any_length = not student.text_spec.attends_to_padding
    module = _WithTable(student.token_table, tower)
    export_onnx(module, floats, inputs, output, any_length=any_length)
    quantize_dynamic_int8(floats, in_graph)

    library = folder / "library.onnx"
    ids = TensorSpec("ids", "int64", (1, length), "NL")
    export_onnx(_library(spec), library, (ids,), output)
    ours = bundle.path(bundle.text.rungs[0].files[0])
    common = {"tower": "text", "runtime": "onnx", "expected": str(expected)}
    return [
        Row(model=OURS, precision="int8", file=str(ours), inputs=str(whole), **common),
        Row(model=IN_GRAPH, precision="int8", file=str(in_graph), inputs=str(by_id), **common),
        Row(model=PEER, precision="fp32", file=str(library), inputs=str(only_ids), **common),
    ]


class _WithTable(nn.Module):
    """A text tower that reads ids, as graphs with their token table inside do."""

    def __init__(self, token_table: Tensor, tower: nn.Module) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(token_table)
        self.tower = copy.deepcopy(tower)

    def forward(self, ids: Tensor, mask: Tensor, pooling: Tensor) -> Tensor:
        embedding: Tensor = self.tower(self.table(ids), mask, pooling)
        return embedding


def _library(spec: str) -> nn.Module:
    """The library's own text encoder, untouched but for what it says must be done to ship it."""
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        from transformers import CLIPModel

        return _Transformers(CLIPModel.from_pretrained(rest).eval())
    import open_clip
    from timm.utils import reparameterize_model

    name, _, weights = rest.partition(":")
    model = open_clip.create_model(name, pretrained=weights, pretrained_text=False)
    return Encoder(reparameterize_model(model).eval(), "text")


class _Transformers(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.projection = model.text_model, model.text_projection

    def forward(self, ids: Tensor) -> Tensor:
        pooled: Tensor = self.projection(self.text(input_ids=ids).pooler_output)
        return pooled


def size(model: Path) -> int:
    """Bytes of a model and of the weights beside it."""
    beside = model.with_name(f"{model.name}.data")
    return model.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def table(result: dict[str, Any]) -> str:
    lines = [
        "| student | text tower | MB | table MB | p50 ms | time | peak PSS MiB | worst cosine |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in result["students"].items():
        ours = next(row for row in found["text"] if row["model"] == OURS)
        for row in found["text"]:
            mark = "**" if row is ours else ""
            mapped = f"{found['token_table_bytes'] / 1e6:.1f}" if row is ours else "-"
            lines.append(
                f"| {name} | {mark}{row['model']}{mark} | {row['bytes'] / 1e6:.1f} | {mapped} "
                f"| {row['p50']:.2f} | {row['p50'] / ours['p50']:.2f}x "
                f"| {row['peak_pss_mib']:.0f} | {row['cosine_min']:.4f} |"
            )
    lines += [
        "",
        f"| whole search, {result['photos']:,} photos | p50 ms | p99 ms | text ms | peak PSS MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in result["students"].items():
        lines.append(
            f"| {name} | {found['search_p50_ms']['median']:.1f} "
            f"| {found['search_p99_ms']['median']:.1f} | {found['stages_p50_ms']['text']:.1f} "
            f"| {found['peak_pss_mib']['median']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
