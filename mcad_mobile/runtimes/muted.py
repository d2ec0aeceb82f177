"""Mute native libraries that talk past Python's streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT, STDERR = 1, 2


@contextmanager
def muted(*descriptors: int) -> Iterator[None]:
    """Drop what is written to these file descriptors. Qualcomm's compiler greets on standard
    output, where a reader of --json must not see it, and LiteRT's converter logs its progress;
    both report errors as exceptions."""
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
        os.close(nowhere)
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
