"""Adds to a tiny bundle a reader of colours that stand for letters (tests/engine/reading), and a
table of places that knows Lisbon alone."""

from __future__ import annotations

import struct

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper

from mcad_mobile.engine.bundle import (
    READER_SHAPES,
    Bundle,
    FileRecord,
    Golden,
    Parity,
    ReaderFacts,
    Rung,
    TensorSpec,
    Tower,
    TowerName,
)
from mcad_mobile.engine.towers.ladder import repeated
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.engine.towers.protocol import summary
from tests.engine.reading.fake_reader import COLOURS, GREY, LETTERS

LISBON = (38.71, -9.14)
_NODES: dict[TowerName, list[onnx.NodeProto]] = {
    "detector": [
        helper.make_node("Abs", ["pixels"], ["size"]),
        helper.make_node("ReduceMax", ["size", "one"], ["most"], keepdims=1),
        helper.make_node("Greater", ["most", "half"], ["is_text"]),
        helper.make_node("Cast", ["is_text"], ["out"], to=TensorProto.FLOAT),
    ],
    "recognizer": [
        helper.make_node("Slice", ["pixels", "first", "last", "axes", "steps"], ["columns"]),
        helper.make_node("ReduceMean", ["columns", "two"], ["flat"], keepdims=0),
        helper.make_node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["rows", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["out"], axis=2),
    ],
}


def with_reader(bundle: Bundle) -> Bundle:
    """Return the bundle, saved with a reader."""
    folder = bundle.directory
    files = {
        "characters.txt": "\n".join(LETTERS).encode(),
        "LICENSE.reader": b"MIT",
        "places.bin": _places(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    read = replace(
        bundle,
        reader=ReaderFacts(
            *(_tower(bundle, name) for name in READER_SHAPES),
            *(FileRecord.of(folder, folder / name) for name in files),
        ),
    )
    read.save()
    return read


def _tower(bundle: Bundle, name: TowerName) -> Tower:
    colours = np.array([GREY, *COLOURS], np.float32) / 127.5 - 1
    constants = {
        "detector": {"one": np.array([1]), "half": np.array(0.5, np.float32)},
        "recognizer": {
            **{"first": np.array([20, 4]), "last": np.array([28, 1 << 30])},
            **{"axes": np.array([2, 3]), "steps": np.array([1, 8]), "two": np.array([2])},
            "weight": 60 * colours.T,
            "bias": -30 * np.square(colours).sum(1),
        },
    }[name]
    folder, shape = bundle.directory, READER_SHAPES[name]
    graph = helper.make_graph(
        _NODES[name],
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    path = folder / f"{name}.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)
    golden = np.random.default_rng(3).uniform(-1, 1, (2, *shape[1:3], 160)).astype(np.float32)
    golden = golden[:, :, : 160 if name == "detector" else None]
    outputs = OnnxTower(path)({"pixels": repeated(golden, shape)})
    np.save(folder / f"{name}-golden.npy", golden)
    np.save(folder / f"{name}-expected.npy", summary(outputs))
    expected = FileRecord.of(folder, folder / f"{name}-expected.npy")
    layout = "NCHW" if name == "detector" else "NTC"
    rung = Rung(
        runtime="onnx",
        precision="fp32",
        files=(FileRecord.of(folder, path),),
        inputs=(TensorSpec("pixels", "float32", shape, "NCHW"),),
        outputs=(TensorSpec("out", "float32", (1, *outputs.shape[1:]), layout),),
        total_nodes=len(_NODES[name]),
        expected=expected,
        parity=Parity(inputs=2, cosine_mean=1.0, cosine_min=1.0),
    )
    inputs = {"pixels": FileRecord.of(folder, folder / f"{name}-golden.npy")}
    return Tower((rung,), Golden(inputs, expected))


def _places() -> bytes:
    """Return a table of one city and its region, as engine/words/places.py says."""
    text = b"Lisbon\tLisboa\nLisbon District\tPortugal"
    north, east = ((LISBON[0] + 90) / 180, (LISBON[1] + 180) / 360)
    numbers = struct.pack("<4I3HB", 1, 1, 0, len(text), int(north * 65536), int(east * 65536), 0, 8)
    return b"MCADPLC1" + numbers + text
