"""LiteRT quantization: full-integer flatbuffers for Dimensity NPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.litert import signature_arguments
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import require
from mcad_mobile.export.backends.litert.flatbuffer import operators
from mcad_mobile.export.quantization.four_bits import FourBits
from mcad_mobile.export.quantization.ranges import (
    HEADROOM,
    CalibrationMethod,
    Ranges,
    cut,
    histograms,
    is_photo,
)

SIGNATURE = "serving_default"
_ACTIVATIONS = ("RELU", "RELU6", "LOGISTIC", "SOFTMAX", "TANH")
_PRODUCTS = ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D")


def quantize_litert(
    model: Path,
    out: Path,
    inputs: Inputs,
    specs: tuple[TensorSpec, ...],
    precision: str,
    method: CalibrationMethod = "min-max",
    narrow: Sequence[str] = (),
    *,
    stream: bool = False,
) -> None:
    """Float .tflite -> integer .tflite, `precision` w8a8, w8a16 or w4a16, ranges from `inputs` by
    `method`; weights of the products `narrow`, which can be told by 4 bits already, in 4 of them
    (`with_four_bits`). With `stream`, w8a8 is of the products alone, and all else has 16 bits: for
    a transformer, whose residual stream 8 would break (export/backends/qnn/residual_stream.py).

    `specs` are the float model's inputs, in the order of its arguments. By min-max, a
    tensor's range is all that `inputs` show of it, and more (export/quantization/ranges.py):
    the quantizer's own default, a moving average of each input's range, cuts off half of the
    inputs' largest values (docs/targets.md).
    """
    quantizer = require("ai_edge_quantizer.quantizer", "dimensity")
    calibrator = require("ai_edge_quantizer.calibrator", "dimensity")
    whole_range = require("ai_edge_quantizer.utils.qsv_utils", "dimensity").min_max_update
    with quiet():
        observed = calibrator.CalibrationInterpreter(
            str(model), calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS, whole_range
        )
        run = observed.get_signature_runner(SIGNATURE)
        for single in split_batch(inputs):
            run(**signature_arguments(single, specs))
        found = observed.get_calibration_results()
        eight = set(found) if precision == "w8a8" else set()
        if stream:
            eight &= _of_products(model)
        wider, bounded = {16: set(found) - eight, 8: set() if stream else eight}, _bounded(model)
        for bits, names in wider.items():
            for name in names - bounded:
                found[name] = {end: value * HEADROOM[bits] for end, value in found[name].items()}
        if eight and method != "min-max":
            for name, ends in _cut(model, inputs, specs, eight, method).items():
                least, largest = (np.full_like(found[name]["min"], end) for end in ends)
                found[name] = {"min": least, "max": largest}
        activations = 8 if precision == "w8a8" else 16
        job = quantizer.Quantizer(str(model), _recipe(activations, narrow, stream))
        job.quantize(found).export_model(str(out), overwrite=True)


def _recipe(activations: int, narrow: Sequence[str], stream: bool) -> Any:
    """For the quantizer: everything in 8 bits with `activations` of so many, or those of products
    alone, and `narrow` in 4."""
    manager = require("ai_edge_quantizer.recipe_manager", "dimensity").RecipeManager()
    kinds = require("ai_edge_quantizer.qtyping", "dimensity").TFLOperationName
    names = require("ai_edge_quantizer.algorithm_manager", "dimensity").AlgorithmName
    manager.add_static_config(".*", kinds.ALL_SUPPORTED, 16 if stream else activations, 8)
    for kind in _PRODUCTS if stream else ():
        manager.add_static_config(".*", kinds(kind), activations, 8)
    found = names.DEQUANTIZED_WEIGHT_RECOVERY
    for output in narrow:
        for kind in (kinds.FULLY_CONNECTED, kinds.CONV_2D):
            scope = f"^{re.escape(output)};$"
            manager.add_static_config(scope, kind, activations, 4, algorithm_key=found)
    return manager.get_quantization_recipe()


def with_four_bits(model: Path, out: Path, weights: Mapping[bytes, FourBits]) -> tuple[str, ...]:
    """Write a float .tflite with the floats that 4 bits stand for in place of `weights`, which are
    known by their values (`by_values`). The products that are of such weights now, by the names of
    what they put out; weights that the converter stored otherwise stay as they are."""
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


def _of_products(model: Path) -> set[str]:
    """The tensors of a float .tflite that a product reads or writes."""
    products = [operator for operator in operators(model) if operator.name in _PRODUCTS]
    return {tensor.name for operator in products for tensor in operator.tensors}


def _bounded(model: Path) -> set[str]:
    """What has bounds of its own: photos and the results of activations."""
    from ai_edge_litert.interpreter import Interpreter

    given = Interpreter(str(model)).get_input_details()
    return {
        *(one["name"] for one in given if is_photo(one["shape"])),
        *(
            operator.tensors[-1].name
            for operator in operators(model)
            if operator.activated or operator.name in _ACTIVATIONS
        ),
    }


def _cut(
    model: Path,
    inputs: Inputs,
    specs: tuple[TensorSpec, ...],
    names: set[str],
    method: CalibrationMethod,
) -> Ranges:
    """The ranges of these tensors of a float .tflite."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(model),
        # XNNPACK shows nothing of what lies between its operators.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner(SIGNATURE)
    places = {
        tensor["name"]: tensor["index"]
        for tensor in interpreter.get_tensor_details()
        if tensor["name"] in names and tensor["dtype"] == np.float32
    }

    def observe(single: Inputs) -> dict[str, NDArray[np.float32]]:
        run(**signature_arguments(single, specs))
        return {name: interpreter.get_tensor(place) for name, place in places.items()}

    return {
        name: cut(one, method) for name, one in histograms(observe, split_batch(inputs)).items()
    }
