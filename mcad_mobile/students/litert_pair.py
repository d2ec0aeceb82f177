"""A student that is a pair of LiteRT files, which are taken as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from mcad_mobile.engine.bundle import TensorSpec, TowerName
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.errors import RuntimeUnavailable, StudentError, require, short_message
from mcad_mobile.students.onnx_pair import check_preprocess, read_tokenizer
from mcad_mobile.students.own import PREPROCESS
from mcad_mobile.students.published import PublishedStudent
from mcad_mobile.students.student import TEXT_INPUTS, Source, TextSpec, model_sha256
from mcad_mobile.students.tokenizers.from_library import convert_tokenizer
from mcad_mobile.students.transformers import tokenize_with
from mcad_mobile.students.weights_licences import weights_licence

_ROWS, _MASK, _ = TEXT_INPUTS
_IDS, _REAL = ("int32", "int64"), ("float32", "int8", "int16")
_TAKES = {
    "image": "one input of pixels, [1, 3, S, S] or [1, S, S, 3], of float32, int8 or int16",
    "text": "token ids [1, L] of int32 or int64, and perhaps a mask [1, L], of a fixed length",
}


class GivenTower(nn.Module):
    """A .tflite as a module that LiteRT runs; `inputs` in the order of the names in the file."""

    def __init__(
        self, file: Path, name: TowerName, inputs: tuple[TensorSpec, ...], output: TensorSpec
    ) -> None:
        super().__init__()
        self.file, self.inputs, self.output = file, inputs, output
        self._names = ("pixels",) if name == "image" else TEXT_INPUTS

    def forward(self, *arguments: Tensor) -> Tensor:
        given = {name: x.numpy() for name, x in zip(self._names, arguments, strict=True)}
        return torch.from_numpy(LiteRTTower(self.file, self.inputs, (self.output,))(given))


def load_litert(
    files: list[Path], tokenizer: Path | None, preprocess: str | None
) -> PublishedStudent:
    """Load the image tower and the text tower of LiteRT `files`. A token's row is its id: the text
    tower looks up rows itself. StudentError if a phone cannot run them, with the reason."""
    seen = PREPROCESS[check_preprocess(preprocess)]
    if len(files) != 2:
        raise StudentError(
            f"{len(files)} LiteRT files were given.", "Give two: litert:IMAGE.tflite,TEXT.tflite."
        )
    image, text = _read(files[0], "image"), _read(files[1], "text")
    dims = image.output.shape[-1], text.output.shape[-1]
    if dims[0] != dims[1]:
        raise StudentError(
            f"{files[0]} gives {dims[0]} numbers and {files[1]} {dims[1]}: they share no space.",
            "Give towers that were trained together.",
        )
    seen = replace(seen, size=image.inputs[0].shape[2])
    words = read_tokenizer(tokenizer or files[1].parent, str(preprocess))
    spec = TextSpec(text.inputs[0].shape[1], 1, "first")
    tokens = max(words.get_vocab().values()) + 1
    tokenizer_file = convert_tokenizer(
        words, length=spec.length, pool=spec.pool, attends_to_padding=False
    )
    bytes_of = [file.read_bytes() for file in files]
    facts = {"preprocess": seen.to_json()}
    licence = weights_licence(files[0].parent)
    made = PublishedStudent(
        name=files[0].resolve().parent.name,
        source=Source(f"litert:{','.join(map(str, files))}", "given", licence),
        preprocess=seen,
        text_spec=spec,
        token_table=torch.arange(tokens, dtype=torch.float32)[:, None],
        image=image,
        text=text,
        dim=dims[0],
        sha256=model_sha256(nn.Module(), facts, *bytes_of, tokenizer_file[1]),
        image_sha256=model_sha256(nn.Module(), facts, bytes_of[0]),
        tokenize=tokenize_with(words, spec),
        tokenizer_file=tokenizer_file,
    )
    _try(made, tokens)
    return made


def _read(file: Path, tower: TowerName) -> GivenTower:
    """Read how a file stores its inputs and its output. StudentError if it is no such tower."""
    interpreter = require("ai_edge_litert.interpreter", "dimensity")
    try:
        loaded = interpreter.Interpreter(str(file))
        signatures = loaded.get_signature_list()
        if len(signatures) != 1:
            raise StudentError(
                f"{file} has {len(signatures)} signatures.", "Convert the tower with one signature."
            )
        loaded.allocate_tensors()
        runner = loaded.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise StudentError(
            f"LiteRT cannot load {file}: {short_message(error)}",
            "Give the .tflite that the converter wrote, not one compiled for a chip.",
        ) from error
    inputs = sorted(runner.get_input_details().items())
    outputs = [*runner.get_output_details().items()]
    taken = _pixels(inputs) if tower == "image" else _tokens(inputs)
    if taken is None:
        raise StudentError(
            f"{file} is not {'an image' if tower == 'image' else 'a text'} tower that phones can "
            f"run: its inputs are {_told(inputs)}.",
            f"Convert it with {_TAKES[tower]}.",
        )
    output = _stored(f"{tower}_embedding", outputs[0][1], "ND")
    if len(outputs) > 1 or len(output.shape) != 2 or output.dtype not in _REAL:
        raise StudentError(
            f"The outputs of {file} are {_told(outputs)}.",
            "Convert it with the embedding [1, D] of float32, int8 or int16 as its only output.",
        )
    return GivenTower(file, tower, taken, output)


def _pixels(inputs: list[tuple[str, Any]]) -> tuple[TensorSpec, ...] | None:
    (_, detail), *others = inputs
    for layout, channels in (("NCHW", 1), ("NHWC", 3)):
        found = _stored("pixels", detail, layout)
        size = found.shape[2] if len(found.shape) == 4 else 0
        square = [1, size, size]
        square.insert(channels, 3)
        if [*found.shape] == square and size > 3 and found.dtype in _REAL and not others:
            return (found,)
    return None


def _tokens(inputs: list[tuple[str, Any]]) -> tuple[TensorSpec, ...] | None:
    """Return the specs of ids and perhaps a mask. Stored integers are the rows' numbers."""
    masks = [name for name, _ in inputs if "mask" in name] or [name for name, _ in inputs[1:]]
    found = []
    for name, detail in inputs:
        spec = _stored(_MASK if name in masks else _ROWS, detail, "NL")
        if spec.dtype in _IDS:
            spec = replace(spec, scale=1.0, zero_point=0)
        elif spec.name == _ROWS or spec.dtype not in _REAL:
            return None
        found.append(spec)
    fixed = len({spec.shape for spec in found}) == 1 and len(found[0].shape) == 2
    once = len({spec.name for spec in found}) == len(found) > len(masks)
    return tuple(found) if fixed and once and found[0].shape[1] > 1 else None


def _stored(name: str, detail: dict[str, Any], layout: str) -> TensorSpec:
    """Return a tensor's spec; a batch that is free is one."""
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    spec = TensorSpec(name, np.dtype(detail["dtype"]).name, shape, layout)
    return replace(spec, scale=float(scale), zero_point=int(zero_point)) if scale else spec


def _told(details: list[tuple[str, Any]]) -> str:
    return ", ".join(
        f"{name} {np.dtype(detail['dtype']).name} {detail['shape_signature'].tolist()}"
        for name, detail in details
    )


def _try(made: PublishedStudent, tokens: int) -> None:
    """Run both towers once, the text tower on the tokenizer's last token."""
    size, length = made.preprocess.size, made.text_spec.length
    last, ones = torch.full((1, length, 1), float(tokens - 1)), torch.ones(1, length)
    try:
        found = [made.image(torch.zeros(1, 3, size, size)), made.text(last, ones, ones)]
    except RuntimeUnavailable as error:
        raise StudentError(
            f"{error.message} The text was token {tokens - 1}, the tokenizer's last.",
            "Tokenizer and text tower do not belong together, or the file is damaged.",
        ) from error
    if not all(torch.isfinite(embedding).all() for embedding in found):
        raise StudentError(f"{made.source.weights} gives no numbers.", "Convert its towers again.")
