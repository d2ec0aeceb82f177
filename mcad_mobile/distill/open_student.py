"""Make `models/mcad-o`, the student that anyone may ship, from published weights and words.

    python -m mcad_mobile.distill.open_student models/mcad-o models/mcad-m/phrases

No photo is read. A photo's embedding is the mean of the embeddings of ImageNet's classes, weighted
by the probabilities of EfficientNet-Lite2's own classifier (ConSE, arXiv 1312.5650). A class is
embedded by its names and by `scenes.txt`: what is usually seen around it, in our own words. A
text's embedding is MiniLM's. Both are turned to the principal components of the classes. Then three
of MiniLM's six layers learn to embed texts as all six do: names and definitions of WordNet, scenes,
and captions of our phrase book.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.distill.accelerator import choose_arithmetic
from mcad_mobile.distill.features import by_length
from mcad_mobile.distill.languages import ENGLISH, draw_phrases, read_books
from mcad_mobile.distill.loop import Forward, Loop, Losses, Schedule
from mcad_mobile.distill.losses import distribution_loss, feature_loss
from mcad_mobile.distill.pretrained import (
    SHA256,
    load_imagenet,
    load_imagenet_head,
    load_minilm,
    minilm_directory,
)
from mcad_mobile.distill.teachers.classifiers import IMAGENET, imagenet_names
from mcad_mobile.errors import require
from mcad_mobile.students.efficientnet_lite import ClassHead
from mcad_mobile.students.mcad import McadStudent, StudentConfig, default_config

_LEMMAS, _DEFINITIONS = "imagenet_synset_to_lemma.txt", "imagenet_synset_to_definition.txt"
_PHRASES = "en.toml"
# What the weights are made of, and its licence.
SOURCES = {
    "efficientnet-lite2-9656183e.pth": "Apache-2.0",
    "model.safetensors": "Apache-2.0",
    "vocab.txt": "Apache-2.0",
    IMAGENET.name: "WordNet-3.0",
    "scenes.txt": "Apache-2.0",
    _PHRASES: "Apache-2.0",
    _LEMMAS: "WordNet-3.0",
    _DEFINITIONS: "WordNet-3.0",
}
_SIZE = 260  # pixels, EfficientNet-Lite2's own
_LAYERS = 6  # all of MiniLM's
_KEPT = (0, 2, 5)  # that the student starts from
_PROMPTS = ("{}", "a {}", "the {}", "a photo of a {}")
_DRAWN = 30_000  # phrases of the phrase book
_STEPS, _BATCH = 400, 256
_TEMPERATURE = 2.0  # of the classifier's probabilities
_MOST_NAMES = 3  # of a class
_SHARPNESS = 5.0  # of the share that each class has in a text, by cosine


def open_config(name: str) -> StudentConfig:
    """Return the configuration of mcad-o."""
    default = default_config(name)
    text = msgspec.structs.replace(default.text, embedding_rank=default.text.width, table_bits=4)
    preprocess = msgspec.structs.replace(default.preprocess, size=_SIZE)
    return msgspec.structs.replace(
        default, text=text, preprocess=preprocess, trunk=2, classes=len(imagenet_names())
    )


def make_open_student(out: Path, phrases: Path, progress: Progress = silent) -> McadStudent:
    """Write the student into `out`, which holds `scenes.txt`, with `training.json`, which names the
    sources. `phrases` is a folder of phrase books. An interrupted run resumes. Raises MissingExtra,
    DataError, TrainingError."""
    words = Path(str(require("timm", "students").__file__)).parent / "data" / "_info"
    files = [
        *(words / _LEMMAS, words / _DEFINITIONS),
        *(IMAGENET, out / "scenes.txt", phrases / _PHRASES),
    ]
    hashes = SHA256 | {file.name: sha256_of(file) for file in files}
    sources = [
        {"file": name, "licence": licence, "sha256": hashes[name]}
        for name, licence in SOURCES.items()
    ]
    document = {"recipe": "mcad_mobile.distill.open_student", "sources": sources}
    text = json.dumps(document, indent=2) + "\n"
    scenes = _scenes(out / "scenes.txt")
    student = _joined(out.name, scenes)
    _shorten(student, _texts(words, phrases, scenes), out / "checkpoint.pt", text, progress)
    student.eval().save(out)
    (out / "training.json").write_text(text, "utf-8")
    return McadStudent.load(out)


def _texts(words: Path, phrases: Path, scenes: dict[str, list[str]]) -> list[str]:
    """What the remaining layers read. `words` is a folder with WordNet's names and definitions."""
    rng = np.random.default_rng(0)
    lemmas, definitions = (
        [line.split("\t")[1] for line in (words / name).read_text("utf-8").splitlines()]
        for name in (_LEMMAS, _DEFINITIONS)
    )
    names = [name for line in lemmas for name in line.split(", ")]
    classes = [name for several in imagenet_names() for name in several]
    book = read_books(phrases, {ENGLISH})[ENGLISH]
    return [
        *(_PROMPTS[rng.integers(len(_PROMPTS))].format(name) for name in names),
        *(prompt.format(name) for name in classes for prompt in _PROMPTS),
        *definitions,
        *(book.text(phrase) for phrase in draw_phrases(book.sizes(), _DRAWN, rng)),
        *(scene for several in scenes.values() for scene in several),
    ]


@torch.no_grad()
def _joined(name: str, scenes: dict[str, list[str]]) -> McadStudent:
    """Both published networks in one space, with all layers of MiniLM."""
    short = open_config(name)
    text = msgspec.structs.replace(short.text, layers=_LAYERS)
    student = McadStudent(msgspec.structs.replace(short, text=text), minilm_directory()).eval()
    load_imagenet(student.image, 2)
    load_minilm(student.text, torch.zeros(student.config.text.vocab))
    names = imagenet_names()
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
    return student


def _shorten(
    student: McadStudent, texts: list[str], checkpoint: Path, fingerprint: str, progress: Progress
) -> None:
    """Keep some of the text tower's layers, and train them to embed `texts` as all of them do."""
    whole = copy.deepcopy(student.text).eval().requires_grad_(False)
    tower = student.text.requires_grad_(False)
    tower.layers = nn.ModuleList(tower.layers[number] for number in _KEPT)
    student.config = open_config(student.name)
    for module in tower.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trained = [*tower.layers.parameters(), *tower.head.parameters()]
    for weight in trained:
        weight.requires_grad_(True)

    def losses(forward: Forward, step: int) -> Losses:
        rows = np.random.default_rng([0, step]).integers(0, len(texts), _BATCH)
        ids, mask = map(torch.from_numpy, student.tokenizer.batch([texts[row] for row in rows]))
        embedded = F.normalize(by_length(forward, ids.long(), mask).float(), dim=-1)
        with torch.no_grad():
            targets = F.normalize(by_length(whole, ids.long(), mask), dim=-1)
        logits = embedded @ targets.T / 0.05, targets @ targets.T / 0.05
        return {
            "feature": 5 * feature_loss(embedded, targets),
            "distribution": 2 * distribution_loss(*logits),
        }

    loop = Loop(
        tower, [{"params": trained, "lr": 5e-4}], Schedule(_STEPS // 50, 50, 0.1, 0.01, 0),
        checkpoint, fingerprint, "text tower", choose_arithmetic("auto"),
    )  # fmt: skip
    loop.run(losses, progress)
    loop.finish()


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

    def show(step: str, done: int = 0, total: int = 0, /) -> None:
        print(f"\r{step} {done}/{total}", end="", flush=True)

    make_open_student(Path(sys.argv[1]), Path(sys.argv[2]), show)
