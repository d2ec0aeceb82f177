"""A small pair of LiteRT files as other teams have them: the text tower reads token ids."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import mcad_mobile as mcad
from mcad_mobile.base.standard_output import quiet
from mcad_mobile.students.student import Student
from tests.support.tiny_students import write_hf


class Text(nn.Module):
    """Token ids [1, L] -> embeddings, with or without a mask."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(student.token_table)
        self.tower = student.tower("text")
        self.eos = student.text_spec.eos

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        ends = (input_ids == self.eos).to(torch.float32)
        first = ends * (ends.cumsum(1) == 1)
        shown = (
            torch.ones_like(first) if attention_mask is None else attention_mask.to(torch.float32)
        )
        return self.tower(self.table(input_ids), shown, first)


def write_litert(module: nn.Module, out: Path, *arguments: Tensor, **named: Tensor) -> Path:
    """Convert a module by LiteRT's converter, with its arguments by position or by name."""
    import litert_torch

    with quiet():
        litert_torch.convert(module.eval(), arguments or None, named or None).export(str(out))
    return out


def write_pair(folder: Path) -> str:
    """Write a small CLIP of transformers, and both towers as LiteRT files; return them as `litert:`
    takes them."""
    student = mcad.load_student(f"hf:{write_hf(folder, 'clip')}")
    image, text = folder / "image.tflite", folder / "text.tflite"
    size = student.preprocess.size
    write_litert(student.tower("image"), image, torch.rand(1, 3, size, size))
    ids = torch.full((1, student.text_spec.length), 5)
    mask = torch.ones_like(ids, dtype=torch.int32)
    write_litert(Text(student), text, input_ids=ids, attention_mask=mask)
    return f"litert:{image},{text}"
