"""LiteRT quantization: full-integer flatbuffers for Dimensity NPUs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import TensorSpec
from mcad_mobile.errors import require
from mcad_mobile.quantize.ranges import CalibrationMethod, Ranges, cut, histograms
from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one
from mcad_mobile.runtimes.litert import signature_arguments
from mcad_mobile.runtimes.muted import quiet

SIGNATURE = "serving_default"


def quantize_litert(
    model: Path,
    out: Path,
    inputs: Inputs,
    specs: tuple[TensorSpec, ...],
    precision: str,
    method: CalibrationMethod = "min-max",
) -> None:
    """Float .tflite -> integer .tflite, `precision` w8a8 or w8a16, ranges from `inputs` by
    `method`.

    `specs` are the float model's inputs, in the order of its arguments. By min-max, a
    tensor's range is all that `inputs` show of it: the quantizer's own default, a moving average of
    each input's range, cuts off half of the inputs' largest values (docs/targets.md).
    """
    quantizer = require("ai_edge_quantizer.quantizer", "litert")
    recipe = require("ai_edge_quantizer.recipe", "litert")
    calibrator = require("ai_edge_quantizer.calibrator", "litert")
    whole_range = require("ai_edge_quantizer.utils.qsv_utils", "litert").min_max_update
    recipes = {"w8a8": recipe.static_wi8_ai8, "w8a16": recipe.static_wi8_ai16}
    with quiet():
        observed = calibrator.CalibrationInterpreter(
            str(model), calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS, whole_range
        )
        run = observed.get_signature_runner(SIGNATURE)
        for single in one_by_one(inputs):
            run(**signature_arguments(single, specs))
        found = observed.get_calibration_results()
        if method != "min-max":
            for name, ends in _cut(model, inputs, specs, set(found), method).items():
                least, largest = (np.full_like(found[name]["min"], end) for end in ends)
                found[name] = {"min": least, "max": largest}
        job = quantizer.Quantizer(str(model), recipes[precision]())
        job.quantize(found).export_model(str(out), overwrite=True)


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

    return {name: cut(one, method) for name, one in histograms(observe, one_by_one(inputs)).items()}
