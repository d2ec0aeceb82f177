"""What a Snapdragon's default towers find by Qualcomm's HTP simulator, beside the same graphs by
ONNX Runtime on this processor, by which recall is judged elsewhere.

    python benchmarks/simulated.py --data flickr8k    # writes benchmarks/results/simulated.json

The first photos of split test, with all their captions, as many as tell half a point from none. An
input takes the simulator a part of a second, and there are thousands: there is a process a core,
and what was embedded lies in --work, from which a run that was cut goes on. Simulated, and on no
phone; no time is taken.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import TOWERS
from mcad_mobile.targets import find_target
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "simulated.json"
TOOLS = ("torch", "onnx", "onnxruntime", "onnxruntime-qnn", "numpy")
TARGET = find_target("snapdragon")
HALF_A_POINT = 0.5
_AT_ONCE = 10  # photos
_RUNS = ("float", "evaluated", "simulated")


def main() -> None:
    from rich.progress import track

    from mcad_mobile.cores import allowed_cores

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=480)
    parser.add_argument("--work", type=Path, default=Path("build/simulated"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    prepare(given.work)
    starts = range(0, given.photos, _AT_ONCE)
    with ProcessPoolExecutor(allowed_cores(), get_context("spawn")) as pool:
        job = functools.partial(piece, given.work, given.data)
        pieces = [*track(pool.map(job, starts), "simulating", len(starts))]
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "student": "mcad-s",
        "chip": TARGET.chip,
        "precision": "w8a16",
        "data": "Flickr8k, test",
        **recalls([np.load(one) for one in pieces]),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print("\n".join(told(result)))


def prepare(work: Path) -> None:
    """The towers as `export --target snapdragon` makes them: quantized, and compiled."""
    import torch

    from mcad_mobile.export.onnx import export_onnx
    from mcad_mobile.export.qnn import compile_context
    from mcad_mobile.export.workshop import tower_specs
    from mcad_mobile.quantize.bias_correction import corrected
    from mcad_mobile.quantize.calibrate import load_samples
    from mcad_mobile.quantize.htp import quantize_w8a16
    from mcad_mobile.students.load import load_student
    from mcad_mobile.text.rows import TokenTable, write_token_table

    if (work / "prepared").exists():
        return
    assert TARGET.htp_arch is not None
    student = load_student()
    write_token_table(work / "table.bin", student.token_table.numpy())
    table = TokenTable(work / "table.bin", *student.token_table.shape)
    calibrate = load_samples(student, None, 32)[0].read_from(table)
    for name in TOWERS:
        tower = student.tower(name)
        if name == "image":
            tower = corrected(tower, torch.from_numpy(calibrate.pixels))
        export_onnx(tower, work / "float.onnx", *tower_specs(student, name))
        quantized = work / f"{name}.onnx"
        inputs = calibrate.inputs(name)
        quantize_w8a16(work / "float.onnx", quantized, inputs, TARGET.htp_arch)
        compile_context(quantized, work / f"{name}_context.onnx", TARGET)
    (work / "prepared").touch()


@functools.cache
def _loaded(work: Path) -> tuple[Any, Any, dict[str, dict[str, Any]]]:
    """The student, its table, and each tower by each way to run it, in this process."""
    import torch

    from mcad_mobile.export.validate import float_embeddings
    from mcad_mobile.runtimes.onnx import OnnxTower
    from mcad_mobile.runtimes.qnn import QnnTower
    from mcad_mobile.runtimes.saturation import saturates
    from mcad_mobile.students.load import load_student
    from mcad_mobile.text.rows import TokenTable

    assert TARGET.soc_model is not None and TARGET.htp_arch is not None
    torch.set_num_threads(1)
    student = load_student()
    towers = {
        name: {
            "float": functools.partial(float_embeddings, student.tower(name)),
            "evaluated": OnnxTower(work / f"{name}.onnx", exact=saturates()),
            "simulated": QnnTower(work / f"{name}_context.onnx", TARGET.soc_model, TARGET.htp_arch),
        }
        for name in TOWERS
    }
    return student, TokenTable(work / "table.bin", *student.token_table.shape), towers


def piece(work: Path, data: Path, start: int) -> Path:
    """The file with the embeddings of some photos and of their captions, by each way."""
    from mcad_mobile.data.captions import load_captions
    from mcad_mobile.runtimes import normalize

    out = work / f"{start}.npz"
    if out.exists():
        return out
    student, table, towers = _loaded(work)
    photos = load_captions(data, "test")[start : start + _AT_ONCE]
    read = student.read([text for photo in photos for text in photo.captions])
    pixels = {"pixels": np.stack([student.preprocess(photo.path) for photo in photos])}
    rows = {**read.inputs(), "token_rows": table(read.ids)}  # a phone reads rounded ones
    given = {"image": (pixels, pixels), "text": (read.inputs(), rows)}
    found = {
        f"{name}_{run}": normalize(towers[name][run](given[name][run != "float"]))
        for name in TOWERS
        for run in _RUNS
    }
    counts = np.array([len(photo.captions) for photo in photos])
    partial = work / f".{start}.npz"
    np.savez(partial, counts=counts, **found)
    return partial.replace(out)


def recalls(pieces: list[Any]) -> dict[str, Any]:
    """mR by each way, and what is lost from one to the next."""
    from mcad_mobile.enough_data import drop
    from mcad_mobile.evaluate import evaluate_retrieval

    counts = np.concatenate([one["counts"] for one in pieces])
    owners = np.repeat(np.arange(len(counts)), counts)
    by_photo, mean_recall = {}, {}
    for run in _RUNS:
        image, text = (np.concatenate([one[f"{name}_{run}"] for one in pieces]) for name in TOWERS)
        found = evaluate_retrieval(image, text, owners)
        assert found.by_photo is not None
        by_photo[run], mean_recall[run] = found.by_photo, round(float(found.by_photo.mean()), 3)
    lost = {
        f"from {before} to {after}": drop(by_photo[before], by_photo[after])
        for before, after in (("float", "simulated"), ("evaluated", "simulated"))
    }
    return {
        "photos": len(counts),
        "captions": len(owners),
        "mean_recall": mean_recall,
        "drops": {
            name: {
                "points": round(one.points, 3),
                "margin": round(one.margin, 3),
                "photos_to_tell_half_a_point": one.photos_to_tell(HALF_A_POINT),
            }
            for name, one in lost.items()
        },
    }


def told(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown, for docs/targets.md."""
    exact, own = result["drops"].values()
    recall = result["mean_recall"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [
        f"By the HTP simulator, {result['chip']}, {result['precision']}, the first "
        f"{result['photos']:,} photos of split test with their {result['captions']:,} captions: "
        f"mR {recall['simulated']:.2f}, where the float student has {recall['float']:.2f} and the "
        f"same graphs by ONNX Runtime {recall['evaluated']:.2f}. Lost against float, in points: "
        f"{exact['points']:.2f} ± {exact['margin']:.2f}, and half a point is told from none by "
        f"{exact['photos_to_tell_half_a_point']:,} photos; against ONNX Runtime's: "
        f"{own['points']:.2f} ± {own['margin']:.2f}. What is below zero is gained.",
        "",
        f"{result['date']}; {versions}. Re-run: `benchmarks/simulated.py`.",
    ]


if __name__ == "__main__":
    main()
