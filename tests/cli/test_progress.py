"""What people see of long work, and of file names that are no text."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from mcad_mobile.cli import output


def test_a_bar_shows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    clock = iter(range(0, 10_000))
    monkeypatch.setattr(
        output,
        "Console",
        lambda **_: Console(
            file=shown, force_terminal=True, width=120, get_time=lambda: next(clock)
        ),
    )
    with output.progress_bar() as advance:
        for done in range(0, 600, 20):
            advance("photos", done, 1000)
    assert "/s" in shown.getvalue()
    assert "left" in shown.getvalue()


def test_a_log_gets_a_line_a_minute_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.0, 30.0, 61.0, 62.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with output.progress_bar() as advance:
        for done in (0, 100, 300, 301):
            advance("photos", done, 900)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("photos (300/900, 4.9/s, 2 min left)")


def test_the_rate_of_a_stage_leaves_out_the_stages_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.0, 3500.0, 3600.0, 3661.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with output.progress_bar() as advance:
        for step, done, total in (
            ("grids", 1, 6000),
            ("grids", 6000, 6000),
            ("student", 1, 552),
            ("student", 123, 552),
        ):
            advance(step, done, total)
    assert capsys.readouterr().err.splitlines()[-1].endswith("student (123/552, 2.0/s, 4 min left)")


def test_file_names_are_shown_on_one_line_of_text() -> None:
    assert output.printable("a\nb\t\udce9.jpg") == "a\\nb\\t\\xe9.jpg"
    assert output.printable("Müll/犬 🐕.jpg") == "Müll/犬 🐕.jpg"
