"""What commands share: options, results on standard output, and progress on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from mcad_mobile.base import machine
from mcad_mobile.base.progress import Progress
from mcad_mobile.base.standard_output import (
    counted,
    escape_unprintable,
    print_json,
    terminal_errors,
)
from mcad_mobile.engine.bundle import Bundle


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Colour a text where the stream, by default standard output, is a terminal, unless NO_COLOR is
    set (no-color.org)."""
    stream = stream or sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else typer.style(text, fg=colour)


def warn(sentence: str) -> None:
    print(f"{coloured('warning:', 'yellow', sys.stderr)} {sentence}", file=sys.stderr)


def note(sentence: str) -> None:
    print(f"{coloured('note:', 'cyan', sys.stderr)} {sentence}", file=sys.stderr)


def load_bundle(directory: Path) -> Bundle:
    """Load a bundle and check its files. Warn about towers that were exported with low parity."""
    bundle = Bundle.load(directory)
    for sentence in bundle.low_parity_warnings():
        warn(sentence)
    return bundle


def print_result(document: Any, text: str, json: bool) -> None:
    """Print a command's result: with --json the document, else the text."""
    if json:
        print_json(document)
    else:
        print(text)


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table as wide as its cells, which are never broken: commands in them can be copied
    from a narrow terminal, too."""
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(color_system=None, width=sys.maxsize)
    with console.capture() as capture:
        console.print(table)
    print(title, *map(str.rstrip, capture.get().splitlines()), sep="\n")


def photos_per_second(photos: int, seconds: float) -> float | None:
    """None on an emulated processor, whose speed is no device's."""
    return None if machine.emulator() else round(photos / max(seconds, 1e-9), 2)


def format_speed(photos_per_s: float | None) -> str:
    if photos_per_s is None:
        return f"no speed: this processor is emulated by {machine.emulator()}"
    return f"{photos_per_s} photos/s"


def printable(text: str) -> str:
    """Make a file name or a reason fit on one line of a terminal: line breaks are escaped too."""
    return escape_unprintable(text).replace("\n", "\\n").replace("\t", "\\t")


def print_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    """Print photos, by path or key, and the first line of why they are left out, which often names
    the photo."""
    for path, why in skipped:
        reason = why.splitlines()[0]
        print("  skipped", printable(reason if path in reason else f"{path}: {reason}"))


def _tells_time_left(done: float, total: float) -> bool:
    """A stage's first units often take longer than the others, or much less."""
    return done >= min(50, total / 4)


class _TimeLeft(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        told = _tells_time_left(task.completed, task.total or 0)
        return super().render(task) if told else Text("-:--:--", style="progress.remaining")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


@contextmanager
def progress_bar(clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Show a bar on standard error, which disappears when the work is done. In a log, print a line
    every minute instead, and so none for shorter work."""
    console = Console(file=terminal_errors())
    if not console.is_terminal:
        yield _line_a_minute(clock)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        _TimeLeft(),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        stage = _Stage()

        def advance(step: str, done: int = 0, total: int = 0, /) -> None:
            if stage.is_new(done, total):
                bar.reset(task)
            bar.update(task, description=printable(step), completed=done, total=total or None)

        yield advance


class _Stage:
    """Detects the next stage of the work: another total, or a count that starts again."""

    def __init__(self) -> None:
        self._done, self._total = 0, -1

    def is_new(self, done: int, total: int) -> bool:
        new = total != self._total or done < self._done
        self._done, self._total = done, total
        return new


def _line_a_minute(clock: Callable[[], float]) -> Progress:
    started = printed = clock()
    first = 0
    stage = _Stage()

    def advance(step: str, done: int = 0, total: int = 0, /) -> None:
        nonlocal printed, started, first
        now = clock()
        if stage.is_new(done, total):
            started, first = now, done
        if now - printed >= 60:
            printed = now
            rate = (done - first) / (now - started) if now > started else 0
            speed = f", {rate:.1f}/s" if rate >= 0.1 else ""
            if rate and _tells_time_left(done - first, total - first):
                speed += f", {(total - done) / rate / 60:.0f} min left"
            counts = f" ({done}/{total}{speed})" if total else ""
            print(f"{time.strftime('%H:%M:%S')} {step}{counts}", file=sys.stderr)

    return advance


def listed(files: dict[str, int]) -> str:
    """Say how many files an index holds: "7 photos, 1 video"."""
    return ", ".join(counted(number, noun.removesuffix("s")) for noun, number in files.items())
