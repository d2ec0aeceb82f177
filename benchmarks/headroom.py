"""What headroom gives the default student's quantized towers, and what LiteRT's norms do.

    python benchmarks/headroom.py --data flickr8k    # writes results/headroom.json

Ranges are those that 32 packaged photos and 32 captions of ours show, made wider by a factor.
Cosines are to the float student, on photos and captions of split val, which no range came from, by
ONNX Runtime, and by LiteRT, on this processor. No time is taken.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import TOWERS, TowerName
from mcad_mobile.data.captions import load_captions
from mcad_mobile.export import integer_friendly
from mcad_mobile.export.litert import channels_last, convert_litert, stored_specs
from mcad_mobile.export.onnx import export_onnx
from mcad_mobile.export.validate import float_embeddings, parity
from mcad_mobile.export.workshop import tower_specs
from mcad_mobile.quantize.bias_correction import corrected
from mcad_mobile.quantize.calibrate import captioned_samples, load_samples
from mcad_mobile.quantize.headroom import HEADROOM
from mcad_mobile.quantize.htp import quantize_w8a16
from mcad_mobile.quantize.int8 import quantize_static_int8
from mcad_mobile.quantize.litert import quantize_litert
from mcad_mobile.runtimes import Inputs, LoadedTower
from mcad_mobile.runtimes.litert import LiteRTTower
from mcad_mobile.runtimes.onnx import OnnxTower
from mcad_mobile.runtimes.saturation import saturates
from mcad_mobile.students.load import load_student
from mcad_mobile.text.rows import TokenTable, write_token_table
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "headroom.json"
TOOLS = ("torch", "onnx", "onnxruntime", "ai-edge-quantizer", "numpy")
FACTORS = (1.0, 1.2, 1.4, 1.7, 2.0, 4.0)
PHOTOS, TEXTS, BY_LITERT = 500, 1000, 250
# Tower, precision, and how wide its activations are in bits.
ROWS: tuple[tuple[TowerName, str, int], ...] = (
    ("image", "int8", 8),
    ("image", "w8a16", 16),
    ("text", "w8a16", 16),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        towers = _Towers(given.data, Path(work))
        rows = [
            {"tower": tower, "precision": precision, "factor": factor, **found}
            for tower, precision, bits in ROWS
            for factor in FACTORS
            for found in [towers.by_onnx(tower, precision, bits, factor)]
        ]
        norms = {steps: towers.by_litert(steps) for steps in ("one", "as many as it takes")}
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "student": "mcad-s",
        "data": "Flickr8k, val",
        "photos": PHOTOS,
        "captions": TEXTS,
        "rows": rows,
        "norms": {"captions": BY_LITERT, "steps": norms},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print("\n".join(told(result)))


class _Towers:
    """The default student's towers in float, what calibrates them and what they are judged by."""

    def __init__(self, data: Path, work: Path) -> None:
        self._work, self._student = work, load_student()
        write_token_table(work / "table.bin", self._student.token_table.numpy())
        table = TokenTable(work / "table.bin", *self._student.token_table.shape)
        samples = load_samples(self._student, None, 32)[0].read_from(table)
        val = load_captions(data, "val")
        judged = captioned_samples(self._student, val, photos=PHOTOS, texts=TEXTS)
        self._exact = {
            name: np.concatenate(
                [
                    float_embeddings(self._student.tower(name), part)
                    for part in _parts(judged.inputs(name))
                ]
            )
            for name in TOWERS
        }
        self._samples = {name: samples.inputs(name) for name in TOWERS}
        self._judged = {name: judged.read_from(table).inputs(name) for name in TOWERS}
        image = corrected(self._student.tower("image"), torch.from_numpy(samples.pixels))
        self._modules = {"image": image, "text": self._student.tower("text")}
        for name in TOWERS:
            export_onnx(self._modules[name], self._float(name), *tower_specs(self._student, name))
            onnx.checker.check_model(str(self._float(name)))

    def by_onnx(
        self, name: TowerName, precision: str, bits: int, factor: float
    ) -> dict[str, float]:
        quantize = quantize_w8a16 if bits == 16 else quantize_static_int8
        out, before = self._work / "quantized.onnx", HEADROOM[bits]
        HEADROOM[bits] = factor
        try:
            quantize(self._float(name), out, self._samples[name])
        finally:
            HEADROOM[bits] = before
        return self._cosines(name, OnnxTower(out, exact=saturates()), len(self._exact[name]))

    def by_litert(self, steps: str) -> dict[str, float]:
        """The text tower in w8a16."""
        inputs, output = tower_specs(self._student, "text")
        specs, before = channels_last(inputs), integer_friendly.FAR
        floats, out = self._work / "float.tflite", self._work / "quantized.tflite"
        if steps == "one":
            integer_friendly.FAR = float("inf")
        try:
            convert_litert(self._modules["text"], floats, specs, self._samples["text"])
        finally:
            integer_friendly.FAR = before
        quantize_litert(floats, out, self._samples["text"], specs, "w8a16")
        stored, written = stored_specs(out, specs, output)
        return self._cosines("text", LiteRTTower(out, stored, (written,)), BY_LITERT)

    def _cosines(self, name: TowerName, tower: LoadedTower, count: int) -> dict[str, float]:
        judged = {key: value[:count] for key, value in self._judged[name].items()}
        found = np.concatenate([tower(part) for part in _parts(judged)])
        record = parity(self._exact[name][:count], found)
        return {
            "cosine_mean": round(record.cosine_mean, 5),
            "cosine_min": round(record.cosine_min, 5),
        }

    def _float(self, name: str) -> Path:
        return self._work / f"{name}.onnx"


def _parts(inputs: Inputs) -> list[Inputs]:
    count = len(next(iter(inputs.values())))
    return [
        {name: value[start : start + 50] for name, value in inputs.items()}
        for start in range(0, count, 50)
    ]


def told(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown, for docs/targets.md."""
    found = {(row["tower"], row["precision"], row["factor"]): _told(row) for row in result["rows"]}
    kinds = [(tower, precision) for tower, precision, _ in ROWS]
    lines = [
        f"Cosine to the float student, mean / min, on {result['photos']:,} photos and "
        f"{result['captions']:,} captions of split val, where ranges",
        "are so many times as wide as what 32 samples show:",
        "",
        "| range | " + " | ".join(f"{tower} {precision}" for tower, precision in kinds) + " |",
        "|---:|" + "---|" * len(kinds),
        *(
            f"| {factor:g} | " + " | ".join(found[*kind, factor] for kind in kinds) + " |"
            for factor in FACTORS
        ),
        "",
        f"By LiteRT, the text tower in w8a16, {result['norms']['captions']} of the captions, by "
        "the steps that a norm is made of:",
        "",
        "| steps | cosine mean / min |",
        "|---|---|",
        *(f"| {steps} | {_told(one)} |" for steps, one in result["norms"]["steps"].items()),
        "",
    ]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    made = f"{result['date']}, {result['device']['cpu']}; {versions}."
    return [*lines, f"{made} Re-run: `benchmarks/headroom.py`."]


def _told(one: dict[str, float]) -> str:
    return f"{one['cosine_mean']:.4f} / {one['cosine_min']:.4f}"


if __name__ == "__main__":
    main()
