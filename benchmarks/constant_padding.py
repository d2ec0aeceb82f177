"""Padding as a constant: could a tower that was trained to see its padding read a text as it is?

    python benchmarks/constant_padding.py MobileCLIP2-S0  # writes results/constant_padding.json

MobileCLIP2's text tower attends to padding, so ten words cost 77 tokens. Here what padding holds in
each layer is replaced by its mean over other captions, as it could be stored in a bundle, and the
embeddings are compared with the tower's own. Random weights (random_students.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from random_students import STUDENTS
from torch import Tensor

from mcad_mobile.students.load import load_student
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "constant_padding.json"
_CAPTIONS = 32  # for the means, and as many others to judge


@torch.no_grad()
def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        student = load_student(STUDENTS[name](Path(folder)))
    captions = resources.files("mcad_mobile.quantize").joinpath("captions.txt").read_text("utf-8")
    read = student.read(captions.splitlines()[: 2 * _CAPTIONS])
    inputs = [torch.from_numpy(value) for value in read.inputs().values()]
    last = inputs[2].argmax(1, keepdim=True)  # where a text is pooled: at its end
    padding = torch.arange(inputs[0].shape[1])[None] > last
    tower: Any = student.tower("text")
    means = run(tower, [value[:_CAPTIONS] for value in inputs], padding[:_CAPTIONS])[1]
    judged = [value[_CAPTIONS:] for value in inputs]
    exact, _ = run(tower, judged, padding[_CAPTIONS:])
    constant, _ = run(tower, judged, padding[_CAPTIONS:], means)
    cosines = (exact * constant).sum(1)
    between = (exact @ exact.T)[~torch.eye(len(exact), dtype=torch.bool)]
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": tool_versions(("torch", "open-clip-torch")),
        "student": name,
        "captions": len(exact),
        "cosine_mean": round(float(cosines.mean()), 4),
        "cosine_min": round(float(cosines.min()), 4),
        "cosine_of_different_captions": round(float(between.mean()), 4),
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


def run(
    tower: Any, inputs: list[Tensor], padding: Tensor, means: list[Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Embeddings of unit length, and what padding holds before each layer, [L, width] on average.
    With `means`, padding holds these."""
    rows, mask, pooling = inputs
    x = tower.before(tower.widen(rows) + tower.get_buffer("positions"))
    held = []
    share = padding.float()[..., None]
    for number, layer in enumerate(tower.layers):
        held.append((x * share).sum(0) / share.sum(0).clamp(min=1))
        if means is not None:
            x = torch.where(padding[..., None], means[number], x)
        x = layer(x, None)
    pooled = ((pooling * mask)[:, None, :] @ tower.after(x)).squeeze(1)
    return torch.nn.functional.normalize(tower.head(pooled), dim=-1), held


if __name__ == "__main__":
    main()
