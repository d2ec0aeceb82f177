"""What people see of long work, and of file names that are no text."""

from __future__ import annotations

from typing import Any

import pytest

from mcad_mobile.cli import output


def test_a_bar_shows_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with output.progress_bar() as advance:
        for done in range(0, 600, 20):
            advance("photos", done, 1000)
    shown = capsys.readouterr().err
    assert "580/1000" in shown and "/s" in shown and "left" in shown


@pytest.mark.parametrize(
    ("seconds", "steps", "shown"),
    [
        (
            (0, 0, 30, 61, 62),
            [("photos", done, 900) for done in (0, 100, 300, 301)],
            "photos (300/900, 4.9/s, 2 min left)",
        ),
        # The rate of a stage leaves out the stages before it, whether its total is new
        (
            (0, 0, 30, 40, 101),
            [("grids", 1, 6000), ("grids", 6000, 6000), ("student", 1, 552), ("student", 123, 552)],
            "student (123/552, 2.0/s, 4 min left)",
        ),
        # or its count starts again,
        (
            (0, 0, 30, 40, 101),
            [("grids", 1, 552), ("grids", 552, 552), ("student", 1, 552), ("student", 123, 552)],
            "student (123/552, 2.0/s, 4 min left)",
        ),
        # and what was done before the run.
        (
            (0, 0, 61),
            [("photos", done, 1000) for done in (800, 922)],
            "photos (922/1000, 2.0/s, 1 min left)",
        ),
        # A few units of many say nothing about the others.
        ((0, 0, 61), [("writing candidates", n, 16) for n in (0, 1)], "writing candidates (1/16)"),
        (
            (0, 0, 80),
            [("writing candidates", n, 16) for n in (0, 4)],
            "writing candidates (4/16, 4 min left)",
        ),
        ((0, 0, 61), [("loading",), ("tracing",)], "tracing"),
    ],
)
def test_a_log_gets_a_line_a_minute_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str],
    seconds: tuple[float, ...],
    steps: list[tuple[Any, ...]],
    shown: str,
) -> None:
    clock = iter(seconds)
    with output.progress_bar(lambda: next(clock)) as advance:
        for step in steps:
            advance(*step)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.partition(" ")[2] == shown


def test_file_names_are_shown_on_one_line_of_text() -> None:
    assert output.printable("a\nb\t\udce9.jpg") == "a\\nb\\t\\xe9.jpg"
    assert output.printable("Müll/犬 🐕.jpg") == "Müll/犬 🐕.jpg"


def test_cells_of_a_table_are_never_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["a.jpg", "12 MB", ""], ["犬.jpg", "[3] MB", "pip install mcad-mobile"]]
    for columns in ("20", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        output.print_table("Photos", ["name", "size", "how to get it"], rows)
        assert capsys.readouterr().out.splitlines() == [
            "Photos",
            "name    size    how to get it",
            "a.jpg   12 MB",
            "犬.jpg  [3] MB  pip install mcad-mobile",
        ]


def test_speeds_are_of_this_processor_or_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.machine, "emulator", lambda: "")
    assert output.photos_per_second(7, 3.0) == 2.33
    assert output.photos_per_second(0, 0.0) == 0.0
    assert output.format_speed(2.33) == "2.33 photos/s"
    monkeypatch.setattr(output.machine, "emulator", lambda: "qemu")
    assert output.photos_per_second(7, 3.0) is None
    assert output.format_speed(None) == "no speed: this processor is emulated by qemu"
    output.print_skipped([("a\nb.jpg", "It is broken.\nAt byte 5."), ("c.jpg", "Gone.")])
    assert capsys.readouterr().out.splitlines() == [
        "  skipped a\\nb.jpg: It is broken.",
        "  skipped c.jpg: Gone.",
    ]
