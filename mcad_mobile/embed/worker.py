"""A worker's own process: what a photo's decoder does to it harms no other (guard.py).

    python -m mcad_mobile.embed.worker

Standard input: a Setup, then Tasks; standard output: what is told of them; a line of JSON each. It
ends when its standard input does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.standard_output import claim_standard_output
from mcad_mobile.embed.job import LEFT_OUT, SHARDS, Done, Manifest, file_name
from mcad_mobile.embed.pieces import Piece, name_of, photos_of
from mcad_mobile.embed.shard import Note, embed_shard
from mcad_mobile.embed.store import Store
from mcad_mobile.embed.table import SCHEMA, ShardFacts, left_out_bytes, shard_bytes
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.ladder import load_tested, rungs_of
from mcad_mobile.errors import McadError

# A bundle's image tower as the model of a job.


class BundleModel:
    """Photos -> embeddings [B, dim] float32 of unit length, as SearchEngine makes them: by the rung
    of `runtime` and `precision`, on the GPU that this process is given if `gpu`. It is loaded, and
    tested on this machine, before any photo is; RuntimeUnavailable if it does not pass."""

    at_once = 1  # towers are exported for one photo, as phones use them

    def __init__(
        self, directory: Path, runtime: str, precision: str, threads: int, *, gpu: bool = False
    ) -> None:
        self.threads = threads
        bundle = Bundle.load(directory, verify=False)
        rung = rungs_of(bundle, "image", runtime, precision)[0]
        loaded = load_tested(bundle, "image", rung, threads, gpu=gpu)
        self.filled_by = str(loaded)
        self._tower = loaded.tower
        self._preprocess = bundle.preprocess

    def prepare(self, photo: bytes, number: int, key: str) -> NDArray[np.float32]:
        return self._preprocess.decoded(photo, key)

    def rows(self, prepared: list[Any]) -> NDArray[np.float32]:
        each = [normalize(self._tower({"pixels": pixels[None]})) for pixels in prepared]
        return np.concatenate(each)


# What one worker does: a piece of a job becomes a shard in the store.


class Setup(msgspec.Struct, frozen=True):
    """What a worker is told once: whose embeddings it makes, and where they go. `threads` of its
    processor; `run`, see Stock."""

    bundle: str
    out: str
    job: Manifest
    run: int
    threads: int = 1
    gpu: bool = False


class ShardWriter:
    """Writes the shards of one job. Its tower is loaded and tested first."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._store = Store(setup.out)
        job = setup.job
        self._model = BundleModel(
            Path(setup.bundle), job.runtime, job.precision, setup.threads, gpu=setup.gpu
        )

    def __call__(
        self, piece: Piece, note: Note, without: AbstractSet[int], alone: AbstractSet[int]
    ) -> Done:
        """Embed a piece and put its shard into the store; what is said there of photos that were
        left out is there before it."""
        job, name = self._setup.job, name_of(piece)
        embedded = embed_shard(
            self._model, photos_of(piece), without=without, alone=alone, note=note
        )
        left_out = embedded.left_out
        facts = ShardFacts(
            schema=SCHEMA,
            student=job.student,
            student_sha256=job.student_sha256,
            job=job.job,
            piece=name,
            filled_by=self._model.filled_by,
            photos=len(embedded.keys),
            left_out=len(left_out),
            unread=sum(photo.cause == "read" for photo in left_out),
        )
        file = file_name(self._setup.run, name)
        if left_out:
            self._store.write(f"{LEFT_OUT}/{file}", left_out_bytes(left_out))
        data = shard_bytes(embedded, job.dim, facts)
        self._store.write(f"{SHARDS}/{file}", data)
        return Done.of(file, len(data), facts)


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
    out = os.fdopen(claim_standard_output(), "wb", buffering=0)

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
    return Failed(type(error).__name__, error.message, error.hint)


if __name__ == "__main__":
    main()
