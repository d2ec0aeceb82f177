"""Recall@K of the default student and of what is exported of it.

    python benchmarks/recall.py --data flickr8k    # writes benchmarks/results/recall.json

On Flickr8k's test split, and on its first 200 photos: tests compare with these, which takes
seconds. The HTP simulator is left out; a thousand photos take it long.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine import SearchEngine
from mcad_mobile.evaluate import evaluate, evaluate_student
from mcad_mobile.export.pipeline import Order, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "recall.json"
PART = 200  # photos
RUNTIMES = {"cpu": "onnx", "dimensity": "litert"}
TOOLS = ("numpy", "torch", "onnxruntime", "ai-edge-litert")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    photos = load_captions(parser.parse_args().data, "test")
    student = load_student()
    splits = {"test": photos, "part": photos[:PART]}
    rows = {"float": {name: evaluate_student(student, of, _told) for name, of in splits.items()}}
    with tempfile.TemporaryDirectory() as folder:
        orders = [Order(find_target(name), Path(folder) / name) for name in RUNTIMES]
        for (name, runtime), made in zip(RUNTIMES.items(), export(student, orders), strict=True):
            engine = SearchEngine(made.bundle, runtime=runtime)
            rows[name] = {split: _recall(engine, of) for split, of in splits.items()}
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "student": student.sha256(),
        **{name: {of: found.to_json() for of, found in row.items()} for name, row in rows.items()},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def _recall(engine: SearchEngine, photos: list[CaptionedPhoto]) -> Any:
    return evaluate(photos, engine.embed_photo, engine.embed_text, _told)


def _told(step: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{step}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
