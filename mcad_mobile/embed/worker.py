"""What one worker does: a piece of a job becomes a shard in the store."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec

from mcad_mobile.embed.bundle_model import BundleModel
from mcad_mobile.embed.job import LEFT_OUT, SHARDS, Done, Manifest, file_name
from mcad_mobile.embed.pieces import Piece, name_of, photos_of
from mcad_mobile.embed.shard import Note, embed_shard
from mcad_mobile.embed.store import Store
from mcad_mobile.embed.table import SCHEMA, ShardFacts, left_out_bytes, shard_bytes


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
