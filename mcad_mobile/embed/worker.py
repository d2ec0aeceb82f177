"""A worker's own process, which embeds shards: a decoder that crashes ends only this process.

Standard input takes a Setup, then Tasks; standard output answers with Messages, each a line of
JSON. The process ends when its standard input does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from mcad_mobile import errors
from mcad_mobile.base.documents import ReportedError
from mcad_mobile.base.standard_output import claim_standard_output
from mcad_mobile.embed.job import LEFT_OUT, SHARDS, ShardRecord, ShardsManifest, done_in, file_name
from mcad_mobile.embed.pieces import PhotoList, Piece, name_of, photos_of
from mcad_mobile.embed.shard import Note, embed_shard
from mcad_mobile.embed.shard_files import SCHEMA, ShardFacts, left_out_bytes, shard_bytes
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.ladder import load_rung, rungs_of
from mcad_mobile.errors import McadError


class Setup(msgspec.Struct, frozen=True):
    """A worker's job: a bundle, and the address of the shards, whose names begin with `run`."""

    bundle: str
    out: str
    job: ShardsManifest
    run: int
    threads: int = 1
    gpu: bool = False


class Task(msgspec.Struct, frozen=True):
    """A piece, and which of its photos are left out or handled alone (embed_shard)."""

    piece: Piece
    excluded: frozenset[int] = frozenset()
    isolated: frozenset[int] = frozenset()


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The tower is loaded, and passed its self-test."""


class PhotoEvent(msgspec.Struct, frozen=True, tag="photo"):
    """A photo is begun or done."""

    event: Literal["begun", "done"]
    number: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The shard is in the store."""

    shard: ShardRecord


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A McadError ended the task; `kind` is the name of its class."""

    kind: str
    reported: ReportedError

    @staticmethod
    def of(error: McadError) -> Failed:
        return Failed(type(error).__name__, ReportedError.of(error))

    def error(self) -> McadError:
        """The error, to be raised in another process."""
        kind = getattr(errors, self.kind, McadError)
        return self.reported.error(kind if issubclass(kind, McadError) else McadError)


Message = Ready | PhotoEvent | Finished | Failed


class BundleModel:
    """Embeds photos as SearchEngine does, with the job's rung. RuntimeUnavailable."""

    def __init__(
        self, directory: Path, runtime: str, precision: str, threads: int, *, gpu: bool = False
    ) -> None:
        self.threads = threads
        bundle = Bundle.load(directory, verify=False)
        rung = rungs_of(bundle, "image", runtime, precision)[0]
        loaded = load_rung(bundle, "image", rung, threads, gpu=gpu)
        self.filled_by = str(loaded)
        self._tower = loaded.tower
        self._preprocess = bundle.preprocess

    def prepare(self, photo: bytes, key: str) -> NDArray[np.float32]:
        return self._preprocess.decoded(photo, key)

    def row(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        # Towers are exported for one photo, as phones use them.
        row: NDArray[np.float32] = normalize(self._tower({"pixels": prepared[None]}))[0]
        return row


def write_shard(setup: Setup, model: BundleModel, task: Task, note: Note) -> ShardRecord:
    """Embed a piece and write its shard, after the list of its photos that were left out."""
    store, job, name = Store(setup.out), setup.job, name_of(task.piece)
    earlier = () if isinstance(task.piece, PhotoList) else task.piece.done
    done = {key for file in earlier for keys, _ in done_in(store, file) for key in keys}
    photos = (photo for photo in photos_of(task.piece) if photo.key not in done)
    embedded = embed_shard(model, photos, excluded=task.excluded, isolated=task.isolated, note=note)
    left_out = embedded.left_out
    facts = ShardFacts(
        schema=SCHEMA,
        student=job.student,
        student_sha256=job.student_sha256,
        job=job.job,
        piece=name,
        filled_by=model.filled_by,
        photos=len(embedded.keys),
        left_out=len(left_out),
        unread=sum(photo.cause == "read" for photo in left_out),
    )
    file = file_name(setup.run, name)
    if left_out:
        store.write(f"{LEFT_OUT}/{file}", left_out_bytes(left_out))
    data = shard_bytes(embedded, job.dim, facts)
    store.write(f"{SHARDS}/{file}", data)
    return ShardRecord.of(file, len(data), facts)


def main() -> None:
    # Keep the messages apart from what native libraries print.
    out = os.fdopen(claim_standard_output(), "wb", buffering=0)

    def send(message: Message) -> None:
        out.write(msgspec.json.encode(message) + b"\n")

    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        setup = msgspec.json.decode(lines.get(), type=Setup)
        job = setup.job
        model = BundleModel(
            Path(setup.bundle), job.runtime, job.precision, setup.threads, gpu=setup.gpu
        )
    except McadError as error:
        send(Failed.of(error))
        os._exit(0)  # Python does not end while a thread reads standard input
    send(Ready())
    while True:
        task = msgspec.json.decode(lines.get(), type=Task)
        try:
            shard = write_shard(setup, model, task, lambda *event: send(PhotoEvent(*event)))
        except McadError as error:
            send(Failed.of(error))
        else:
            send(Finished(shard))


def _listen(lines: queue.SimpleQueue[bytes]) -> None:
    """Queue the lines of standard input, and end the process when the input ends."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
