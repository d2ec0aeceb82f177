"""A worker's own process: what a photo's decoder does to it harms no other (guard.py).

    python -m mcad_mobile.embed.child

Standard input: a Setup, then Tasks; standard output: what is told of them; a line of JSON each. It
ends when its standard input does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import Literal

import msgspec

from mcad_mobile.embed.job import Done
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Setup, ShardWriter
from mcad_mobile.errors import McadError


class Task(msgspec.Struct, frozen=True):
    """A piece, and which of its photos are left out or handled alone (embed_shard)."""

    piece: Piece
    without: frozenset[int] = frozenset()
    alone: frozenset[int] = frozenset()


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The tower is loaded, and passed its self-test."""


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A photo is begun, or done with."""

    what: Literal["begun", "done"]
    number: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The shard is in the store."""

    done: Done


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An error of ours ended the task, by the name of its class."""

    kind: str
    what: str
    hint: str


Told = Ready | Said | Finished | Failed


def main() -> None:
    # Native libraries that print are not to get between two lines.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def tell(told: Told) -> None:
        out.write(msgspec.json.encode(told) + b"\n")

    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        writer = ShardWriter(msgspec.json.decode(lines.get(), type=Setup))
    except McadError as error:
        tell(_failed(error))
        os._exit(0)  # with a thread that reads, Python does not end
    tell(Ready())
    while True:
        task = msgspec.json.decode(lines.get(), type=Task)
        try:
            done = writer(
                task.piece, lambda what, number: tell(Said(what, number)), task.without, task.alone
            )
        except McadError as error:
            tell(_failed(error))
        else:
            tell(Finished(done))


def _listen(lines: queue.SimpleQueue[bytes]) -> None:
    """At the end of the input, whoever asked for the work is gone, and so is the reason for it."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


def _failed(error: McadError) -> Failed:
    return Failed(type(error).__name__, error.what, error.hint)


if __name__ == "__main__":
    main()
