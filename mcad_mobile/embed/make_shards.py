"""Embed a source into shards: list the shards, embed the photos that they lack, report."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mcad_mobile.base.locks import lock
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.embed.job import (
    LEFT_OUT,
    SHARDS,
    KnownPhotos,
    ShardRecord,
    ShardsManifest,
    claim_folder,
    job_of,
    left_out_of,
    read_manifest,
    repair_inventory,
    write_manifest,
)
from mcad_mobile.embed.on_ray import run_on_ray
from mcad_mobile.embed.pieces import Members, PhotoList, Piece
from mcad_mobile.embed.shard import LeftOut
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.embed.source import Source
from mcad_mobile.embed.worker import GuardedWorker, Setup
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.errors import McadError, ShardError

PHOTOS_A_SHARD = 10_000
_FEWEST = 16  # photos per shard, however many workers there are
_PIECES_A_WORKER = 4


@dataclass(frozen=True)
class Options:
    """How a job runs. `ray` is a cluster's address, None for this machine; `threads` and `gpus` are
    per worker; without `resume`, a folder that holds shards is refused."""

    workers: int = 1
    threads: int = 1
    photos_a_shard: int = PHOTOS_A_SHARD
    runtime: str | None = None
    ray: str | None = None
    gpus: float = 0.0
    resume: bool = True


@dataclass(frozen=True)
class EmbedResult:
    """The result of a run: how many photos it `embedded` and which it left out; the manifest also
    counts the photos of earlier runs."""

    manifest: ShardsManifest
    embedded: int
    seconds: float
    left_out: list[LeftOut]


def embed(
    source: Source,
    bundle: Bundle,
    out: str,
    options: Options,
    progress: Progress = silent,
    warn: Callable[[str], None] = lambda sentence: None,
) -> EmbedResult:
    """Make the shards at `out` hold the photos of `source` as `bundle`'s student embeds them.
    Photos of earlier runs stay. ShardError, StoreError, DataError, PhotoError."""
    source.check()
    store = Store(out)
    rung = _rung(bundle, read_manifest(store), options, warn)
    job = claim_folder(store, job_of(bundle, *rung, options.photos_a_shard))
    with _folder_lock(store):
        inventory = repair_inventory(store, job, warn)
        if inventory.shards and not options.resume:
            raise ShardError(
                f"{store} holds {len(inventory.shards)} shards already.",
                "Leave --no-resume out to go on with them, or give another --out.",
            )
        listed: list[LeftOut] = []
        pieces = source.pieces(
            job.photos_a_shard, lambda: KnownPhotos(store, inventory.shards), listed
        )
        rest = [rest for piece in pieces if (rest := inventory.rest_of(piece)) is not None]
        missing = _split_lists(rest, options.workers)
        setup = Setup(
            str(bundle.directory.resolve()),
            out if store.folder is None else str(store.folder.absolute()),
            job,
            inventory.run,
            options.threads,
            bool(options.gpus),
        )
        started = time.monotonic()
        shards = _Shards(store, job, inventory.shards)
        try:
            for shard in _run(setup, missing, options, progress):
                shards.add(shard)
        except BaseException:
            with suppress(McadError):  # report the first error; the shards hold the same facts
                write_manifest(store, shards.manifest)
            raise
        write_manifest(store, shards.manifest)
        return EmbedResult(
            shards.manifest,
            embedded=sum(shard.photos for shard in shards.new),
            seconds=time.monotonic() - started,
            left_out=[*listed, *left_out_of(store, shards.new)],
        )


def _rung(
    bundle: Bundle, earlier: ShardsManifest | None, options: Options, warn: Callable[[str], None]
) -> tuple[str, str]:
    """Choose the runtime and precision of all workers: with GPUs the float rung, which this machine
    need not run; else those of an `earlier` run; else the best rung of this machine."""
    if options.gpus:
        return "onnx", "fp32"
    if earlier is not None and options.runtime in (None, earlier.runtime):
        return earlier.runtime, earlier.precision
    chosen = SearchEngine(bundle, runtime=options.runtime, fastest=True, warn=warn).image_rung
    return chosen.rung.runtime, chosen.rung.precision


def _split_lists(pieces: list[Piece], workers: int) -> list[Piece]:
    """Cut lists of photos into more pieces if there are too few for the workers. Pieces of files
    stay as they are, because later runs recognize by them what is done."""
    enough = workers * _PIECES_A_WORKER
    if len(pieces) >= enough:
        return pieces
    split: list[Piece] = [piece for piece in pieces if not isinstance(piece, PhotoList)]
    lists = [piece for piece in pieces if isinstance(piece, PhotoList)]
    at_once = max(_FEWEST, -(-sum(len(piece.keys) for piece in lists) // enough))
    for piece in lists:
        for first in range(0, len(piece.keys), at_once):
            part = slice(first, first + at_once)
            split.append(PhotoList(piece.keys[part], piece.stamps[part], piece.source))
    return split


def _run(
    setup: Setup, pieces: list[Piece], options: Options, progress: Progress
) -> Iterator[ShardRecord]:
    if not pieces:
        return
    total, done, counting = sum(map(_photos_in, pieces)), 0, threading.Lock()

    def count_photos(photos: int = 1) -> None:
        nonlocal done
        with counting:
            done += photos
            progress("photos", done, max(total, done))

    if options.ray is None:
        yield from _run_here(setup, pieces, options.workers, count_photos)
        return
    for shard in run_on_ray(setup, pieces, options.workers, options.ray, options.gpus):
        count_photos(shard.photos + shard.left_out)
        yield shard


def _run_here(
    setup: Setup, pieces: Sequence[Piece], workers: int, photo_done: Callable[[], None]
) -> Iterator[ShardRecord]:
    """Yield the shards of `pieces` as guarded workers finish them in parallel. `photo_done` is
    called after each photo, on any thread. The first error ends the run."""
    guards = [GuardedWorker(setup) for _ in range(min(workers, len(pieces)))]
    free: queue.SimpleQueue[GuardedWorker] = queue.SimpleQueue()
    for guard in guards:
        free.put(guard)

    def embed_piece(piece: Piece) -> ShardRecord:
        guard = free.get()
        try:
            return guard(piece, photo_done)
        finally:
            free.put(guard)

    with ThreadPoolExecutor(len(guards)) as pool:
        try:
            for shard in as_completed([pool.submit(embed_piece, piece) for piece in pieces]):
                yield shard.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for guard in guards:
                guard.stop()


def _photos_in(piece: Piece) -> int:
    """Return the number of photos; 0 for a tar file and for the rest of a piece, which must be read
    to count them."""
    if isinstance(piece, PhotoList):
        return len(piece.keys)
    return 0 if isinstance(piece, Members) or piece.done else piece.count


class _Shards:
    """The shards of the job."""

    def __init__(self, store: Store, job: ShardsManifest, shards: tuple[ShardRecord, ...]) -> None:
        self.new: list[ShardRecord] = []
        self._store, self._job = store, job
        self._shards = {shard.file: shard for shard in shards}
        self._empty = {shard.piece: shard for shard in shards if not shard.photos}

    @property
    def manifest(self) -> ShardsManifest:
        return self._job.with_shards(self._shards.values())

    def add(self, shard: ShardRecord) -> None:
        self._shards[shard.file] = shard
        self.new.append(shard)
        before = self._empty.pop(shard.piece, None)
        if before is not None:  # only its list of photos left out counted, and this one's is newer
            del self._shards[before.file]
            self._store.remove(f"{SHARDS}/{before.file}")
            self._store.remove(f"{LEFT_OUT}/{before.file}")


@contextmanager
def _folder_lock(store: Store) -> Iterator[None]:
    """Lock a folder on a disk. On an object store, concurrent runs repeat work but do no harm."""
    if store.folder is None:
        yield
        return
    with (store.folder / ".lock").open("ab") as file:
        if not lock(file, wait=False):
            raise ShardError(
                f"Another run is writing to {store}.", "Wait until it is done, then run this again."
            )
        yield
