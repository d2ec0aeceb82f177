"""Export ONNX files of published architectures for three kinds of chips: placement and parity.

    python -m benchmarks.onnx_students ViT-B-16-SigLIP

Weights are random (random_students.py). Snapdragon rungs run on the HTP simulator. Replaces
the row of a student in benchmarks/results/onnx_students.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.export_matrix import described
from benchmarks.main_job import provenance

RESULT = Path(__file__).parent / "results" / "onnx_students.json"
CHIPS = {"cpu": "CPU", "SM8650": "Snapdragon SM8650", "dimensity": "Dimensity"}
_TORCH, _ONE, _TWO = "torch, opset 18", "optimum, one file", "optimum, two files"
# Who writes the files of an architecture, and how it sees photos.
PAIRS = {
    "ViT-B-32": (_TORCH, "clip"),
    "ViT-B-16-SigLIP": (_TORCH, "siglip"),
    "MobileCLIP2-S0": (_TORCH, "mobileclip"),
    "TinyCLIP-ViT-8M-16-Text-3M": (_TWO, "clip"),
    "CLIP ViT-B/32, transformers": (_ONE, "clip"),
}


def write(name: str, files: str, folder: Path) -> str:
    """Write ONNX files, and return them as `onnx:` takes them."""
    import open_clip
    import torch

    from benchmarks.random_students import STUDENTS, clip_tokenizer
    from tests.support.onnx_towers import write_optimum

    weights = STUDENTS[name](folder).rpartition(":")[2]
    if files != _TORCH:
        two = write_optimum(folder, "legacy", 14)
        return two if files == _TWO else f"onnx:{folder}/model.onnx"
    model = open_clip.create_model(name, pretrained=weights).eval()
    if not (folder / "spiece.model").exists():
        clip_tokenizer().save_pretrained(folder)
    ids = torch.full((2, model.context_length), 1)
    pixels = torch.rand(2, 3, *model.visual.preprocess_cfg["size"])
    options: Any = {"dynamic_shapes": [{0: torch.export.Dim.DYNAMIC}], "verbose": False}
    for encode, given in (("encode_image", pixels), ("encode_text", ids)):
        model.forward = getattr(model, encode)
        out = f"{folder}/{encode}.onnx"
        torch.onnx.export(model, (given,), out, dynamo=True, opset_version=18, **options)
    return f"onnx:{folder}/encode_image.onnx,{folder}/encode_text.onnx"


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return a row for each tower: nodes on the NPU, and the mean and the worst cosine."""
    lines = [f"| model | files by | tower | {' | '.join(CHIPS.values())} |", f"|{'---|' * 6}"]
    for found in results:
        for tower in ("image", "text"):
            cells = [found["student"], PAIRS[found["student"]][0], tower]
            for target in found["targets"].values():
                rung = target["towers"][tower]
                nodes = f"{rung['npu_nodes']}/{rung['total_nodes']}, " * (rung["npu_nodes"] > 0)
                cosines = f"{rung['cosine_mean']:.4f} / {rung['cosine_min']:.4f}"
                cells.append(f"{rung['precision']}, {nodes}{cosines}")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    from mcad_mobile.export.build import BundleRequest
    from mcad_mobile.export.pipeline import ExportOptions, export
    from mcad_mobile.students.load import load_student
    from mcad_mobile.targets import find_target

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("student", choices=PAIRS)
    name = parser.parse_args().student
    files, preprocess = PAIRS[name]
    with tempfile.TemporaryDirectory() as scratch:
        student = load_student(write(name, files, Path(scratch)), preprocess=preprocess)
        requests = [BundleRequest(find_target(chip), Path(scratch) / chip) for chip in CHIPS]
        options = ExportOptions(allow_low_parity=True, simulated_inputs=2)
        bundles = [made.bundle for made in export(student, requests, options)]
    result = {
        "student": name,
        **provenance(bundles[0].tools),
        "targets": dict(zip(CHIPS, map(described, bundles), strict=True)),
    }
    known = json.loads(RESULT.read_text("utf-8"))
    found = [*(old for old in known if old["student"] != name), result]
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
