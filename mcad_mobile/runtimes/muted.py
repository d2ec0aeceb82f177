"""Mute libraries that narrate what they do."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
