"""Make `models/mcad-o`, the student that anyone may ship, from published weights and words.

    python -m mcad_mobile.distill.open_student models/mcad-o

No photo and no caption is read. A photo's embedding is the mean of the embeddings of ImageNet's
class names, weighted by the probabilities of EfficientNet-Lite2's own classifier (ConSE, arXiv
1312.5650). A text's is MiniLM's. Both are turned to the principal components of the names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.pretrained import (
    SHA256,
    load_imagenet,
    load_imagenet_head,
    load_minilm,
    minilm_directory,
)
from mcad_mobile.distill.teachers.classifiers import IMAGENET, imagenet_names
from mcad_mobile.students.efficientnet_lite import ClassHead
from mcad_mobile.students.mcad import McadStudent, StudentConfig, default_config

# What the weights are made of, and its licence.
SOURCES = {
    "efficientnet-lite2-9656183e.pth": "Apache-2.0",
    "model.safetensors": "Apache-2.0",
    "vocab.txt": "Apache-2.0",
    IMAGENET.name: "WordNet-3.0",
}
_SIZE = 260  # pixels, EfficientNet-Lite2's own
_LAYERS = 6  # all of MiniLM's
_TEMPERATURE = 2.0  # of the classifier's probabilities
_MOST_NAMES = 3  # of a class


def open_config(name: str) -> StudentConfig:
    """Return the configuration of mcad-o."""
    default = default_config(name)
    text = msgspec.structs.replace(
        default.text, layers=_LAYERS, embedding_rank=default.text.width, table_bits=4
    )
    preprocess = msgspec.structs.replace(default.preprocess, size=_SIZE)
    return msgspec.structs.replace(
        default, text=text, preprocess=preprocess, trunk=2, classes=len(imagenet_names())
    )


@torch.no_grad()
def make_open_student(out: Path) -> McadStudent:
    """Write the student into `out`, with `training.json`, which names the sources. Raises
    MissingExtra, TrainingError."""
    student = McadStudent(open_config(out.name), minilm_directory()).eval()
    load_imagenet(student.image, 2)
    load_minilm(student.text, torch.zeros(student.config.text.vocab))
    names = imagenet_names()
    prompts = _sentences(student, [f"a photo of a {several[0]}" for several in names])
    lists = _sentences(student, [", ".join(several[:_MOST_NAMES]) for several in names])
    classes = prompts + lists
    classes -= classes.mean(0)
    directions = torch.linalg.svd(classes, full_matrices=False).Vh[: student.dim]
    published, head = load_imagenet_head(2), student.image.head
    assert isinstance(head, ClassHead)
    head.classify.weight.copy_(published.weight / _TEMPERATURE)
    head.classify.bias.copy_(published.bias / _TEMPERATURE)
    head.embed.weight.copy_(directions @ classes.T)
    # The length of MiniLM's mean states varies little, so subtracting their mean from the states
    # does nearly what subtracting it from sentence embeddings of unit length would do.
    states = _states(student, [f"a photo of a {several[0]}" for several in names])
    student.text.head.weight.copy_(directions)
    student.text.head.bias.copy_(-directions @ states.mean(0))
    student.save(out)
    sources = [
        {"file": name, "licence": licence, "sha256": SHA256.get(name, "in this repository")}
        for name, licence in SOURCES.items()
    ]
    document = {"recipe": "mcad_mobile.distill.open_student", "sources": sources}
    (out / "training.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return McadStudent.load(out)


def _states(student: McadStudent, texts: list[str]) -> Tensor:
    """The mean token states of texts, [N, 384]."""
    ids, mask = student.tokenizer.batch(texts)
    return student.text.mean(torch.from_numpy(ids).long(), torch.from_numpy(mask))


def _sentences(student: McadStudent, texts: list[str]) -> Tensor:
    """MiniLM's embeddings of texts, [N, 384] of unit length."""
    return F.normalize(_states(student, texts), dim=1)


if __name__ == "__main__":
    make_open_student(Path(sys.argv[1]))
