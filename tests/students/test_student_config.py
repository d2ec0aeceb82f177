"""A student's folder: what is refused before anything is made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.errors import Remedy, StudentError
from mcad_mobile.students.load import default_directory, load_student
from mcad_mobile.students.mcad import default_config, read_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_directory(), tmp_path / "inner" / "student"))


def edit(folder: Path, place: str, value: Any) -> None:
    """Put a value into config.json, or take one out (...)."""
    path = folder / "config.json"
    document = json.loads(path.read_text())
    *way, last = place.split(".")
    holder = document
    for step in way:
        holder = holder[step]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    path.write_text(json.dumps(document))


def test_a_student_that_is_trained_anew_has_the_shape_of_the_one_we_ship():
    assert read_config(default_directory()) == default_config()


@pytest.mark.parametrize("name", ["../escaped", "a/b", "/tmp/x", "..", ".", "", "vocab.txt\n", 5])
def test_a_vocabulary_that_lies_elsewhere_is_refused_and_nothing_is_written(
    folder: Path, name: object
) -> None:
    if isinstance(name, str) and name.startswith(".."):
        shutil.copy(folder / "vocab.txt", folder.parent / "escaped")
    edit(folder, "tokenizer.file", name)
    top = folder.parent.parent
    before = sorted(top.rglob("*"))
    arguments = ["export", "--student", str(folder), "-t", "cpu", "-o", str(top / "out" / "bundle")]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, StudentError) and "tokenizer.file" in str(done.exception)
    assert sorted(top.rglob("*")) == before


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("tokenizer.specials", {}, "specials lack [PAD], [UNK], [CLS], [SEP]"),
        ("tokenizer.specials", {"[PAD]": 0}, "lack [UNK]"),
        (
            "tokenizer.specials",
            {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 30522},
            "token 30522 is none of the 30522",
        ),
        ("tokenizer.length", 0, " - at `$.tokenizer.length`"),
        ("tokenizer.length", 64, "tokenizer's length is 64, more than the 32"),
        ("tokenizer.pad", 30522, "token 30522 is none of the 30522"),
        ("text.heads", 7, "a width of 384 is not shared by 7 heads"),
        ("text.vocab", 2**62, " - at `$.text.vocab`"),
        ("text.layers", "3", "`int`, got `str` - at `$.text.layers`"),
        ("text.depth", 3, "unknown field `depth` - at `$.text`"),
        ("preprocess.interpolation", "lanczos", "'lanczos' - at `$.preprocess.interpolation`"),
        ("preprocess", ..., "missing required field `preprocess`"),
        ("schema", "mcad-student/2", "of a newer mcad-mobile"),
    ],
)
def test_a_field_that_is_wrong_is_named(folder: Path, place: str, value: Any, message: str) -> None:
    edit(folder, place, value)
    with pytest.raises(StudentError) as caught:
        load_student(str(folder))
    assert message in str(caught.value)
    assert str(folder / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [("text.vocab", 2**20), ("text.width", 4092), ("image_hidden", 2**14), ("dim", 4096)],
)
def test_sizes_that_are_not_those_of_the_weights_take_no_memory(
    folder: Path, place: str, value: int
) -> None:
    edit(folder, place, value)
    with pytest.raises(StudentError, match="is damaged"):
        load_student(str(folder))


def test_a_vocabulary_longer_than_the_token_table_is_refused(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.write("onemoreword\n")
    with pytest.raises(StudentError, match="30523 tokens"):
        load_student(str(folder))


@pytest.mark.parametrize("contents", [b"", b"a\nb\n", b"\xff\xfe"])
def test_a_vocabulary_that_is_none_is_refused(folder: Path, contents: bytes) -> None:
    (folder / "vocab.txt").write_bytes(contents)
    with pytest.raises(StudentError, match="is damaged"):
        load_student(str(folder))


def test_what_is_loaded_can_be_trained(folder: Path) -> None:
    student = load_student(str(folder))
    assert isinstance(student, torch.nn.Module)
    parameters = list(student.parameters())
    assert all(p.requires_grad and p.device.type == "cpu" for p in parameters)
    assert all(p.dtype == torch.float32 for p in parameters)


def test_a_folder_without_a_student_asks_for_one(tmp_path):
    with pytest.raises(StudentError) as caught:
        read_config(tmp_path)
    assert caught.value.remedy is Remedy.GIVE_STUDENT
