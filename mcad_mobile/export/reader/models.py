"""PP-OCRv6's small models from PyPI's rapidocr, as plain float ONNX."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper, version_converter

from mcad_mobile.base.licences import own_text
from mcad_mobile.engine.bundle import TensorSpec, TowerName
from mcad_mobile.errors import ExportError, install_line, missing_extra
from mcad_mobile.export.float_onnx import IR_VERSION, OPSET

PACKAGE = "rapidocr"
_FILES: dict[TowerName, str] = {
    "detector": "PP-OCRv6_det_small",
    "recognizer": "PP-OCRv6_rec_small",
}
_SIDES = ("height", "width")
_FAINT = 1e-3  # of a bias


def package() -> Distribution:
    """Return the installed package, no code of which is run; MissingExtra if there is none."""
    try:
        return distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise missing_extra(error, "reader", PACKAGE) from error


def published_model(name: TowerName) -> onnx.ModelProto:
    """Load a model as it was published; ExportError if the package does not have it."""
    installed = package()
    path = Path(str(installed.locate_file(f"{PACKAGE}/models/{_FILES[name]}.onnx")))
    if not path.is_file():
        raise ExportError(
            f"{PACKAGE} {installed.version} does not have {path.name}.",
            f"Install the version that mcad-mobile was tested with: {install_line('reader')}.",
        )
    return onnx.load(path)


def characters(recognizer: onnx.ModelProto) -> list[str]:
    """Return what the recognizer's outputs 1, 2, ... mean; the last is a space."""
    (listed,) = (item.value for item in recognizer.metadata_props if item.key == "character")
    return [*listed.rstrip("\n").split("\n"), " "]


def licence_document() -> str:
    """Return the licence of the models and their attribution, as their package has them."""
    notices = (
        Path(str(package().locate_file(file))).read_text("utf-8")
        for file in package().files or ()
        if file.name == "MODEL_LICENSES.md"
    )
    return "\n\n".join([*notices, own_text("LICENSE")])


def float_model(
    published: onnx.ModelProto, pixels: TensorSpec, output: TensorSpec, out: Path, *, any_size: bool
) -> None:
    """Write a model for RGB `pixels`, with folded constants and GELU as one operator. With
    `any_size`, it takes any width, and a detector any height; else the shape of `pixels`."""
    model = version_converter.convert_version(published, OPSET)
    graph = model.graph
    _rename(graph, graph.input[0].name, pixels.name)
    _rename(graph, graph.output[0].name, output.name)
    sizes: list[int | str] = list(pixels.shape)
    if any_size:
        free = 2 if output.layout == "NCHW" else 3
        sizes[free:] = _SIDES[free - 2 :]
    kind = onnx.TensorProto.FLOAT
    graph.input[0].CopyFrom(helper.make_tensor_value_info(pixels.name, kind, sizes))
    graph.output[0].CopyFrom(helper.make_tensor_value_info(output.name, kind, None))
    del graph.value_info[:]
    _take_rgb(graph, pixels.name)
    # ONNX Runtime's basic level makes one Gelu of Div, Erf, Add, Mul and Mul, as NPUs want it.
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.shape_inference.infer_shapes(onnx.load(out))
    folded.ir_version = IR_VERSION
    del folded.metadata_props[:], folded.opset_import[:]
    folded.opset_import.append(helper.make_opsetid("", OPSET))
    if not any_size:
        _drop_faint_weights(folded.graph)
    onnx.checker.check_model(folded)
    onnx.save(folded, out)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _take_rgb(graph: onnx.GraphProto, pixels: str) -> None:
    """Swap the first layer's weights for red and blue: the published models take BGR."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    (layer,) = (node for node in graph.node if pixels in node.input)
    weight = weights[layer.input[1]]
    swapped = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
    weight.CopyFrom(numpy_helper.from_array(swapped, weight.name))


def _drop_faint_weights(graph: onnx.GraphProto) -> None:
    """Set to 0 the weights of channels that add next to nothing to their bias. Their scale would be
    so small that a bias fills 32 bits, and that sums overflow on an HTP."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            tensor, bias = (constants[name] for name in node.input[1:])
            weight = numpy_helper.to_array(tensor).copy()
            largest = np.abs(weight).reshape(len(weight), -1).max(1)
            weight[largest < _FAINT * np.abs(numpy_helper.to_array(bias))] = 0
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
