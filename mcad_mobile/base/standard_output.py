"""Keeps standard output for results: what libraries print there is dropped or redirected."""

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
    """Escape all but printable characters, spaces, line breaks and tabs, so that text from a
    device, bundle or file cannot move the cursor, hide text or reconfigure a terminal."""
    return _NOT_ASCII_TEXT.sub(_escape_character, text)


def counted(number: int, noun: str) -> str:
    """Say how many: "1 photo", "8,000 photos"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class _Printable:
    """A stream that writes to `terminal` and escapes unprintable text; like git, it passes colour
    codes on to a real terminal."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def write(self, text: str) -> int:
        parts = _COLOUR.split(text) if self.terminal.isatty() else [text]  # odd parts: colours
        parts[::2] = map(escape_unprintable, parts[::2])
        self.terminal.write("".join(parts))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape unprintable characters in all that this block prints."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Printable, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def terminal_errors() -> TextIO:
    """Raw standard error, for callers that draw there and call escape_unprintable themselves."""
    stream: TextIO = getattr(sys.stderr, "terminal", sys.stderr)
    return stream


@contextmanager
def muted(*descriptors: int) -> Iterator[None]:
    """Drop what native code writes to these file descriptors, bypassing Python's streams, as
    Qualcomm's compiler and LiteRT's converter do; they report errors as exceptions."""
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
        ctypes.CDLL(None).fflush(None)  # else it is written when the process ends
        os.close(nowhere)
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and all output, whether or not it goes through Python."""
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
    """Drop the root logger's records below level `least`: some libraries log advice there."""
    import logging

    root = logging.getLogger()
    level = root.level
    root.setLevel(least)
    try:
        yield
    finally:
        root.setLevel(level)


def claim_standard_output() -> int:
    """Return a new descriptor for standard output. From now on, what native code writes to
    descriptor 1 goes to standard error, even when C's buffers are flushed at exit."""
    claimed = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return claimed


def reserve_standard_output(*, json_only: bool) -> None:
    """Claim standard output for print() and print_json(); with `json_only`, for print_json()
    alone: print() then goes to standard error too."""
    global _results
    ours = sys.__stdout__
    if sys.stdout is not ours:  # redirected already, by the program that calls us
        return
    if ours is None or sys.__stderr__ is None:  # closed by whoever called us
        nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123  open until the process ends
        sys.stdout, sys.stderr = ours or nowhere, sys.__stderr__ or nowhere
        return
    ours.flush()
    # Escape names that the locale cannot encode.
    _results = os.fdopen(
        claim_standard_output(), "w", encoding=ours.encoding, errors="backslashreplace"
    )
    sys.stdout = sys.stderr if json_only else _results


def print_json(document: Any) -> None:
    """Print one JSON document, the only output of a command that prints JSON. Paths become text."""
    print(json.dumps(document, indent=2, default=os.fspath), file=_results or sys.stdout)


def flush_results() -> None:
    """Flush what was printed. OSError: the disk behind standard output is full, or its reader has
    gone."""
    (_results or sys.stdout).flush()


def give_up_results() -> None:
    """Drop unwritten output if standard output fails, so that the interpreter does not report
    the error again."""
    try:
        flush_results()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (_results or sys.stdout).fileno())
