"""Make `models/mcad-o`, the student that anyone may ship, from published weights and words.

    python -m mcad_mobile.distill.open_student models/mcad-o

No photo is read. A photo's embedding is the mean of the embeddings of ImageNet's classes, weighted
by the probabilities of EfficientNet-Lite2's own classifier (ConSE, arXiv 1312.5650). A class is
embedded by its names and by `scenes.txt`: what is usually seen around it, in our own words. A
text's embedding is MiniLM's. Both are turned to the principal components of the classes.
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
    "scenes.txt": "Apache-2.0",
}
_SIZE = 260  # pixels, EfficientNet-Lite2's own
_LAYERS = 6  # all of MiniLM's
_TEMPERATURE = 2.0  # of the classifier's probabilities
_MOST_NAMES = 3  # of a class
_SHARPNESS = 5.0  # of the share that each class has in a text, by cosine


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
    """Write the student into `out`, which holds `scenes.txt`, with `training.json`, which names the
    sources. Raises MissingExtra, TrainingError."""
    student = McadStudent(open_config(out.name), minilm_directory()).eval()
    load_imagenet(student.image, 2)
    load_minilm(student.text, torch.zeros(student.config.text.vocab))
    names = imagenet_names()
    scenes = _scenes(out / "scenes.txt")
    prompts = [f"a photo of a {several[0]}" for several in names]
    lists = [", ".join(several[:_MOST_NAMES]) for several in names]
    states = _states(
        student, [*prompts, *lists, *(text for texts in scenes.values() for text in texts)]
    )
    classes = _class_embeddings(
        [scenes.get(several[0], []) for several in names], F.normalize(states)
    )
    directions = torch.linalg.svd(classes, full_matrices=False).Vh[: student.dim]
    published, head = load_imagenet_head(2), student.image.head
    assert isinstance(head, ClassHead)
    head.classify.weight.copy_(published.weight / _TEMPERATURE)
    head.classify.bias.copy_(published.bias / _TEMPERATURE)
    head.embed.weight.copy_(directions @ classes.T)
    # The length of MiniLM's mean states varies little, so subtracting their mean from the states
    # does nearly what subtracting it from sentence embeddings of unit length would do.
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


def _scenes(file: Path) -> dict[str, list[str]]:
    """What is usually seen around a class, by its first name: `tent: people camping; ...`."""
    lines = (line.split(": ", 1) for line in file.read_text("utf-8").splitlines())
    return {name: texts.split("; ") for name, texts in lines}


def _class_embeddings(scenes: list[list[str]], texts: Tensor) -> Tensor:
    """The classes' embeddings [C, 384], from unit embeddings of their prompts, lists and scenes, in
    this order. A ridge regression from the classes' shares in a text to the text gives each class
    what it shares with others: "a man" with all that people wear."""
    count = len(scenes)
    of_scenes = iter(texts[2 * count :])
    classes = (texts[:count] + texts[count : 2 * count]) / 2
    for row, several in enumerate(scenes):
        if several:
            seen = torch.stack([next(of_scenes) for _ in several]).mean(0)
            classes[row] = (2 * classes[row] + seen) / 3
    classes = F.normalize(classes - classes.mean(0))
    texts = texts - texts.mean(0)
    shares = (_SHARPNESS * F.normalize(texts) @ classes.T).softmax(-1)
    gram = shares.T @ shares
    gram += 0.1 * gram.diagonal().mean() * torch.eye(count)
    shared = torch.linalg.solve(gram, shares.T @ texts)
    classes = classes + 2 * F.normalize(shared)
    return classes - classes.mean(0)


def _states(student: McadStudent, texts: list[str]) -> Tensor:
    """The mean token states of texts, [N, 384]."""
    ids, mask = student.tokenizer.batch(texts)
    return student.text.mean(torch.from_numpy(ids).long(), torch.from_numpy(mask))


if __name__ == "__main__":
    make_open_student(Path(sys.argv[1]))
