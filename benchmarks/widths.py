"""Recall of the default student by width: what an index loses that holds the first numbers alone.

    python benchmarks/widths.py --data flickr8k --things objects200

In float, one photo and one text at a time, on the official test split and among photos of kinds of
things, each by its name. Writes benchmarks/results/widths.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.cli.output import progress_bar
from mcad_mobile.data.captions import load_captions
from mcad_mobile.evaluate import Embedded, embed_by_student
from mcad_mobile.index.format import record_bytes
from mcad_mobile.runtimes import normalize
from mcad_mobile.students.load import load_student
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "widths.json"
WIDTHS = (256, 128, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="captions, with a test split")
    parser.add_argument("--things", type=Path, required=True, help="the same, a photo a name")
    parser.add_argument("--student", help="default: the one that ships")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    sets = {name: load_captions(getattr(given, name), "test") for name in ("data", "things")}
    student = load_student(given.student)
    with progress_bar() as advance:
        embedded = {
            name: embed_by_student(student, photos, advance) for name, photos in sets.items()
        }
    rows = [
        {
            "width": width,
            # All of a vector: what no column of sign bits holds lies in the photo's record.
            "bytes_per_photo": record_bytes(width, 0),
            **{name: cut(found, width).retrieval().to_json() for name, found in embedded.items()},
        }
        for width in WIDTHS
    ]
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(("numpy", "torch")),
        "student": student.sha256(),
        "rows": rows,
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(as_markdown(result))


def cut(found: Embedded, width: int) -> Embedded:
    """As `--dim` cuts a student: the first numbers, of unit length."""
    images, texts = (normalize(rows[:, :width]) for rows in (found.images, found.texts))
    return Embedded(images, texts, found.owners)


def as_markdown(result: dict[str, Any]) -> str:
    lines = [
        "| numbers | bytes a photo in the index | text to image R@1 / 5 / 10 "
        "| image to text R@1 / 5 / 10 | mR | names: photo to name R@1 | name to photo R@1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        data, things = row["data"], row["things"]
        cells = [
            str(row["width"]),
            str(row["bytes_per_photo"]),
            *(_three(data[way]) for way in ("text_to_image", "image_to_text")),
            f"{data['mean_recall']:.1f}",
            *(f"{things[way]['r1']:.1f}" for way in ("image_to_text", "text_to_image")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _three(recall: dict[str, float]) -> str:
    return " / ".join(f"{recall[key]:.1f}" for key in ("r1", "r5", "r10"))


if __name__ == "__main__":
    main()
