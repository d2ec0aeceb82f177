"""Export a published student with random weights, and the text towers beside it, for
students.py."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from benchmarks.peer_row import Row
from benchmarks.peer_towers import Encoder
from benchmarks.random_students import STUDENTS
from mcad_mobile.engine.bundle import Bundle, TensorSpec
from mcad_mobile.export.backends.onnx.convert import export_onnx, save_mapped
from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.bundle_builder import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.export.targets import find_target
from mcad_mobile.students.load import load_student
from mcad_mobile.students.protocol import Student

BUNDLE, ROWS = "bundle", "rows.json"
OURS, IN_GRAPH, PEER = "rows from a table, int8", "table in the graph, int8", "library, fp32"
_QUERIES = (
    "a dog on the beach",
    "two children playing football in the rain",
    "the sea at night",
    "a woman in a red coat waits for the bus with an umbrella",
)


@torch.no_grad()
def prepare(name: str, folder: Path) -> None:
    """Write a student with random weights, its cpu bundle and the other text towers to `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "student").mkdir(parents=True)
    spec = STUDENTS[name](folder / "student")
    student = load_student(spec)
    request = BundleRequest(find_target("cpu"), folder / BUNDLE)
    (made,) = export(student, [request], ExportOptions(allow_low_parity=True))
    rows = towers(spec, student, made.bundle, folder)
    (folder / ROWS).write_text(json.dumps([asdict(row) for row in rows], indent=1))


def towers(spec: str, student: Student, bundle: Bundle, folder: Path) -> list[Row]:
    """Return three versions of the text tower, with the same texts as inputs."""
    read = student.read(list(_QUERIES))
    whole = folder / "texts.npz"
    np.savez(whole, **read.inputs())
    by_id = folder / "ids.npz"
    np.savez(by_id, ids=read.ids, attention_mask=read.mask, pooling=read.pooling)
    only_ids = folder / "only_ids.npz"
    np.savez(only_ids, ids=read.ids.astype(np.int64))
    tower = student.tower("text")
    found = tower(*(torch.from_numpy(value) for value in read.inputs().values())).numpy()
    expected = folder / "expected.npy"
    np.save(expected, found / np.linalg.norm(found, axis=1, keepdims=True))
    length, dim = student.text_spec.length, student.dim
    output = TensorSpec("text_embedding", "float32", (1, dim), "ND")

    in_graph = folder / "in_graph.onnx"
    floats = folder / "in_graph_fp32.onnx"
    inputs = (
        TensorSpec("ids", "int32", (1, length), "NL"),
        TensorSpec("attention_mask", "float32", (1, length), "NL"),
        TensorSpec("pooling", "float32", (1, length), "NL"),
    )
    any_length = not student.text_spec.attends_to_padding
    module = _WithTable(student.token_table, tower)
    export_onnx(module, floats, inputs, output, any_length=any_length)
    quantize_int8(floats, in_graph, {}, "dynamic")
    save_mapped(onnx.load(in_graph), in_graph)

    library = folder / "library.onnx"
    ids = TensorSpec("ids", "int64", (1, length), "NL")
    export_onnx(_library(spec), library, (ids,), output)
    ours = bundle.path(bundle.text.rungs[0].files[0])
    common = {"tower": "text", "runtime": "onnx", "expected": str(expected)}
    return [
        Row(model=OURS, precision="int8", file=str(ours), inputs=str(whole), **common),
        Row(model=IN_GRAPH, precision="int8", file=str(in_graph), inputs=str(by_id), **common),
        Row(model=PEER, precision="fp32", file=str(library), inputs=str(only_ids), **common),
    ]


class _WithTable(nn.Module):
    """A text tower that takes ids, with the token table inside its graph."""

    def __init__(self, token_table: Tensor, tower: nn.Module) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(token_table)
        self.tower = copy.deepcopy(tower)

    def forward(self, ids: Tensor, mask: Tensor, pooling: Tensor) -> Tensor:
        embedding: Tensor = self.tower(self.table(ids), mask, pooling)
        return embedding


def _library(spec: str) -> nn.Module:
    """Return the library's own text encoder, with only the changes that it advises for shipping."""
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        from transformers import CLIPModel

        return _Transformers(CLIPModel.from_pretrained(rest).eval())
    import open_clip
    from timm.utils import reparameterize_model

    name, _, weights = rest.partition(":")
    model = open_clip.create_model(name, pretrained=weights, pretrained_text=False)
    return Encoder(reparameterize_model(model).eval(), "text")


class _Transformers(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.projection = model.text_model, model.text_projection

    def forward(self, ids: Tensor) -> Tensor:
        pooled: Tensor = self.projection(self.text(input_ids=ids).pooler_output)
        return pooled


if __name__ == "__main__":
    prepare(sys.argv[1], Path(sys.argv[2]))
