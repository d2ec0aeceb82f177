"""What each precision costs the default student in recall, and what it saves.

    python benchmarks/quantization.py --data flickr8k    # writes results/quantization.json

Every tower is a file that was written and read back by ONNX Runtime on this processor; each is a
process of its own, one thread, over the whole test split, and the float tower is timed in turn with
it. What is done lies in --work, and is not done again. This machine is no phone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quantization_towers import prepare
from smallest import alone_told, why_told, within_told

from mcad_mobile.bench.measure import device_facts, pin
from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.sizes import megabytes
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "quantization.json"
TOOLS = ("torch", "onnx", "onnxruntime", "numpy")
TIMED, WARM_UP = 60, 10
_SAME = 100
# By precision, what it is, in words.
PRECISIONS = {
    "fp32": "float",
    "fp16": "weights and activations of 16-bit floats, computed in 32 bits on this CPU",
    "w8": "8-bit weights per channel, float activations",
    "int8": "what a `cpu` bundle ships: 8 bits, the text tower's ranges at run time",
    "w4": "all matrices in 4 bits, unpacked as the file is loaded; calibrated as w4a16",
    "w8a8 everywhere": "8 bits per tensor for every activation",
    "w8a8": "8-bit products; the residual stream in 16 bits, and what joins it made even",
    "w8a8 mse": "as w8a8, with 8-bit ranges by the least squared error",
    "w8a16": "what a `snapdragon` bundle ships",
    "w4a16": "as w8a16, with all matrices in 4 bits per channel, by 64 photos of split train",
    "auto": "4 and 8 bits mixed, as `--precision auto` chose",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--auto", type=Path, help="a bundle of `--precision auto`, else exported")
    parser.add_argument("--without-auto", action="store_true", help="leave the search out")
    parser.add_argument("--work", type=Path, default=Path("build/quantization"))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        _measure(given.work, *given.measure)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    prepare(given.work, given.data)
    auto = None
    for precision in PRECISIONS:
        if precision == "auto" and given.without_auto:
            continue
        if precision == "auto":
            auto = _auto(given.work, given.data, given.auto)
        for tower in TOWERS:
            if not (given.work / f"{tower}_{precision}.json").exists():
                print(f"{tower} {precision}", file=sys.stderr, flush=True)
                command = [sys.executable, __file__, "--data", given.data, "--work", given.work]
                subprocess.run(
                    [*map(str, command), "--measure", tower, precision], check=True, timeout=3600
                )
    result = _result(given.work, auto)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print("\n".join(told(result)))


def _measure(work: Path, tower: str, precision: str) -> None:
    """Embeds the whole split by one file, and writes what it took beside its embeddings."""
    from mcad_mobile.runtimes import normalize
    from mcad_mobile.runtimes.onnx import OnnxTower
    from mcad_mobile.runtimes.saturation import saturates

    if tower == "image":
        inputs = {"pixels": np.load(work / "pixels.npy", mmap_mode="r")}
    else:
        inputs = dict(np.load(work / "texts.npz"))
    path = work / f"{tower}_{precision}.onnx"
    few = [
        {key: np.array(value[i : i + 1]) for key, value in inputs.items()} for i in range(WARM_UP)
    ]
    pin(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _status("VmRSS")
    loaded = OnnxTower(path, exact=precision != "fp32" and saturates())
    for single in few:
        loaded(single)
    peak = _status("VmHWM") - before
    floats = OnnxTower(work / f"{tower}_fp32.onnx")
    taken: list[list[float]] = [[], []]
    for i in range(TIMED):
        for number, one in enumerate((floats, loaded)):
            started = time.process_time()
            one(few[i % WARM_UP])
            taken[number].append(time.process_time() - started)
    base, own = (float(np.median(values)) for values in taken)
    if precision == "fp32":
        inputs = {key: value[:_SAME] for key, value in inputs.items()}
    count = len(next(iter(inputs.values())))
    found = np.concatenate(
        [
            loaded({key: np.array(value[i : i + 1]) for key, value in inputs.items()})
            for i in range(count)
        ]
    )
    if precision == "fp32":  # the float student itself but for the last bits, which is looked at
        exact = np.load(work / f"{tower}_float.npy")
        assert (exact[:count] * normalize(found)).sum(1).min() > 1 - 1e-4
        found = exact
    np.save(work / f"{tower}_{precision}.npy", normalize(found))
    row = {
        "tower": tower,
        "precision": precision,
        "bytes": path.stat().st_size,
        "ms": round(own * 1e3, 3),
        "time_to_fp32": round(own / base, 3),
        "peak_mib": round(peak / 1024, 1),
    }
    (work / f"{tower}_{precision}.json").write_text(json.dumps(row))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def _auto(work: Path, data: Path, made: Path | None) -> Any:
    """The towers of a bundle whose precisions were chosen, and what bundle.json tells of that."""
    import onnx

    out = made or work / "auto"
    if not out.exists():
        command = [sys.executable, "-m", "mcad_mobile", "export", "--target", "cpu", "--out", out]
        command += ["--precision", "auto", "--max-recall-drop", "0.5", "--data", data]
        subprocess.run([*map(str, command)], check=True, timeout=7200)
    bundle = Bundle.load(out)
    assert bundle.precision is not None
    for name in TOWERS:
        path = bundle.path(bundle.tower(name).rungs[0].files[0])
        onnx.save(onnx.load(path), work / f"{name}_auto.onnx")
    return bundle.precision.to_json()


def _result(work: Path, auto: Any) -> dict[str, Any]:
    from mcad_mobile.enough_data import drop
    from mcad_mobile.evaluate import evaluate_retrieval

    owners = np.load(work / "owners.npy")
    exact = {name: np.load(work / f"{name}_float.npy") for name in TOWERS}
    floats = evaluate_retrieval(exact["image"], exact["text"], owners)

    def recalls(image: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, Any]:
        found = evaluate_retrieval(image, text, owners)
        assert floats.by_photo is not None and found.by_photo is not None
        lost = drop(floats.by_photo, found.by_photo)
        return {
            **found.to_json(),
            "drop": round(lost.points, 2),
            "margin": round(lost.margin, 2),
            "photos_to_tell_half_a_point": lost.photos_to_tell(0.5),
        }

    towers, both = [], []
    for precision in PRECISIONS:
        if not all((work / f"{name}_{precision}.json").exists() for name in TOWERS):
            continue  # --without-auto
        found = {name: np.load(work / f"{name}_{precision}.npy") for name in TOWERS}
        for name in TOWERS:
            row = json.loads((work / f"{name}_{precision}.json").read_text())
            cosines = (exact[name] * found[name]).sum(1)
            row["cosine_mean"] = round(float(cosines.mean()), 5)
            row["cosine_min"] = round(float(cosines.min()), 5)
            towers.append({**row, "alone": recalls(**{**exact, name: found[name]})})
        both.append({"image": precision, "text": precision, **recalls(**found)})
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "load": round(os.getloadavg()[2], 1),
        "student": "mcad-s",
        "data": "Flickr8k, test",
        "float": floats.to_json(),
        "towers": towers,
        "both": both,
        "auto": auto,
    }


def told(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown, for docs/targets.md."""
    floats = result["float"]
    lines = [
        f"Default student, Flickr8k's test split ({floats['photos']:,} photos, "
        f"{floats['captions']:,} captions), mR of the",
        f"float student {floats['mean_recall']}. Each tower is the file that was written, by ONNX "
        "Runtime on one thread of",
        f"{result['device']['cpu']}; nothing here ran on a phone. Time is the processor's, as a "
        "ratio to fp32 in the same run,",
        f"beside other work (load {result['load']} at the end): a few percent mean nothing. 16-bit "
        "activations have no fast kernels on CPUs,",
        "and are for NPUs. Peak: what a process grows by as it loads the tower and runs it.",
        "Drop: what the exported tower beside the other one in float takes off mR, in points.",
        "",
        "| tower | precision | cosine mean / min | MB | time | peak MiB | drop alone |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in sorted(result["towers"], key=lambda row: row["tower"]):
        lines.append(
            f"| {row['tower']} | {row['precision']} | {row['cosine_mean']:.4f} / "
            f"{row['cosine_min']:.4f} | {megabytes(row['bytes'])} | {row['time_to_fp32']:.2f} | "
            f"{row['peak_mib']:.0f} | {row['alone']['drop']:.2f} |"
        )
    lines += [
        "",
        "Both towers, and 95 % of the drop's interval, paired by photo:",
        "",
        "| both towers | text to photo R@1 / 5 / 10 | photo to text | mR | drop | MB |",
        "|---|---|---|---:|---:|---:|",
    ]
    sizes = {(row["tower"], row["precision"]): row["bytes"] for row in result["towers"]}
    for found in result["both"]:
        ways = [
            " / ".join(f"{found[way][k]:.1f}" for k in ("r1", "r5", "r10"))
            for way in ("text_to_image", "image_to_text")
        ]
        size = megabytes(sum(sizes[name, found[name]] for name in TOWERS))
        lines.append(
            f"| {found['image']} | {ways[0]} | {ways[1]} | {found['mean_recall']:.2f} | "
            f"{found['drop']:.2f} ± {found['margin']:.2f} | {size} |"
        )
    lines += [
        "",
        *(f"- {name}: {PRECISIONS[name]}." for name in (row["image"] for row in result["both"])),
    ]
    if result["auto"] is not None:
        lines += ["", *_search(result["auto"])]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [*lines, "", f"{result['date']}; {versions}. Re-run: `benchmarks/quantization.py`."]


def _search(auto: dict[str, Any]) -> list[str]:
    """What `--precision auto` tried for the last row."""
    data = auto["data"]
    return [
        f"auto: `--precision auto --max-recall-drop {auto['max_recall_drop']:g}`, which tried, on "
        f"split {data['split']} ({data['photos']:,} photos), {len(auto['steps'])} pairs. Within:",
        "",
        *within_told(auto),
        "",
        "Each tower beside the other one in float:",
        "",
        *alone_told(auto),
        "",
        *why_told(auto),
    ]


if __name__ == "__main__":
    main()
