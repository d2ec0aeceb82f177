"""Ctrl-C: what is kept of a verb that was interrupted, and how to go on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer

INTERRUPTED = 130  # 128 and SIGINT's number, as shells have it
_KEPT = {
    "export": "Nothing was written, and a bundle that stood at --out stands there still. The same "
    "command starts again; jobs that it submitted to AI Hub are remembered.",
    "index": "What was embedded so far is in the index. The same command goes on from there.",
    "embed": "Shards that were finished are kept. The same command goes on from there.",
    "search": "Nothing was changed.",
    "serve": "What was indexed so far is in the index. Photos that were uploaded to search by are "
    "deleted.",
    "bench": "No measurement is kept: the same command starts again. Jobs that it submitted to "
    "AI Hub go on there, and the same command waits for those.",
    "app": "Nothing was written at --out. Tools that were fetched whole are kept; the same command "
    "starts again.",
    "library": "Nothing was written at --out. Tools that were fetched whole are kept; the same "
    "command starts again.",
    "report": "What was not printed or written is not kept.",
    "eval": "Nothing is kept: the same command starts again.",
    "distill": "Features, teachers and the last checkpoint are kept in --cache and --out. The same "
    "command goes on from there.",
    "doctor": "Nothing was changed.",
    "demo": "What was done so far lies in --out. The same command starts again.",
}


def interruptible(verb: str, run: Callable[..., None]) -> Callable[..., None]:
    """The verb, which says what is kept when it is interrupted. typer would end in silence."""

    @functools.wraps(run)
    def told(*arguments: Any, **options: Any) -> None:
        try:
            run(*arguments, **options)
        except KeyboardInterrupt:
            kept = _KEPT.get(verb, "")
            print(f"interrupted: {kept}" if kept else "interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    return told
