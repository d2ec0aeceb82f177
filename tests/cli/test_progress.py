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


@pytest.mark.parametrize("before", [6000, 552])
def test_the_rate_of_a_stage_leaves_out_the_stages_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: int
) -> None:
    clock = iter([0.0, 0.0, 3500.0, 3600.0, 3661.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with output.progress_bar() as advance:
        for step, done, total in (
            ("grids", 1, before),
            ("grids", before, before),
            ("student", 1, 552),
            ("student", 123, 552),
        ):
            advance(step, done, total)
    assert capsys.readouterr().err.splitlines()[-1].endswith("student (123/552, 2.0/s, 4 min left)")


def test_the_rate_of_a_run_leaves_out_what_was_done_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.0, 61.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with output.progress_bar() as advance:
        for done in (800, 922):
            advance("photos", done, 1000)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("photos (922/1000, 2.0/s, 1 min left)")


def test_file_names_are_shown_on_one_line_of_text() -> None:
    assert output.printable("a\nb\t\udce9.jpg") == "a\\nb\\t\\xe9.jpg"
    assert output.printable("Müll/犬 🐕.jpg") == "Müll/犬 🐕.jpg"


def test_a_table_has_lines_or_where_these_do_not_fit_blocks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["a.jpg", "12 MB", ""], ["犬.jpg", "3 MB", "pip install mcad-mobile"]]

    def lines(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        output.print_table("Photos", ["name", "size", "how to get it"], rows)
        return capsys.readouterr().out.splitlines()

    assert lines(46) == [
        "Photos",
        "name    size   how to get it",
        "a.jpg   12 MB",
        "犬.jpg  3 MB   pip install mcad-mobile",
    ]
    assert lines(37) == [
        "Photos",
        "a.jpg",
        "  size: 12 MB",
        "犬.jpg",
        "  size: 3 MB",
        "  how to get it: pip install mcad-mobile",
    ]
    assert len(lines(38)) == 4


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
