"""Standard output holds results, and nothing that a library says."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

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
