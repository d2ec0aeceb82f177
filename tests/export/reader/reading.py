"""What a rung of the reader reads, compared with what the float model reads.

Lines and scenes are rendered, others than those that readers are calibrated on. `error_rate` is the
percentage of rendered characters that differ in what was read; `found` that of the float detector's
boxes that a box of the rung covers by half of their union.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mcad_mobile.engine.bundle import READER_SHAPES, Bundle, TowerName
from mcad_mobile.engine.native import load_kernel
from mcad_mobile.engine.towers import LoadedTower
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.export.reader.pictures import line_pictures, pixels, scene_pictures
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.tiny_students import write_open_clip


def exported(folder: Path, chip: str, **options: Any) -> Bundle:
    """Export a tiny student with a reader."""
    student = load_student(f"open_clip:local-dir:{write_open_clip(folder / 'student')}")
    request = BundleRequest(find_target(chip), folder / chip)
    given = ExportOptions(allow_low_parity=True, read_text=True, **options)
    return export(student, [request], given)[0].bundle


MAKE = {"detector": scene_pictures, "recognizer": line_pictures}
SEED = 77


def read(tower: LoadedTower, name: TowerName, count: int, characters: list[str]) -> list[Any]:
    """Return the text of each line; of each scene the boxes, as masks [S, S]."""
    found: list[Any] = []
    for picture in MAKE[name](count, SEED):
        (output,) = tower({"pixels": pixels([picture.image], READER_SHAPES[name])})
        if name == "detector":
            found.append([_mask(box) for box in load_kernel().find_boxes(output[0], 500)])
        else:
            ids = output.argmax(1)
            kept = ids[(ids > 0) & (ids != np.roll(ids, 1))]
            found.append("".join(characters[number - 1] for number in kept))
    return found


def compared(name: TowerName, exact: list[Any], found: list[Any]) -> dict[str, float]:
    """Return how a rung's results for the first pictures compare with the float model's."""
    if name == "detector":
        pairs = [(box, boxes) for all_, boxes in zip(exact, found, strict=False) for box in all_]
        hits = [any(2 * (a & b).sum() >= (a | b).sum() for b in boxes) for a, boxes in pairs]
        return {"boxes": len(hits), "found": 100 * float(np.mean(hits))}
    lines = [picture.lines[0] for picture in line_pictures(len(found), SEED)]
    rates = {"error_rate": found, "float_error_rate": exact[: len(found)]}
    return {
        key: 100 * sum(map(edits, texts, lines)) / sum(map(len, lines))
        for key, texts in rates.items()
    }


def _mask(box: Any) -> Any:
    image = Image.new("1", READER_SHAPES["detector"][:1:-1])
    ImageDraw.Draw(image).polygon([*map(float, box[:8])], fill=1)
    return np.asarray(image)


def edits(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]
