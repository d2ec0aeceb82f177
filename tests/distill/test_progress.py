"""What people see of long work, and of file names that are no text."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from mcad_mobile.cli import output
from mcad_mobile.distill.progress import Part, WholeRun


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


def test_the_time_left_of_the_whole_is_shown_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.0, 61.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with output.progress_bar() as advance:
        advance("photos", 0, 900, None)
        advance("photos", 305, 900, 3600.0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("photos (305/900, 5.0/s, 60 min left)")

    shown = io.StringIO()
    monkeypatch.undo()
    monkeypatch.setattr(
        output, "Console", lambda **_: Console(file=shown, force_terminal=True, width=120)
    )
    with output.progress_bar() as advance:
        advance("photos", 305, 900, 3661.0)
    assert "1:01:01" in shown.getvalue()


class ProgressRecorder:
    """Keeps the progress that a WholeRun of `parts` shows, by a clock that is set by hand."""

    def __init__(self, **parts: Part) -> None:
        self.shown: list[tuple[str, int, int, float | None]] = []
        self.now = 0.0
        self.run = WholeRun(parts, lambda *step: self.shown.append(step), lambda: self.now)

    def work(self, seconds: float, part: str, piece: str, done: int, count: int) -> None:
        self.now += seconds
        self.run(part, piece, done, count)


def test_all_views_of_a_part_are_counted_together_and_once() -> None:
    recorder = ProgressRecorder(photos=Part(30, 1.0))
    for view in ("a", "b"):
        recorder.work(5, "photos", view, 0, 10)
        recorder.work(10, "photos", view, 5, 10)
        recorder.work(10, "photos", view, 10, 10)
        recorder.work(0, "photos", view, 10, 10)  # served from the cache later on
    assert [step[:3] for step in recorder.shown] == [("photos", n, 30) for n in (5, 10, 15, 20)]


def test_the_time_left_is_that_of_all_parts_at_their_speed() -> None:
    recorder = ProgressRecorder(photos=Part(20, 10.0), captions=Part(50, 2.0), steps=Part(8, 50.0))
    recorder.work(0, "photos", "a", 0, 20)
    recorder.work(10, "photos", "a", 10, 20)  # a second each, a tenth of the cost's unit
    assert recorder.shown[-1][3] == pytest.approx(10 * 1.0 + 50 * 0.2 + 8 * 5.0)
    recorder.work(10, "photos", "a", 20, 20)
    recorder.work(99, "captions", "a", 0, 50)  # nobody's work
    recorder.work(10, "captions", "a", 25, 50)  # twice as slow as photos would have it
    pace = (20 + 10) / (20 * 10.0 + 25 * 2.0)
    assert recorder.shown[-1][3] == pytest.approx(25 * 0.4 + 8 * 50.0 * pace)


def test_what_an_earlier_run_did_is_left_out_and_is_no_speed() -> None:
    recorder = ProgressRecorder(photos=Part(40, 1.0), steps=Part(10, 4.0))
    recorder.work(1, "photos", "a", 20, 20)
    recorder.work(1, "photos", "b", 10, 20)
    assert recorder.shown == []
    recorder.work(5, "photos", "b", 15, 20)
    assert recorder.shown == [("photos", 35, 40, pytest.approx(5 * 1.0 + 10 * 4.0))]
    recorder.work(0, "steps", "s", 8, 10)
    recorder.work(4, "steps", "s", 9, 10)
    assert recorder.shown[-1] == ("steps", 9, 10, pytest.approx(5 * 1.0 + 1 * 4.0))


def test_file_names_are_shown_on_one_line_of_text() -> None:
    assert output.printable("a\nb\t\udce9.jpg") == "a\\nb\\t\\xe9.jpg"
    assert output.printable("Müll/犬 🐕.jpg") == "Müll/犬 🐕.jpg"
