"""Text from outside moves no cursor: what a verb prints is printable, wherever it comes from."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mcad_mobile.base.standard_output import escape_unprintable, printable_output
from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.cli import output
from mcad_mobile.cli.command import app, run
from mcad_mobile.engine.bundle import Bundle
from tests.support.report_documents import measured

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\b"


def is_text(character: str) -> bool:
    category = unicodedata.category(character)
    return character in "\n\t" or category == "Zs" or character.isprintable()


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(codec=None)))
def test_what_is_escaped_is_text_and_stays_as_it_is(text: str) -> None:
    escaped = escape_unprintable(text)
    assert all(map(is_text, escaped))
    assert escape_unprintable(escaped) == escaped
    if all(map(is_text, text)):
        assert escaped == text


def test_all_that_is_printed_meanwhile_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output():
        print(f"2.5\u00a0ms, 犬 {HOSTILE}")
        print(HOSTILE, file=sys.stderr)
        sys.stdout.writelines([HOSTILE])
    printed = capsys.readouterr()
    assert printed.out.startswith("2.5\u00a0ms, 犬 \\x1b]0;owned\\x07")
    assert all(map(is_text, printed.out + printed.err))


def test_a_terminal_gets_the_colours_of_words_and_no_other_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with redirect_stdout(Terminal()) as terminal, printable_output():
        print(f"{output.coloured('yes', 'green')} {HOSTILE}")
    printed = terminal.getvalue()
    assert printed.startswith("\x1b[32myes\x1b[0m \\x1b]0;owned")
    assert all(map(is_text, printed.replace("\x1b[32m", "").replace("\x1b[0m", "")))
    for name, value in (("TERM", "dumb"), ("NO_COLOR", "1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert output.coloured("yes", "green", Terminal()) == "yes"


def test_colours_do_not_reach_a_file_or_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output():
        print("\x1b[31mred\x1b[0m")
    assert capsys.readouterr().out == "\\x1b[31mred\\x1b[0m\n"


@pytest.fixture
def hostile_result(bundle: Bundle, tmp_path: Path) -> Path:
    found: dict[str, Any] = measured()
    found["device"]["cpu"] = found["not_measured"][0] = HOSTILE
    found["ladder"]["text"][0] |= {"status": "skip", "why": HOSTILE}
    document = complete_document(bundle, found)
    document["bundle"]["name"] = HOSTILE
    (tmp_path / "result.json").write_text(json.dumps(document))
    return tmp_path / "result.json"


def test_a_result_is_reported_in_printable_text(hostile_result: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for more in ([], ["--out", str(page)], ["--json"]):
        done = CliRunner().invoke(app, ["report", str(hostile_result), *more])
        assert done.exit_code == 0
        assert all(map(is_text, done.output))
    assert "owned" in page.read_text("utf-8")
    assert all(map(is_text, page.read_text("utf-8")))


def test_an_error_is_printable(hostile_result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(hostile_result.read_text())
    document["device"][HOSTILE] = 1
    hostile_result.write_text(json.dumps(document))
    with pytest.raises(SystemExit):
        run(lambda **options: app(["report", str(hostile_result)], **options))
    printed = capsys.readouterr().err
    assert "owned" in printed and all(map(is_text, printed))


def test_a_step_cannot_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar draws by a terminal's commands, a step's name does not; nor is it markup."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with printable_output(), output.progress_bar() as progress:
        progress(f"[/red]{HOSTILE}", 1, 2)
    drawn = capsys.readouterr().err
    assert "\x1b[" in drawn
    assert "\x1b]0;" not in drawn and "\x1b[2J" not in drawn and "\u202e" not in drawn
