"""How long-running work reports how far it is: one protocol for all of it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is called when a step of the work begins and each time that more of it is done: with the step
    in words, and how many of its units are done, of how many (0 if not known)."""

    def __call__(self, step: str, done: int = 0, total: int = 0, /) -> None: ...


def silent(step: str, done: int = 0, total: int = 0, /) -> None:
    """Report nothing: the default of every `progress` parameter."""
