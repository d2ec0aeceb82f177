"""The protocol by which all long-running work reports its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called when a step begins and whenever more of it is done, with the step's name, how many of
    its units are done, and how many there are in all (0 if unknown)."""

    def __call__(self, step: str, done: int = 0, total: int = 0, /) -> None: ...


def silent(step: str, done: int = 0, total: int = 0, /) -> None:
    """Report nothing: the default of every `progress` parameter."""
