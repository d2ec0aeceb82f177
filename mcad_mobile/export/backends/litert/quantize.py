"""LiteRT quantization: full-integer flatbuffers for NPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.litert import LiteRTTower, signature_arguments
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import require
from mcad_mobile.export.backends.litert.convert import (
    channels_last,
    convert_litert,
    equalize_channels,
    stored_specs,
)
from mcad_mobile.export.backends.litert.flatbuffer import PRODUCTS, operator_name, operators
from mcad_mobile.export.backends.onnx.quantize import all_weights_in_four_bits
from mcad_mobile.export.quantization.four_bits import FourBits, by_values
from mcad_mobile.export.quantization.ranges import HEADROOM, is_photo
from mcad_mobile.export.quantization.residual_stream import gains_by_matrix
from mcad_mobile.export.tower_job import TowerJob

SIGNATURE = "serving_default"
_ACTIVATIONS = ("RELU", "RELU6", "LOGISTIC", "SOFTMAX", "TANH")


def quantize_tower(tower: TowerJob, precision: str) -> Path:
    """Return the tower as an integer .tflite, written once: w8a8, w8a16 or w4a16."""
    if precision == "w4a16" and tower.uncorrected is not None:
        tower = tower.uncorrected
    path = tower.work / f"{precision}.tflite"
    if path.exists():
        return path
    source, stream = float_litert(tower), False
    narrow: tuple[str, ...] = ()
    if precision == "w8a8":
        source, stream = _equalized_litert(tower)
    elif precision == "w4a16":
        four = by_values(onnx.load(tower.float_onnx), all_weights_in_four_bits(tower))
        float_model, source = source, tower.work / "four_bits.tflite"
        narrow = with_four_bits(float_model, source, four)
    specs = channels_last(tower.inputs)
    quantize_litert(source, path, tower.samples, specs, precision, narrow, stream=stream)
    return path


def load_quantized(tower: TowerJob, path: Path) -> LiteRTTower:
    """Load a .tflite of this tower."""
    inputs, output = stored_specs(path, channels_last(tower.inputs), tower.output)
    return LiteRTTower(path, inputs, (output,))


def float_litert(tower: TowerJob) -> Path:
    path = tower.work / "float.tflite"
    if not path.exists():
        convert_litert(tower.module, path, channels_last(tower.inputs), tower.samples)
    return path


def _equalized_litert(tower: TowerJob) -> tuple[Path, bool]:
    """Return the float .tflite and whether its residual stream, if any, has equalized channels."""
    path = tower.work / "equalized.tflite"
    if path.exists():
        return path, True
    gains = gains_by_matrix(onnx.load(tower.cpu_onnx), tower.samples)
    if not gains:
        return float_litert(tower), False
    equalized = equalize_channels(tower.module, gains)
    convert_litert(equalized, path, channels_last(tower.inputs), tower.samples)
    return path, True


def quantize_litert(
    model: Path,
    out: Path,
    inputs: Inputs,
    specs: tuple[TensorSpec, ...],
    precision: str,
    narrow: Sequence[str] = (),
    *,
    stream: bool = False,
) -> None:
    """Quantize a float .tflite to integers. The products in `narrow` get 4-bit weights, which
    `with_four_bits` rounded; with `stream`, all but products get 16-bit activations."""
    quantizer = require("ai_edge_quantizer.quantizer", "dimensity")
    calibrator = require("ai_edge_quantizer.calibrator", "dimensity")
    whole_range = require("ai_edge_quantizer.utils.qsv_utils", "dimensity").min_max_update
    with quiet():
        observed = calibrator.CalibrationInterpreter(
            str(model), calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS, whole_range
        )
        run = observed.get_signature_runner(SIGNATURE)
        # The whole range of `inputs`, with headroom: the quantizer's default, a moving average,
        # cuts off half of the largest values (docs/targets.md).
        for single in split_batch(inputs):
            run(**signature_arguments(single, specs))
        found = observed.get_calibration_results()
        eight = set(found) if precision == "w8a8" else set()
        if stream:
            products = [one for one in operators(model) if one.name in PRODUCTS]
            eight &= {tensor.name for product in products for tensor in product.tensors}
        wider, bounded = {16: set(found) - eight, 8: set() if stream else eight}, _bounded(model)
        for bits, names in wider.items():
            for name in names - bounded:
                found[name] = {end: value * HEADROOM[bits] for end, value in found[name].items()}
        for seen in found.values():  # a range of nothing has no step
            if not (seen["min"].any() or seen["max"].any()):
                seen["max"] = np.ones_like(seen["max"])
        activations = 8 if precision == "w8a8" else 16
        roomy = _with_room_for_biases(model, out.with_suffix(".room"), found)
        job = quantizer.Quantizer(str(roomy), _settings(activations, narrow, stream))
        job.quantize(found).export_model(str(out), overwrite=True)


def _settings(activations: int, narrow: Sequence[str], stream: bool) -> Any:
    """Return the quantizer's recipe; with `stream`, only products have `activations` bits."""
    manager = require("ai_edge_quantizer.recipe_manager", "dimensity").RecipeManager()
    operations = require("ai_edge_quantizer.qtyping", "dimensity").TFLOperationName
    algorithms = require("ai_edge_quantizer.algorithm_manager", "dimensity").AlgorithmName
    manager.add_static_config(".*", operations.ALL_SUPPORTED, 16 if stream else activations, 8)
    for product in PRODUCTS if stream else ():
        manager.add_static_config(".*", operations(product), activations, 8)
    recovery = algorithms.DEQUANTIZED_WEIGHT_RECOVERY
    for output in narrow:
        for operation in (operations.FULLY_CONNECTED, operations.CONV_2D):
            scope = f"^{re.escape(output)};$"
            manager.add_static_config(scope, operation, activations, 4, algorithm_key=recovery)
    return manager.get_quantization_recipe()


def _with_room_for_biases(model: Path, out: Path, ranges: Mapping[str, Any]) -> Path:
    """Return `model`, or a copy of it in which no channel's weights are so small that its bias,
    which is quantized in steps of input step times weight step, exceeds 32 bits: the quantizer cuts
    the bias then. One weight of such a channel becomes large enough, which changes the output by at
    most 0.4 % of the bias. `ranges`: each tensor's "min" and "max"."""
    files = require("ai_edge_litert.tools.flatbuffer_utils", "dimensity")
    schema = require("ai_edge_litert.schema_py_generated", "dimensity")
    read = files.read_model(str(model))
    graph, changed = read.subgraphs[0], False
    axes = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
    for operator in graph.operators:
        name = operator_name(schema, read, operator)
        if name not in axes or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        given, *constants = (graph.tensors[number] for number in operator.inputs[:3])
        stored = [read.buffers[tensor.buffer] for tensor in constants]
        if any(one.data is None for one in stored):
            continue
        weight, bias = (np.frombuffer(bytes(one.data), np.float32) for one in stored)
        weight = weight.reshape(constants[0].shape).copy()
        rows = np.moveaxis(weight, axes[name], 0)  # a view
        others = tuple(range(1, rows.ndim))
        seen = ranges[given.name.decode()]
        step = float(max(abs(seen["min"].min()), abs(seen["max"].max()))) / 2**15
        least = np.abs(bias) * 2**7 / (2**30 * step)
        small = np.abs(rows).max(others) < least
        if small.any():
            rows[(small, *(0 for _ in others))] = least[small]
            stored[0].data = np.frombuffer(weight.tobytes(), np.uint8)
            changed = True
    if not changed:
        return model
    files.write_model(read, str(out))
    return out


def with_four_bits(model: Path, out: Path, weights: Mapping[bytes, FourBits]) -> tuple[str, ...]:
    """Replace `weights` with their 4-bit values; return the outputs of their products."""
    files = require("ai_edge_litert.tools.flatbuffer_utils", "dimensity")
    read = files.read_model(str(model))
    graph = read.subgraphs[0]
    products = []
    for operator in graph.operators:
        if len(operator.inputs) < 2:
            continue
        stored = read.buffers[graph.tensors[operator.inputs[1]].buffer]
        weight = None if stored.data is None else weights.get(bytes(stored.data))
        if weight is not None:
            stored.data = np.frombuffer(weight.matrix().tobytes(), np.uint8)
            products.append(graph.tensors[operator.outputs[0]].name.decode())
    files.write_model(read, str(out))
    return tuple(products)


def _bounded(model: Path) -> set[str]:
    """Return the tensors with bounded values: photos and the outputs of activations."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(model)).get_input_details()
    return {
        *(detail["name"] for detail in details if is_photo(detail["shape"])),
        *(
            operator.tensors[-1].name
            for operator in operators(model)
            if operator.activated or operator.name in _ACTIVATIONS
        ),
    }
