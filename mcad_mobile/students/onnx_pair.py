"""A student that is a pair of ONNX models, or one model with both towers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import TowerName
from mcad_mobile.errors import Remedy, StudentError, require, short_message
from mcad_mobile.students.hub import loading
from mcad_mobile.students.onnx_graph import HINT, Graph, plain_onnx, pruned
from mcad_mobile.students.onnx_text import row_tower
from mcad_mobile.students.own import PREPROCESS
from mcad_mobile.students.published import PublishedStudent, StudentTowers, build_student
from mcad_mobile.students.student import Source, TextSpec
from mcad_mobile.students.transformers import load_tokenizer, tokenize_with
from mcad_mobile.students.weights_licences import weights_licence

# A tower in torch computes what the given one does, but for the order of its sums.
_LEAST_COSINE = 0.999
_TEXTS = ("a photo of a cat", "two people on the beach", "a receipt", "red flowers in a garden")
_LENGTHS = {"clip": 77, "mobileclip": 77, "siglip": 64}
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


class _Given(NamedTuple):
    """A tower as it was given: its file, its inputs [(name, shape)] and the output to take."""

    file: Path
    model: onnx.ModelProto
    inputs: list[onnx.ValueInfoProto]
    output: str


def load_pair(
    files: list[Path], tokenizer: Path | None, preprocess: str | None
) -> PublishedStudent:
    """Load the image tower and the text tower of ONNX `files`, which may be one file. StudentError
    if they are no towers, or torch does not compute what ONNX Runtime does."""
    preprocess = check_preprocess(preprocess)
    image, text = _read(files[0], "image"), _read(files[-1], "text")
    words = read_tokenizer(tokenizer or files[-1].parent, preprocess)
    size = _sizes(image)[-1] or PREPROCESS[preprocess].size
    seen = msgspec.structs.replace(PREPROCESS[preprocess], size=size)
    length = _sizes(text)[1] or _length(words, preprocess)
    ids, *others = (value.name for value in text.inputs)
    plain = plain_onnx(text.model, dict.fromkeys((ids, *others), (1, length)))
    rows = row_tower(plain, ids, others[0] if others else None, text.output, text.file.name)
    pixels = plain_onnx(image.model, {image.inputs[0].name: (1, 3, size, size)})
    graph = Graph.read(pixels)
    graph.simplify()
    tower = graph.part([image.inputs[0].name], [graph.raw(image.output)])
    eos = words.eos_token_id if rows.pool == "eos" else None
    spec = TextSpec(length, rows.table.shape[1], rows.pool, eos, rows.mask_kind != "padding")
    made = build_student(
        image.file.resolve().parent.name,
        Source(f"onnx:{','.join(map(str, files))}", "given", weights_licence(image.file.parent)),
        seen,
        StudentTowers(spec, rows.table, tower, rows.module),
        words,
        tokenize_with(words, spec),
        nn.ModuleDict({"image": tower, "text": rows.module}),
        {"files": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]},
    )
    _compare(made, image, text)
    return made


def _read(file: Path, tower: TowerName) -> _Given:
    """Read a model and find the tower in it."""
    try:
        model = onnx.load(file)
    except Exception as error:  # protobuf's, onnx's or the system's
        raise StudentError(
            f"{file} cannot be read as an ONNX model: {short_message(error)}",
            "Give the file that the exporter wrote, and its external data beside it.",
        ) from error
    graph = Graph.read(model)
    inputs = [value for value in model.graph.input if value.name in graph.inputs]
    of_photos = [x for x in inputs if x.type.tensor_type.elem_type in _FLOATS]
    of_texts = [x for x in inputs if x.type.tensor_type.elem_type in _INTEGERS]
    own, foreign = (of_photos, of_texts) if tower == "image" else (of_texts, of_photos)
    rank, most = (4, 1) if tower == "image" else (2, 2)
    own.sort(key=lambda value: "mask" in value.name)
    if not 1 <= len(own) <= most or any(len(_shape(value)) != rank for value in own):
        raise StudentError(
            f"{file} is not {_TAKES[tower][0]}: its inputs are {', '.join(map(_told, inputs))}.",
            f"Give a model with {_TAKES[tower][1]}.",
        )
    if tower == "image" and _shape(own[0])[1] not in (0, 3):
        raise StudentError(
            f"{file} takes photos as {_told(own[0])}.", "Export it for pixels [1, 3, S, S]."
        )
    possible = graph.dependents(x.name for x in own) - graph.dependents(x.name for x in foreign)
    output = _output(file, graph, possible, tower)
    return _Given(file, pruned(model, output), own, output)


_TAKES = {
    "image": ("an image tower", "one input of float pixels [1, 3, S, S]"),
    "text": ("a text tower", "token ids [1, L] of int32 or int64, and perhaps a mask [1, L]"),
}


def _output(file: Path, graph: Graph, possible: set[str], tower: TowerName) -> str:
    """Return the name of the output that is the embedding."""
    outputs = [name for name in graph.outputs if name in possible]
    flat = [name for name in outputs if len(graph.shapes.get(name, (0, 0))) == 2]
    for wanted in (f"{tower}_embeds", f"{tower}_embedding", "pooler_output"):
        if wanted in flat:
            return wanted
    if len(flat) != 1:
        raise StudentError(
            f"{file} computes {len(flat)} outputs [1, D] from the {tower} alone: it has "
            f"{', '.join(graph.outputs)}.",
            f"Name the embedding {tower}_embeds, or leave out the other outputs.",
        )
    return flat[0]


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [size.dim_value for size in value.type.tensor_type.shape.dim]


def _sizes(given: _Given) -> list[int]:
    return _shape(given.inputs[0])


def _told(value: onnx.ValueInfoProto) -> str:
    sizes = ", ".join(
        str(size.dim_value or size.dim_param or "?") for size in value.type.tensor_type.shape.dim
    )
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{value.name} {kind} [{sizes}]"


def check_preprocess(name: str | None) -> str:
    """Return a name in PREPROCESS. StudentError if none was given."""
    if name not in PREPROCESS:
        raise StudentError(
            "Files of towers do not say how photos are resized and normalized.",
            Remedy.GIVE_PREPROCESS,
        )
    return name


def read_tokenizer(path: Path, preprocess: str) -> Any:
    """Load a tokenizer.json, and what lies beside it about its special tokens."""
    folder, file = (path, path / "tokenizer.json") if path.is_dir() else (path.parent, path)
    described = (folder / "tokenizer_config.json").is_file()
    if not file.is_file() and not (described and path.is_dir()):
        raise StudentError(f"There is no tokenizer at {file}.", Remedy.GIVE_TOKENIZER)
    with loading(f"The tokenizer {file}", hint="Give the tokenizer.json of the text tower."):
        if described:
            return load_tokenizer(folder, preprocess)
        transformers = require("transformers", "students")
        made = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file))
        frame = made("").input_ids
        data = json.loads(file.read_bytes())
        names = [
            token["content"] for token in data["added_tokens"] if "pad" in token["content"].lower()
        ]
        made.eos_token = made.convert_ids_to_tokens(frame[-1]) if frame else None
        padding = (data.get("padding") or {}).get("pad_token")
        made.pad_token = padding or next(iter(names), made.eos_token)
        if cut := (data.get("truncation") or {}).get("max_length"):
            made.model_max_length = cut
    return made


def _length(tokenizer: Any, preprocess: str) -> int:
    """Return the most tokens of a text, for a tower that takes any number."""
    known = int(tokenizer.model_max_length)
    return known if known <= 512 else _LENGTHS.get(preprocess, 64)


def _compare(made: PublishedStudent, image: _Given, text: _Given) -> None:
    """Raise StudentError unless both towers compute what the given ones do."""
    photos = packaged_photos()[:4]
    pixels = [made.preprocess(photo)[None] for photo in photos]
    read = made.read(list(_TEXTS))
    ids = [row[None] for row in read.ids]
    masks = [row[None] for row in read.mask]
    with torch.no_grad():
        seen = made.image(torch.from_numpy(np.concatenate(pixels)))
        read_texts = made.text(*map(torch.from_numpy, read.inputs().values()))
    for given, inputs, embeddings in (
        (image, [[x] for x in pixels], seen.numpy()),
        (text, list(zip(ids, masks, strict=True)), read_texts.numpy()),
    ):
        expected = _run(given, inputs)
        norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(embeddings, axis=1)
        cosine = float(((expected * embeddings).sum(1) / norms).min())
        if not cosine >= _LEAST_COSINE:
            raise StudentError(
                f"{given.file} in torch differs from what ONNX Runtime computes: cosine "
                f"{cosine:.4f} on the same inputs.",
                "Check that the tokenizer is the text tower's. " + HINT,
            )


def _run(given: _Given, inputs: list[Any]) -> NDArray[np.float32]:
    """Return the embeddings [N, D] of a given tower, by ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        given.model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    kinds = [
        onnx.helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type) for x in given.inputs
    ]
    names = [value.name for value in given.inputs]
    rows = []
    for values in inputs:
        feeds = {
            name: np.asarray(value, kind)
            for name, value, kind in zip(names, values, kinds, strict=False)
        }
        rows.append(session.run([given.output], feeds)[0].astype(np.float32))
    return np.concatenate(rows)
