"""Measure Recall@K of the default student and its cpu bundle on Flickr8k and a part of it.

    python -m benchmarks.recall --data flickr8k --bundle build/cpu

Uses the whole test split, and its first 200 photos, which CI repeats in seconds. Fewer photos are
easier to tell apart, so their recall is higher. Writes benchmarks/results/recall.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.measure import device_facts
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.students.evaluation import embed, embed_by_student
from mcad_mobile.students.load import load_student

RESULT = Path(__file__).parent / "results" / "recall.json"
PHOTOS = 200
TOOLS = ("numpy", "torch", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    given = parser.parse_args()
    test = load_captions(given.data, "test")
    student, engine = load_student(), SearchEngine(Bundle.load(given.bundle), runtime="onnx")

    def recalls(photos: list[CaptionedPhoto]) -> dict[str, Any]:
        return {
            "float": embed_by_student(student, photos, _progress).retrieval().to_json(),
            "cpu": embed(photos, engine.embed_photo, engine.embed_text, _progress)
            .retrieval()
            .to_json(),
        }

    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "student": student.sha256(),
        **recalls(test[:PHOTOS]),
        "whole": recalls(test),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def _progress(step: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{step}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
