"""What headroom gives the default student's quantized towers, and what LiteRT's norms do.

    python benchmarks/headroom.py --data flickr8k    # writes results/headroom.json

Ranges are those that 32 packaged photos and 32 captions of ours show, made wider by a factor.
Cosines are to the float student, on photos and captions of split val, which no range came from, by
ONNX Runtime, and by LiteRT, on this processor. What headroom gives recall is less than a thousand
photos tell: of the image tower in int8 it is measured on five times as many. No time is taken.
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
from numpy.typing import NDArray

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import TOWERS, TowerName
from mcad_mobile.data.captions import load_captions
from mcad_mobile.enough_data import drop
from mcad_mobile.evaluate import evaluate_retrieval
from mcad_mobile.export import integer_friendly
from mcad_mobile.export.litert import channels_last, convert_litert, stored_specs
from mcad_mobile.export.onnx import export_onnx
from mcad_mobile.export.recall_judge import by_photo
from mcad_mobile.export.validate import float_embeddings, parity
from mcad_mobile.export.workshop import tower_specs
from mcad_mobile.quantize.bias_correction import corrected
from mcad_mobile.quantize.calibrate import captioned_samples, load_samples
from mcad_mobile.quantize.headroom import HEADROOM
from mcad_mobile.quantize.htp import quantize_w8a16
from mcad_mobile.quantize.int8 import quantize_dynamic_int8, quantize_static_int8
from mcad_mobile.quantize.litert import quantize_litert
from mcad_mobile.runtimes import Inputs, LoadedTower, normalize
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
# A thousand photos each, of a split, from this one on.
POOLS = (("val", 0), ("test", 0), ("train", 0), ("train", 1000), ("train", 2000))
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
            for found in [towers.by_onnx(tower, bits, factor)]
        ]
        recall = [towers.recall(*pool) for pool in POOLS]
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
        "recall": recall,
        "norms": {"captions": BY_LITERT, "steps": norms},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print("\n".join(told(result)))


class _Towers:
    """The default student's towers in float, what calibrates them and what they are judged by."""

    def __init__(self, data: Path, work: Path) -> None:
        self._work, self._data, self._student = work, data, load_student()
        write_token_table(work / "table.bin", self._student.token_table.numpy())
        table = TokenTable(work / "table.bin", *self._student.token_table.shape)
        samples = load_samples(self._student, None, 32)[0].read_from(table)
        val = load_captions(data, "val")
        judged = captioned_samples(self._student, val, photos=PHOTOS, texts=TEXTS)
        self._table = table
        self._exact = {name: self._floats(name, judged.inputs(name)) for name in TOWERS}
        self._samples = {name: samples.inputs(name) for name in TOWERS}
        self._judged = {name: judged.read_from(table).inputs(name) for name in TOWERS}
        image = corrected(self._student.tower("image"), torch.from_numpy(samples.pixels))
        self._modules = {"image": image, "text": self._student.tower("text")}
        for name in TOWERS:
            export_onnx(self._modules[name], self._float(name), *tower_specs(self._student, name))
            onnx.checker.check_model(str(self._float(name)))
        self._text_int8 = work / "text_int8.onnx"
        quantize_dynamic_int8(self._float("text"), self._text_int8)

    def by_onnx(self, name: TowerName, bits: int, factor: float) -> dict[str, float]:
        return self._cosines(name, self._quantized(name, bits, factor), len(self._exact[name]))

    def recall(self, split: str, start: int) -> dict[str, Any]:
        """What the image tower in int8 takes off mR, without headroom and with it, beside the text
        tower in float and in int8."""
        photos = load_captions(self._data, split)[start : start + 1000]
        read = self._student.read([text for photo in photos for text in photo.captions])
        pixels = {"pixels": np.stack([self._student.preprocess(photo.path) for photo in photos])}
        exact = {
            "image": self._floats("image", pixels),
            "text": self._floats("text", read.inputs()),
        }
        texts = {**read.inputs(), "token_rows": self._table(read.ids)}
        words = {
            "fp32": exact["text"],
            "int8": _embedded(OnnxTower(self._text_int8, exact=saturates()), texts),
        }
        owners = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
        floats = by_photo(evaluate_retrieval(exact["image"], exact["text"], owners))
        found: dict[str, Any] = {"split": split, "from": start, "photos": len(photos)}
        for factor in (1.0, HEADROOM[8]):
            images = _embedded(self._quantized("image", 8, factor), pixels)
            for precision, rows in words.items():
                lost = drop(floats, by_photo(evaluate_retrieval(images, rows, owners)))
                found[f"{factor:g}, text {precision}"] = round(lost.points, 3)
        return found

    def _quantized(self, name: TowerName, bits: int, factor: float) -> OnnxTower:
        quantize = quantize_w8a16 if bits == 16 else quantize_static_int8
        out, before = self._work / "quantized.onnx", HEADROOM[bits]
        HEADROOM[bits] = factor
        try:
            quantize(self._float(name), out, self._samples[name])
        finally:
            HEADROOM[bits] = before
        return OnnxTower(out, exact=saturates())

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

    def _floats(self, name: TowerName, inputs: Inputs) -> NDArray[np.float32]:
        tower = self._student.tower(name)
        return np.concatenate([float_embeddings(tower, part) for part in _parts(inputs)])

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


def _embedded(tower: LoadedTower, inputs: Inputs) -> NDArray[np.float32]:
    return normalize(np.concatenate([tower(part) for part in _parts(inputs)]))


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
        f"What the image tower in int8 takes off mR, in points, on {_photos(result):,} photos in "
        "pools of a thousand (val, test and part of train,",
        "which no range came from either; the mean of all, and each):",
        "",
        "| range | text | mean | pools |",
        "|---:|---|---:|---|",
        *(_recall_told(result["recall"], *key.split(", text ")) for key in _keys(result)),
        "",
        f"By LiteRT, the text tower in w8a16, {result['norms']['captions']} of the captions, by "
        "the steps that a norm is made of, with the same headroom:",
        "",
        "| steps | cosine mean / min |",
        "|---|---|",
        *(f"| {steps} | {_told(one)} |" for steps, one in result["norms"]["steps"].items()),
        "",
    ]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    made = f"{result['date']}, {result['device']['cpu']}; {versions}."
    return [*lines, f"{made} Re-run: `benchmarks/headroom.py`."]


def _photos(result: dict[str, Any]) -> int:
    return sum(pool["photos"] for pool in result["recall"])


def _keys(result: dict[str, Any]) -> list[str]:
    return [key for key in result["recall"][0] if ", text " in key]


def _recall_told(pools: list[dict[str, Any]], factor: str, text: str) -> str:
    drops = [pool[f"{factor}, text {text}"] for pool in pools]
    each = ", ".join(f"{one:.2f}" for one in drops)
    return f"| {factor} | {text} | {np.mean(drops):.2f} | {each} |"


def _told(one: dict[str, float]) -> str:
    return f"{one['cosine_mean']:.4f} / {one['cosine_min']:.4f}"


if __name__ == "__main__":
    main()
