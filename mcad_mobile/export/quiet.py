"""Silence for converters and compilers that narrate their steps."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

from mcad_mobile.runtimes.muted import STDERR, STDOUT, muted


@contextlib.contextmanager
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
