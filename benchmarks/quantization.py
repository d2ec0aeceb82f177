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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from smallest import alone_told, why_told, within_told

from mcad_mobile.bench.measure import device_facts, pin
from mcad_mobile.sizes import megabytes
from mcad_mobile.versions import tool_versions

if TYPE_CHECKING:
    from mcad_mobile.data.captioned_photo import CaptionedPhoto
    from mcad_mobile.students.protocol import Student

RESULT = Path(__file__).parent / "results" / "quantization.json"
TOOLS = ("torch", "onnx", "onnxruntime", "numpy")
TIMED, WARM_UP = 60, 10
_SAME = 100
TOWERS = ("image", "text")
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
    "auto": "what `--precision auto` chose",
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
    _prepare(given.work, given.data)
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


def _prepare(work: Path, data: Path) -> None:
    """Inputs of the test split, the float student's embeddings, and the towers' files."""
    import torch

    from mcad_mobile.data.captions import load_captions
    from mcad_mobile.export.onnx import export_onnx
    from mcad_mobile.export.workshop import tower_specs
    from mcad_mobile.quantize.bias_correction import corrected
    from mcad_mobile.quantize.calibrate import captioned_samples, load_samples
    from mcad_mobile.students.load import load_student
    from mcad_mobile.text.rows import TokenTable, write_token_table

    if (work / "prepared").exists():
        return
    torch.set_num_threads(1)
    student, photos = load_student(), load_captions(data, "test")
    write_token_table(work / "table.bin", student.token_table.numpy())
    table = TokenTable(work / "table.bin", *student.token_table.shape)
    if not (work / "text_float.npy").exists():
        _embed_float(work, student, photos, table)
    calibrate = load_samples(student, None, 32)[0].read_from(table)
    train = captioned_samples(student, load_captions(data, "train"), photos=64, texts=512)
    train = train.read_from(table)
    towers = {
        "image": corrected(student.tower("image"), torch.from_numpy(calibrate.pixels)),
        "text": student.tower("text"),
    }
    for name in TOWERS:
        inputs, output = tower_specs(student, name)
        export_onnx(student.tower(name), work / f"{name}_fp32.onnx", inputs, output, name == "text")
        export_onnx(towers[name], work / "cpu.onnx", inputs, output, name == "text")
        export_onnx(towers[name], work / "npu.onnx", inputs, output)
        if (work / f"{name}_w8a8 everywhere.onnx").exists():
            continue
        _write(work, name, calibrate.inputs(name), train.inputs(name))
    (work / "prepared").touch()


def _embed_float(work: Path, student: Student, photos: list[CaptionedPhoto], table: Any) -> None:
    from mcad_mobile.export.validate import float_embeddings

    captions = [(i, text) for i, photo in enumerate(photos) for text in photo.captions]
    size = student.preprocess.size
    pixels = np.lib.format.open_memmap(
        work / "pixels.npy", "w+", np.float32, (len(photos), 3, size, size)
    )
    for i, photo in enumerate(photos):
        pixels[i] = student.preprocess(photo.path)
    pixels.flush()
    read = student.read([text for _, text in captions])
    np.savez(
        work / "texts.npz",
        token_rows=table(read.ids),
        attention_mask=read.mask,
        pooling=read.pooling,
    )
    np.save(work / "owners.npy", np.array([owner for owner, _ in captions]))
    floats = {"image": {"pixels": pixels}, "text": read.inputs()}
    for name in TOWERS:
        count = len(next(iter(floats[name].values())))
        parts = [
            {key: np.array(value[i : i + 50]) for key, value in floats[name].items()}
            for i in range(0, count, 50)
        ]
        found = [float_embeddings(student.tower(name), part) for part in parts]
        np.save(work / f"{name}_float.npy", np.concatenate(found))


def _write(work: Path, tower: str, calibrate: Any, train: Any) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from mcad_mobile.quantize import qdq
    from mcad_mobile.quantize.four_bits import products, renamed
    from mcad_mobile.quantize.gptq import together_in_four_bits
    from mcad_mobile.quantize.observed import activations, singles
    from mcad_mobile.quantize.ranges import cut, histograms

    cpu, npu = work / "cpu.onnx", work / "npu.onnx"
    fp32 = onnx.load(work / f"{tower}_fp32.onnx")

    def at(precision: str) -> Path:
        return work / f"{tower}_{precision}.onnx"

    onnx.save(convert_float_to_float16(fp32, keep_io_types=True), at("fp16"))
    onnx.save(_weights_only(onnx.load(cpu)), at("w8"))
    narrow = products(onnx.load(cpu))
    four = together_in_four_bits(onnx.load(cpu), train, narrow)
    if tower == "image":
        qdq.quantize_static_int8(cpu, at("int8"), calibrate)
        qdq.quantize_static_int8(cpu, at("w4"), train, four=four)
        # Biases for weights of 8 bits are no good to weights of 4.
        npu_4, same = at("fp32"), together_in_four_bits(fp32, train, narrow)
    else:
        qdq.quantize_dynamic_int8(cpu, at("int8"))
        qdq.quantize_dynamic_int8(cpu, at("w4"), four=four)
        npu_4, same = npu, renamed(four, onnx.load(cpu), onnx.load(npu))
    qdq.quantize_w8a8(npu, at("w8a8"), calibrate)
    found = histograms(activations(onnx.load(npu)), singles(onnx.load(npu), calibrate))
    ranges = {name: cut(one, "mse") for name, one in found.items()}
    qdq.quantize_w8a8(npu, at("w8a8 mse"), calibrate, ranges=ranges)
    qdq.quantize_w8a16(npu, at("w8a16"), calibrate)
    qdq.quantize_w4a16(npu_4, at("w4a16"), train, same)
    config = get_qnn_qdq_config(
        str(npu),
        qdq.Reader(calibrate),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=qdq.weights_per_channel(onnx.load(npu)),
    )
    quantize(str(npu), str(at("w8a8 everywhere")), config)


def _weights_only(model: Any) -> Any:
    """Weights of two dimensions and more as 8 bits per output channel, and floats made of them."""
    from onnx import helper, numpy_helper

    made = []
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        found = [one for one in model.graph.initializer if one.name == node.input[1]]
        if not found or f"{node.input[1]}_scale" in {one.name for one in model.graph.initializer}:
            continue
        weight = numpy_helper.to_array(found[0])
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else 1
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.maximum(np.abs(weight).max(others, keepdims=True), 1e-12) / 127
        name = node.input[1]
        whole = numpy_helper.from_array(np.rint(weight / scale).astype(np.int8), f"{name}_8")
        model.graph.initializer.remove(found[0])
        model.graph.initializer.extend(
            [whole, numpy_helper.from_array(scale.ravel().astype(np.float32), f"{name}_scale")]
        )
        made.append(
            helper.make_node("DequantizeLinear", [f"{name}_8", f"{name}_scale"], [name], axis=axis)
        )
    nodes = [*made, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


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

    from mcad_mobile.bundle import Bundle

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
