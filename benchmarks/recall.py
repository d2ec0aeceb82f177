"""Measure Recall@K of the default student, or of another of ours, and its cpu bundle.

    python -m benchmarks.recall --data flickr8k --objects objects200 --coco coco_more \\
        --bundle build/cpu [--student mcad-o]

Uses Flickr8k's test split, and its first 200 photos, which CI repeats in seconds: fewer photos are
easier to tell apart, so their recall is higher. Then photos of 200 things, named by ImageNet's
number of their class and searched by name, with whole and cut embeddings; words for groups of
things, searched among both; words of captions; and photos of COCO. For comparison, the
classifiers that taught the student name the same things.
Writes recall.json or, for another student, recall_STUDENT.json to benchmarks/results, from which
`make docs` makes the tables of the model cards.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.main_job import provenance
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.distill.teachers.classifiers import (
    IMAGENET,
    LiteClassifier,
    imagenet_kinds,
    imagenet_names,
)
from mcad_mobile.distill.teachers.prepare import reference_trunks
from mcad_mobile.distill.teachers.teacher import names_within
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.towers import normalize
from mcad_mobile.recall import (
    EmbeddedPairs,
    Retrieval,
    embed,
    embed_by_student,
    evaluate_similarity,
)
from mcad_mobile.students.load import load_student
from mcad_mobile.students.student import Student

RESULTS = Path(__file__).parent / "results"
PHOTOS = 200
TOOLS = ("numpy", "torch", "onnxruntime")
DIMS = (256, 128, 64)
GROUPS = ("animal", "vehicle", "food", "clothing", "musical instrument")
WORDS = 40  # for groups of things: those that most photos show
CAPTION_WORDS = """
people man woman boys girls children baby couple crowd team player surfer climber skateboarder snow
grass dirt sand water river lake ocean street road sidewalk forest park field city rocks trees hill
pool playground race game soccer tennis hockey swimming running jumping climbing riding dancing
sleeping eating smiling laughing fishing skiing red blue green yellow pink
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "objects", "coco", "bundle"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--student")
    given = parser.parse_args()
    test, things = load_captions(given.data, "test"), load_captions(given.objects, "test")
    student = load_student(given.student)
    engine = SearchEngine(Bundle.load(given.bundle), runtime="onnx")

    def embed_float(photos: list[CaptionedPhoto]) -> EmbeddedPairs:
        return embed_by_student(student, photos, _progress)

    def embed_8_bit(photos: list[CaptionedPhoto]) -> EmbeddedPairs:
        return embed(photos, engine.embed_photo, engine.embed_text, _progress)

    whole, named = embed_float(test), embed_float(things)
    grouped = right_for_words(test, things)
    result = {
        **provenance(tool_versions(TOOLS)),
        "student": student.sha256,
        "float": embed_float(test[:PHOTOS]).retrieval().to_json(),
        "cpu": embed_8_bit(test[:PHOTOS]).retrieval().to_json(),
        "whole": {
            "float": whole.retrieval().to_json(),
            "cpu": embed_8_bit(test).retrieval().to_json(),
        },
        "widths": {
            str(dim): {
                name: cut(pairs, dim).retrieval().to_json()
                for name, pairs in (("flickr8k", whole), ("things", named))
            }
            for dim in DIMS
        },
        "groups": by_group(named, things),
        "words": by_word(student, np.concatenate([whole.images, named.images]), grouped),
        "caption_words": by_word(student, whole.images, right_for_caption_words(test)),
        "coco": embed_8_bit(load_captions(given.coco, "train")).retrieval().to_json(),
    }
    name = "recall"
    if given.student:
        name += f"_{student.name}"
    else:
        probabilities = classify([*test, *things])
        result["classifiers"] = {
            "things": name_by_class(probabilities[len(test) :], things).to_json(),
            "words": by_class(probabilities, grouped),
        }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def cut(pairs: EmbeddedPairs, dim: int) -> EmbeddedPairs:
    """Return embeddings cut to their first `dim` numbers, of unit length again."""
    images, texts = (normalize(rows[:, :dim]) for rows in (pairs.images, pairs.texts))
    return EmbeddedPairs(images, texts, pairs.owners)


def by_group(pairs: EmbeddedPairs, photos: Sequence[CaptionedPhoto]) -> dict[str, dict[str, float]]:
    """Return R@1 in percent in both directions, by group of ImageNet's classes."""
    classes = _classes_of_words()
    numbers = np.array([_class_of(photo) for photo in photos])
    scores = pairs.texts @ pairs.images.T
    first = {
        "name_to_photo": scores.argmax(1) == pairs.owners,
        "photo_to_name": pairs.owners[scores.argmax(0)] == np.arange(len(photos)),
    }
    left, found = np.ones(len(photos), bool), {}
    for group in (*GROUPS, "others"):
        inside = left if group == "others" else np.isin(numbers, classes[group])
        found[group] = {
            "photos": int(inside.sum()),
            **{name: round(float(right[inside].mean() * 100), 1) for name, right in first.items()},
        }
        left = left & ~inside
    return found


def right_for_words(
    captioned: Sequence[CaptionedPhoto], things: Sequence[CaptionedPhoto]
) -> dict[str, NDArray[np.bool_]]:
    """Return which photos [N] are right for each of the WORDS words that most photos show: those
    whose captions name the group or something in it, then those of its classes."""
    classes = np.array([_class_of(photo) for photo in things])
    names, kinds, found = imagenet_names(), imagenet_kinds(), {}
    for kind in kinds:
        captioned_so = _photos_with(names_within(kind, kinds, names), captioned)
        found[kind.names[0]] = np.concatenate([captioned_so, np.isin(classes, [*kind.classes])])
    most = sorted(found, key=lambda word: -int(found[word].sum()))[:WORDS]
    return {word: found[word] for word in most}


def right_for_caption_words(captioned: Sequence[CaptionedPhoto]) -> dict[str, NDArray[np.bool_]]:
    """Return which photos [N] are right for each of CAPTION_WORDS: a caption uses the word."""
    return {word: _photos_with([word], captioned) for word in CAPTION_WORDS.split()}


def _photos_with(words: Sequence[str], captioned: Sequence[CaptionedPhoto]) -> NDArray[np.bool_]:
    """Which photos [N] have a caption that uses one of the words, in singular or plural."""
    either = "|".join(re.escape(word.lower()) for word in words)
    pattern = re.compile(rf"\b(?:{either})(?:s|es)?\b")
    return np.array(
        [any(pattern.search(text.lower()) for text in photo.captions) for photo in captioned]
    )


def by_word(
    student: Student, images: NDArray[np.float32], right: dict[str, NDArray[np.bool_]]
) -> dict[str, dict[str, int]]:
    """Return how many photos are right for each word, and how many of the first ten. images: [N, D]
    of unit length."""
    inputs = student.read(list(right)).inputs().values()
    with torch.no_grad():
        texts = student.tower("text")(*(torch.from_numpy(value) for value in inputs)).numpy()
    return _of_ten(texts @ images.T, right)


def classify(photos: Sequence[CaptionedPhoto]) -> NDArray[np.float32]:
    """Return the classifiers' probabilities [N, 1000] of ImageNet's classes."""
    classifier, rows = LiteClassifier(reference_trunks("fp32")), []
    for number, photo in enumerate(photos):
        _progress("classify", number, len(photos))
        grids = [trunk.grids([open_photo(photo.path)]) for trunk in classifier.trunks]
        rows.append(classifier.classify(grids).numpy())
    return np.concatenate(rows)


def name_by_class(
    probabilities: NDArray[np.float32], things: Sequence[CaptionedPhoto]
) -> Retrieval:
    """Return retrieval among photos of things, one each, by the probabilities of their classes."""
    scores = probabilities[:, [_class_of(photo) for photo in things]].T
    return evaluate_similarity(scores, scores, np.arange(len(things)))


def by_class(
    probabilities: NDArray[np.float32], right: dict[str, NDArray[np.bool_]]
) -> dict[str, dict[str, int]]:
    """Like by_word, if a photo scores the sum of its probabilities of a word's classes."""
    classes = _classes_of_words()
    return _of_ten(np.stack([probabilities[:, classes[word]].sum(1) for word in right]), right)


def _of_ten(
    scores: NDArray[np.float32], right: dict[str, NDArray[np.bool_]]
) -> dict[str, dict[str, int]]:
    """For each word, how many photos are right, and how many of its ten best. scores: [T, N]."""
    first = np.argsort(-scores, kind="stable")[:, :10]
    return {
        word: {"photos": int(photos.sum()), "of_ten": int(photos[ten].sum())}
        for (word, photos), ten in zip(right.items(), first, strict=True)
    }


def whole_table(result: dict[str, Any]) -> str:
    """Return recall on Flickr8k's test split, in float and in 8 bits."""
    names = {"float": "float", "cpu": "8 bits on the CPU (the fallback of every bundle)"}
    ways = "text to image R@1 / 5 / 10 | image to text R@1 / 5 / 10"
    lines = [f"| | {ways} | mR |", "|---|---|---|---|"]
    for key, name in names.items():
        row = result["whole"][key]
        cells = (_three(row[way]) for way in ("text_to_image", "image_to_text"))
        lines.append(f"| {name} | {' | '.join(cells)} | {row['mean_recall']:.1f} |")
    return "\n".join(lines)


def widths_table(result: dict[str, Any]) -> str:
    """Return recall with whole and cut embeddings."""
    lines = [
        "| numbers | mR | photo to name R@1 / 5 / 10 | name to photo R@1 / 5 / 10 |",
        "|---|---|---|---|",
    ]
    for dim, row in result["widths"].items():
        ways = (_three(row["things"][way]) for way in ("image_to_text", "text_to_image"))
        lines.append(f"| {dim} | {row['flickr8k']['mean_recall']:.1f} | {' | '.join(ways)} |")
    if "classifiers" in result:
        bound = result["classifiers"]["things"]
        ways = (_three(bound[way]) for way in ("image_to_text", "text_to_image"))
        lines.append(f"| the classifiers that taught it | | {' | '.join(ways)} |")
    return "\n".join(lines)


def groups_table(result: dict[str, Any]) -> str:
    """Return R@1 of names by group of things."""
    lines = ["| group | kinds | photo to name R@1 | name to photo R@1 |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {row['photos']} | {row['photo_to_name']:.0f} | {row['name_to_photo']:.0f} |"
        for name, row in result["groups"].items()
    ]
    return "\n".join(lines)


def words_table(
    rows: dict[str, dict[str, int]], of_classifiers: dict[str, dict[str, int]] | None = None
) -> str:
    """Return how many of the first ten photos are right for a word, on average and for each; and on
    average for the classifiers."""

    def mean(rows: dict[str, dict[str, int]]) -> str:
        return f"{np.mean([row['of_ten'] for row in rows.values()]):.1f}"

    words = ", ".join(f"{word} {row['of_ten']}" for word, row in rows.items())
    lines = [f"On average {mean(rows)} of the first ten photos are right: {words}."]
    if of_classifiers:
        lines.append(
            f"The classifiers that taught the student find {mean(of_classifiers)} of ten, if "
            "photos are ranked by their probabilities of a word's classes, added up."
        )
    return "\n\n".join(textwrap.fill(line, 118) for line in lines)


def coco_table(result: dict[str, Any]) -> str:
    """Return recall on photos of COCO, in 8 bits."""
    row = result["coco"]
    return "\n".join(
        [
            "| photos | captions | text to image R@1 / 5 / 10 |",
            "|---|---|---|",
            f"| {row['photos']:,} | {row['captions']:,} | {_three(row['text_to_image'])} |",
        ]
    )


def _classes_of_words() -> dict[str, list[int]]:
    """The numbers of the ImageNet classes that each word for a group covers."""
    return {kind.names[0]: [*kind.classes] for kind in imagenet_kinds()}


def _class_of(photo: CaptionedPhoto) -> int:
    """The number of the ImageNet class that a photo shows; its file is named by WordNet's number
    (n01514668.jpg)."""
    return _wordnet_numbers().index(photo.path.stem)


@cache
def _wordnet_numbers() -> list[str]:
    return [line.split()[0] for line in IMAGENET.read_text("utf-8").splitlines()]


def _three(recalls: dict[str, float]) -> str:
    return " / ".join(f"{recalls[k]:.1f}" for k in ("r1", "r5", "r10"))


def _progress(step: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{step}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
