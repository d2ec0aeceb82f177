"""LiteRT quantization: full-integer flatbuffers for Dimensity NPUs."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.bundle import TensorSpec
from mcad_mobile.errors import require
from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one
from mcad_mobile.runtimes.litert import signature_arguments
from mcad_mobile.runtimes.muted import quiet

SIGNATURE = "serving_default"


def quantize_litert(
    model: Path, out: Path, inputs: Inputs, specs: tuple[TensorSpec, ...], precision: str
) -> None:
    """Float .tflite -> integer .tflite, `precision` w8a8 or w8a16, ranges from `inputs`.

    `specs` are the float model's inputs, in the order of its arguments. A tensor's range is all
    that `inputs` show of it: the quantizer's own default, a moving average of each input's range,
    cuts off half of the inputs' largest values (docs/targets.md).
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
        job = quantizer.Quantizer(str(model), recipes[precision]())
        job.quantize(observed.get_calibration_results()).export_model(str(out), overwrite=True)
