"""What kept tools make of the default student's towers, judged as quantization.py judges ours.

    python benchmarks/quantization.py --data flickr8k          # makes what this one starts from
    python -m venv tools && tools/bin/pip install nncf aimet-onnx onnxruntime
    python benchmarks/quantizers.py --data flickr8k --python tools/bin/python

A tool gets the float tower, 128 photos or 256 captions of the train split to calibrate on, and the
settings that its documentation recommends for such a network. Recall is that of the tower which
came out, by ONNX Runtime, or in AIMET's simulation (it writes no file that runs), beside the other
tower in float. Writes benchmarks/results/quantizers.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import quantization

RESULT = Path(__file__).parent / "results" / "quantizers.json"
_PHOTOS, _TEXTS = 128, 256
_SEQUENTIAL = 32  # inputs of sequential MSE, which looks at each many times
_LONGEST_S = 7200
_HEXAGON = "htp_v75"  # of a Snapdragon 8 Gen 3
Inputs = list[dict[str, np.ndarray]]

# Tool and way, the tower, and which of our precisions stands beside it.
ROWS = (
    ("NNCF, mixed preset", "image", "int8"),
    ("NNCF, mixed preset, as a transformer with SmoothQuant", "text", "int8"),
    ("AIMET for Hexagon, 8 bits", "image", "w8a8"),
    ("AIMET for Hexagon, 4-bit weights by sequential MSE, 16-bit activations", "image", "w4a16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="Karpathy layout, with a train split")
    parser.add_argument("--python", default=sys.executable, help="one that has the tools")
    parser.add_argument("--work", type=Path, default=Path("build/quantization"))
    parser.add_argument("--embed", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.embed:
        _embed(given.work, *given.embed)
        return
    _calibration(given.work, given.data)
    rows = []
    for way, tower, ours in ROWS:
        out = given.work / _name(way, tower)
        if not out.exists():
            print(f"{way}: {tower}", file=sys.stderr, flush=True)
            command = [given.python, __file__, "--work", given.work, "--embed", way, tower]
            subprocess.run([*map(str, command)], check=True, timeout=_LONGEST_S)
        rows.append(_row(given.work, way, tower, ours))
    from mcad_mobile.bench.measure import device_facts

    listed = subprocess.run(
        [given.python, "-m", "pip", "list", "--format", "json"],
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    versions = {one["name"]: one["version"] for one in json.loads(listed.stdout)}
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": {name: versions[name] for name in ("nncf", "aimet-onnx", "onnxruntime")},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    towers = json.loads(quantization.RESULT.read_text("utf-8"))["towers"]
    print("\n".join(told(result, towers)))


def _name(way: str, tower: str) -> str:
    return f"{tower}_{way}.npy"


def _calibration(work: Path, data: Path) -> None:
    from mcad_mobile.data.captions import load_captions
    from mcad_mobile.quantize.calibrate import captioned_samples
    from mcad_mobile.students.load import load_student
    from mcad_mobile.text.rows import TokenTable

    if (work / "image_calibration.npz").exists():
        return
    student = load_student()
    samples = captioned_samples(
        student, load_captions(data, "train"), photos=_PHOTOS, texts=_TEXTS
    ).read_from(TokenTable(work / "table.bin", *student.token_table.shape))
    for tower in ("text", "image"):
        np.savez(work / f"{tower}_calibration.npz", **samples.inputs(tower))


def _embed(work: Path, way: str, tower: str) -> None:
    """In a process that has the tool: quantize the tower, and embed the test split by it."""
    model = work / f"{tower}_fp32.onnx"
    calibration = _singles(dict(np.load(work / f"{tower}_calibration.npz")))
    if way.startswith("NNCF"):
        run = _nncf(model, calibration, transformer=tower == "text")
    else:
        run = _aimet(model, calibration, four_bits="4-bit" in way)
    if tower == "image":
        inputs = {"pixels": np.load(work / "pixels.npy", mmap_mode="r")}
    else:
        inputs = dict(np.load(work / "texts.npz"))
    np.save(work / _name(way, tower), np.concatenate([run(one) for one in _singles(inputs)]))


def _singles(inputs: dict[str, Any]) -> Inputs:
    count = len(next(iter(inputs.values())))
    return [
        {name: np.ascontiguousarray(value[i : i + 1]) for name, value in inputs.items()}
        for i in range(count)
    ]


def _nncf(
    model: Path, calibration: Inputs, transformer: bool
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import nncf
    import onnx
    import onnxruntime

    made = nncf.quantize(
        onnx.load(model),
        nncf.Dataset(calibration),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda one: session.run(None, one)[0]


def _aimet(
    model: Path, calibration: Inputs, four_bits: bool
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import aimet_onnx
    import onnx

    sim = aimet_onnx.QuantizationSimModel(
        onnx.load(model),
        param_type=aimet_onnx.int4 if four_bits else aimet_onnx.int8,
        activation_type=aimet_onnx.int16 if four_bits else aimet_onnx.int8,
        config_file=_HEXAGON,
    )
    if four_bits:
        aimet_onnx.apply_seq_mse(sim, calibration[:_SEQUENTIAL])
    sim.compute_encodings(calibration)
    return lambda one: sim.session.run(None, one)[0]


def _row(work: Path, way: str, tower: str, ours: str) -> dict[str, Any]:
    from mcad_mobile.enough_data import drop
    from mcad_mobile.evaluate import evaluate_retrieval
    from mcad_mobile.runtimes import normalize

    owners = np.load(work / "owners.npy")
    exact = {name: np.load(work / f"{name}_float.npy") for name in ("image", "text")}
    floats = evaluate_retrieval(exact["image"], exact["text"], owners)

    found = normalize(np.load(work / _name(way, tower)))
    both = {**exact, tower: found}
    retrieval = evaluate_retrieval(both["image"], both["text"], owners)
    assert floats.by_photo is not None and retrieval.by_photo is not None
    lost = drop(floats.by_photo, retrieval.by_photo)
    cosines = (exact[tower] * found).sum(1)
    return {
        "way": way,
        "tower": tower,
        "cosine_mean": round(float(cosines.mean()), 5),
        "cosine_min": round(float(cosines.min()), 5),
        "drop": round(lost.points, 2),
        "margin": round(lost.margin, 2),
        "ours": ours,
    }


def told(result: dict[str, Any], towers: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown, for docs/targets.md. Beside a tool stands what quantization.py found of
    our own `towers`."""
    own = {(one["tower"], one["precision"]): {**one, **one["alone"]} for one in towers}

    def cells(one: dict[str, Any]) -> str:
        cosine = f"{one['cosine_mean']:.4f} / {one['cosine_min']:.4f}"
        return f"{cosine} | {one['drop']:.2f} ± {one['margin']:.2f}"

    lines = [
        "| tool | tower | cosine mean / min | drop | ours | cosine mean / min | drop |",
        "|---|---|---|---:|---|---|---:|",
    ]
    for row in result["rows"]:
        ours = own[row["tower"], row["ours"]]
        lines.append(
            f"| {row['way']} | {row['tower']} | {cells(row)} | {row['ours']} | {cells(ours)} |"
        )
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [*lines, "", f"{result['date']}; {versions}. Re-run: `benchmarks/quantizers.py`."]


if __name__ == "__main__":
    main()
