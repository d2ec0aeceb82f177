"""Standard output holds results, and nothing that a library says."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Mute libraries that narrate what they do.

STDOUT, STDERR = 1, 2


@contextmanager
def muted(*descriptors: int) -> Iterator[None]:
    """Drop what native code writes to these file descriptors, past Python's streams. Qualcomm's
    compiler greets on standard output, and LiteRT's converter logs its progress; both report errors
    as exceptions. C's own buffers are flushed, or they would be written when the process ends."""
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
        ctypes.CDLL(None).fflush(None)
        os.close(nowhere)
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, and nothing on Python's streams nor past them."""
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
    """Nothing below level `least` on the root logger, which some libraries tell their advice."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(least)
    try:
        yield
    finally:
        root.setLevel(level)


_STDOUT, _STDERR = 1, 2
_results: TextIO | None = None


def reserve_standard_output(*, json_only: bool) -> None:
    """From here on, what native code writes to descriptor 1 goes to standard error, be it while it
    is loaded, or as the process ends and C's buffers are flushed; Python's print() still reaches
    standard output. With `json_only` print() goes to standard error too, and print_json() alone
    is left."""
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
    _results = os.fdopen(os.dup(_STDOUT), "w", encoding=ours.encoding, errors="backslashreplace")
    os.dup2(_STDERR, _STDOUT)
    sys.stdout = sys.stderr if json_only else _results


def print_json(document: Any) -> None:
    """One document of plain values; the only thing that a verb with --json prints."""
    print(json.dumps(document, indent=2), file=_results or sys.stdout)


def flush_results() -> None:
    """OSError: the disk behind standard output is full, or its reader has gone."""
    (_results or sys.stdout).flush()


def give_up_results() -> None:
    """Where standard output takes no more, the interpreter is not to complain of that again."""
    try:
        flush_results()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (_results or sys.stdout).fileno())
