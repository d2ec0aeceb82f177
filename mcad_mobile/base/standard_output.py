"""Standard output, kept for results: what libraries print there is dropped or sent elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

STDOUT, STDERR = 1, 2
_results: TextIO | None = None
_COLOUR = re.compile(r"(\x1b\[(?:3[1-7]|0)m)")
_NOT_ASCII_TEXT = re.compile(r"[^ -~\n\t]")


def escape_unprintable(text: str) -> str:
    """Escape what is neither printable, a space, a line break nor a tab: text from a device, a
    bundle or a file then moves no cursor, hides nothing and changes no terminal."""
    return _NOT_ASCII_TEXT.sub(_escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class _Printable:
    """A stream that passes on printable text alone, and the colours of a word to a terminal, as git
    does; `terminal` is what lies behind it."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def write(self, text: str) -> int:
        parts = _COLOUR.split(text) if self.terminal.isatty() else [text]  # every second a colour
        parts[::2] = map(escape_unprintable, parts[::2])
        self.terminal.write("".join(parts))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape what is not printable in all that is printed meanwhile."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Printable, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def terminal_errors() -> TextIO:
    """Standard error for one who draws there, and escapes what is drawn by escape_unprintable."""
    stream: TextIO = getattr(sys.stderr, "terminal", sys.stderr)
    return stream


@contextmanager
def muted(*descriptors: int) -> Iterator[None]:
    """Drop what native code writes to these file descriptors, past Python's streams: Qualcomm's
    compiler and LiteRT's converter, which report errors as exceptions."""
    import ctypes

    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in descriptors]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in descriptors:
            os.dup2(nowhere, descriptor)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)  # or it would be written when the process ends
        os.close(nowhere)
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings, and what is written to Python's streams or past them."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        muted(STDOUT, STDERR),
    ):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def advice_muted(least: int) -> Iterator[None]:
    """Drop records below level `least` of the root logger, to which some libraries log advice."""
    import logging

    root = logging.getLogger()
    level = root.level
    root.setLevel(least)
    try:
        yield
    finally:
        root.setLevel(level)


def claim_standard_output() -> int:
    """Return a new descriptor of standard output; what native code writes to descriptor 1 goes to
    standard error from here on, also as the process ends and C's buffers are flushed."""
    claimed = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return claimed


def reserve_standard_output(*, json_only: bool) -> None:
    """Claim standard output for print() and print_json(); with `json_only`, for print_json()
    alone: print() then goes to standard error too."""
    global _results
    ours = sys.__stdout__
    if sys.stdout is not ours:  # taken already, by a program that we run inside of
        return
    if ours is None or sys.__stderr__ is None:  # closed by whoever called us
        nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123  as long as the process
        sys.stdout, sys.stderr = ours or nowhere, sys.__stderr__ or nowhere
        return
    ours.flush()
    # Names that the locale cannot write are escaped.
    _results = os.fdopen(
        claim_standard_output(), "w", encoding=ours.encoding, errors="backslashreplace"
    )
    sys.stdout = sys.stderr if json_only else _results


def print_json(document: Any) -> None:
    """Print one document, the only thing that a verb with --json prints. Paths become text."""
    print(json.dumps(document, indent=2, default=os.fspath), file=_results or sys.stdout)


def flush_results() -> None:
    """Flush what was printed. OSError: the disk behind standard output is full, or its reader has
    gone."""
    (_results or sys.stdout).flush()


def give_up_results() -> None:
    """Drop what is still to be printed where standard output takes no more, so that the
    interpreter does not report that a second time."""
    try:
        flush_results()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (_results or sys.stdout).fileno())
