"""Small models of transformers as ONNX files, in the layouts that exporters give them."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
import transformers
from torch import nn

from mcad_mobile.students.student import Student
from tests.support.tiny_students import write_hf

Exporter = Literal["legacy", "dynamo"]
IDS, MASK, PIXELS = "input_ids", "attention_mask", "pixel_values"
_AXES = {IDS: {0: "batch", 1: "tokens"}, MASK: {0: "batch", 1: "tokens"}, PIXELS: {0: "batch"}}


class _Image(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> Any:
        found = self.model.vision_model(pixel_values=pixel_values)
        return self.model.visual_projection(found.pooler_output), found.last_hidden_state


class _Text(_Image):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        found = self.model.text_model(input_ids=input_ids, attention_mask=attention_mask)
        return self.model.text_projection(found.pooler_output), found.last_hidden_state


class _Both(_Image):
    def forward(
        self, input_ids: torch.Tensor, pixel_values: torch.Tensor, attention_mask: torch.Tensor
    ) -> Any:
        found = self.model(input_ids, pixel_values, attention_mask)
        return found.logits_per_image, found.text_embeds, found.image_embeds


def write_clip(folder: Path, exporter: Exporter, opset: int) -> str:
    """Write a CLIP as optimum lays it out, with one model for each tower and one with both, and
    its tokenizer; return the files of the towers as `onnx:` takes them."""
    write_hf(folder, "clip")
    return write_optimum(folder, exporter, opset)


def write_optimum(folder: Path, exporter: Exporter, opset: int) -> str:
    """Write the CLIP in a folder of transformers into the same, as `write_clip` does."""
    model = transformers.CLIPModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    text_config, side = model.config.text_config, model.config.vision_config.image_size
    ids = torch.full((2, text_config.max_position_embeddings), 5)
    ids[:, -1] = text_config.eos_token_id
    pixels, mask = torch.rand(2, 3, side, side), torch.ones_like(ids)
    image, text = folder / "vision_model.onnx", folder / "text_model.onnx"
    _write(_Image(model), (pixels,), image, [PIXELS], ["image_embeds", "states"], exporter, opset)
    _write(_Text(model), (ids, mask), text, [IDS, MASK], ["text_embeds", "states"], exporter, opset)
    outputs = ["logits_per_image", "text_embeds", "image_embeds"]
    names = [IDS, PIXELS, MASK]
    _write(
        _Both(model), (ids, pixels, mask), folder / "model.onnx", names, outputs, exporter, opset
    )
    shutil.rmtree(folder / "model.safetensors", ignore_errors=True)
    return f"onnx:{image},{text}"


def _write(
    module: nn.Module,
    arguments: tuple[torch.Tensor, ...],
    out: Path,
    inputs: list[str],
    outputs: list[str],
    exporter: Exporter,
    opset: int,
) -> None:
    options: dict[str, Any] = {"opset_version": opset, "verbose": False}
    if exporter == "dynamo":
        free = torch.export.Dim.DYNAMIC
        shapes = [dict.fromkeys(_AXES[name], free) for name in inputs]
        options |= {"dynamo": True, "external_data": False, "dynamic_shapes": shapes}
    else:
        options |= {"dynamo": False, "dynamic_axes": {name: _AXES[name] for name in inputs}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, arguments, str(out), input_names=inputs, output_names=outputs, **options
        )


def given_embeddings(
    spec: str, student: Student, texts: list[str], photos: list[Path]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what ONNX Runtime computes with the given files for photos and texts, of unit length:
    texts are tokenized without padding, as transformers does."""
    image, text = (ort.InferenceSession(file) for file in spec.removeprefix("onnx:").split(","))
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(spec.rpartition(",")[2]).parent)
    seen, read = [], []
    for photo in photos:
        pixels = student.preprocess(photo)[None]
        seen.append(image.run(["image_embeds"], {PIXELS: pixels})[0])
    for line in texts:
        found = tokenizer(line, return_tensors="np")
        feeds = {name: found[name].astype(np.int64) for name in (IDS, MASK)}
        read.append(text.run(["text_embeds"], feeds)[0])
    return tuple(
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.concatenate, (seen, read))
    )  # type: ignore[return-value]


def edit(path: Path, change: Any) -> None:
    """Change a model file in place."""
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
