"""The towers whose recall and size `quantization.py` tells: the default student's, in files, a
precision each; and what they read, the captioned photos of the test split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcad_mobile.bundle import TOWERS

if TYPE_CHECKING:
    from mcad_mobile.data.captioned_photo import CaptionedPhoto
    from mcad_mobile.students.protocol import Student


def prepare(work: Path, data: Path) -> None:
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

    from mcad_mobile.quantize import htp, int8, overrides
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
        int8.quantize_static_int8(cpu, at("int8"), calibrate)
        int8.quantize_static_int8(cpu, at("w4"), train, four=four)
        # Biases for weights of 8 bits are no good to weights of 4.
        npu_4, same = at("fp32"), together_in_four_bits(fp32, train, narrow)
    else:
        int8.quantize_dynamic_int8(cpu, at("int8"))
        int8.quantize_dynamic_int8(cpu, at("w4"), four=four)
        npu_4, same = npu, renamed(four, onnx.load(cpu), onnx.load(npu))
    htp.quantize_w8a8(npu, at("w8a8"), calibrate)
    found = histograms(activations(onnx.load(npu)), singles(onnx.load(npu), calibrate))
    ranges = {name: cut(one, "mse") for name, one in found.items()}
    htp.quantize_w8a8(npu, at("w8a8 mse"), calibrate, ranges=ranges)
    htp.quantize_w8a16(npu, at("w8a16"), calibrate)
    htp.quantize_w4a16(npu_4, at("w4a16"), train, same)
    config = get_qnn_qdq_config(
        str(npu),
        overrides.Reader(calibrate),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=overrides.weights_per_channel(onnx.load(npu)),
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
