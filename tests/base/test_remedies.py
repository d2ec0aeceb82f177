"""Errors as facts: each face has words for every remedy, and no lower layer uses options."""

import re
from pathlib import Path

import msgspec
import pytest

from mcad_mobile.base.documents import ReportedError
from mcad_mobile.cli import wording as command_line
from mcad_mobile.errors import (
    BenchError,
    BundleError,
    McadError,
    PhotoIndexError,
    Remedy,
)
from mcad_mobile.serve import wording as page
from tests.support.paths import ROOT


def test_each_remedy_has_words_of_the_command_line() -> None:
    assert command_line.WORDS.keys() == set(Remedy)


def test_words_name_the_values_of_an_error_quoted_for_a_shell() -> None:
    error = PhotoIndexError("It is damaged.", Remedy.REPAIR_INDEX(index=Path("my index")))
    assert str(error) == f"It is damaged.\n  {Remedy.REPAIR_INDEX.value}"
    drops = "mcad-mobile index --repair --bundle {} --index 'my index'"
    assert drops.format("BUNDLE") in command_line.hint_of(error)
    assert drops.format("BUNDLE") in page.hint_of(error, [Path("a"), Path("b")])
    assert drops.format("a") in page.hint_of(error, [Path("a")])
    error.values["bundle"] = Path("b")
    assert drops.format("b") in command_line.hint_of(error)


@pytest.mark.parametrize("hint", ["", "Wait."])
def test_a_hint_that_is_a_sentence_suits_every_face(hint: str) -> None:
    error = McadError("It is away.", hint)
    assert error.remedy is None
    assert command_line.hint_of(error) == page.hint_of(error, []) == error.hint == hint


@pytest.mark.parametrize("hint", ["Wait.", Remedy.EXPORT_STUDENT(student=Path("a b"))])
def test_errors_cross_processes_with_their_remedy(hint) -> None:
    sent = msgspec.json.encode(ReportedError.of(BundleError("It is damaged.", hint)))
    error = msgspec.json.decode(sent, type=ReportedError).error(BenchError)
    assert isinstance(error, BenchError) and error.message == "It is damaged."
    assert command_line.hint_of(error) == command_line.hint_of(BundleError("", hint))


def test_a_remedy_of_another_version_is_its_sentence() -> None:
    error = ReportedError("It is damaged.", "Wait.", "NEWER").error(BenchError)
    assert (error.hint, error.remedy) == ("Wait.", None)


@pytest.mark.parametrize("room", ["base", "data", "engine", "targets", "students", "export"])
def test_what_python_and_serve_show_names_no_command_and_no_option(room: str) -> None:
    help_texts = (ROOT / "docs" / "cli.md").read_text("utf-8")
    options = set(re.findall(r"^ +(?:-\w, )?(--[a-z][a-z0-9-]+)", help_texts, re.MULTILINE))
    commands = set(re.findall(r"^Usage: mcad-mobile ([a-z]+)", help_texts, re.MULTILINE))
    ours = re.compile(rf"(?:{'|'.join(options)})(?![\w-])|mcad-mobile (?:{'|'.join(commands)})\b")
    assert ours.search("Give --index a folder.") and ours.search("Run mcad-mobile export.")
    for path in sorted((ROOT / "mcad_mobile" / room).rglob("*.py")):
        assert not ours.search(path.read_text("utf-8")), path
    assert not any(ours.search(remedy.value) for remedy in Remedy)
