"""Embed a source into shards: look what is there, do what is missing, say what was done."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from mcad_mobile.base.locks import lock
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.embed.guard import Guarded
from mcad_mobile.embed.job import (
    LEFT_OUT,
    SHARDS,
    Done,
    Known,
    Manifest,
    claim,
    job_of,
    left_out_of,
    read_manifest,
    repaired_stock,
    write_manifest,
)
from mcad_mobile.embed.on_ray import run_on_ray
from mcad_mobile.embed.pieces import Listed, Members, Piece
from mcad_mobile.embed.shard import LeftOut
from mcad_mobile.embed.source import Source
from mcad_mobile.embed.store import Store
from mcad_mobile.embed.worker import Setup
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.errors import McadError, ShardError

# Run a job on this machine: so many processes beside each other.

_WAIT_S = 0.2  # so that a Ctrl-C is heard


def run_here(
    setup: Setup, pieces: Sequence[Piece], workers: int, photos: Callable[[int], None]
) -> Iterator[Done]:
    """The shards of `pieces`, as they are finished. `photos` hears how many photos more are done
    with. The first error of a worker ends all; so does whoever stops listening."""
    todo = iter(pieces)
    lock, stop = threading.Lock(), threading.Event()
    told: queue.SimpleQueue[Done | BaseException | int | None] = queue.SimpleQueue()
    guards = [Guarded(setup) for _ in range(min(workers, len(pieces)))]

    def work(guard: Guarded) -> None:
        try:
            while not stop.is_set():
                with lock:
                    piece = next(todo, None)
                if piece is None:
                    break
                told.put(guard(piece, lambda done: told.put(1)))
        except BaseException as error:
            told.put(error)
        finally:
            told.put(None)

    threads = [threading.Thread(target=work, args=(guard,), daemon=True) for guard in guards]
    for thread in threads:
        thread.start()
    working = len(threads)
    try:
        while working:
            try:
                message = told.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            if message is None:
                working -= 1
            elif isinstance(message, BaseException):
                raise message
            elif isinstance(message, int):
                photos(message)
            else:
                yield message
    finally:
        stop.set()
        for guard, thread in zip(guards, threads, strict=True):
            guard.stop()
            thread.join()


PHOTOS_A_SHARD = 10_000
_FEWEST = 16  # photos a shard, however many workers there are
_PIECES_A_WORKER = 4
_SAVE_S = 30.0


@dataclass(frozen=True)
class Options:
    """How a job runs: `ray` is a cluster's address (None: this machine)."""

    workers: int = 1
    threads: int = 1
    photos_a_shard: int = PHOTOS_A_SHARD
    runtime: str | None = None
    ray: str | None = None
    gpus: float = 0.0
    resume: bool = True


@dataclass
class Embedded:
    """What a run did: `embedded` photos of the `photos` that the shards hold; `left_out` of it."""

    manifest: Manifest
    embedded: int = 0
    seconds: float = 0.0
    left_out: list[LeftOut] = field(default_factory=list)


def embed(
    source: Source,
    bundle: Bundle,
    out: str,
    options: Options,
    progress: Progress = silent,
    warn: Callable[[str], None] = lambda sentence: None,
) -> Embedded:
    """Make the shards at `out` hold the photos of `source` as `bundle`'s student embeds them.

    Shards that are there are kept, and their photos not embedded again. Whatever ends a run, what
    was finished stays. ShardError if `out` holds another student's shards, another run is writing
    there, or `resume` is False and it is not empty; and what stores and sources raise.
    """
    source.check()
    store = Store(out)
    rung = _rung(bundle, read_manifest(store), options, warn)
    job = claim(store, job_of(bundle, *rung, options.photos_a_shard))
    with _writing_alone(store):
        stock = repaired_stock(store, job, warn)
        if stock.shards and not options.resume:
            raise ShardError(
                f"{store} holds {len(stock.shards)} shards already.",
                "Leave --no-resume out to go on with them, or give another --out.",
            )
        result = Embedded(job.with_shards(stock.shards))
        listed: list[LeftOut] = []
        pieces = source.pieces(
            job.photos_a_shard, lambda: Known(store, stock.shards), stock.pieces, listed
        )
        missing = _spread([*pieces], options.workers)
        setup = Setup(
            str(bundle.directory.resolve()),
            out if store.folder is None else str(store.folder.absolute()),
            job,
            stock.run,
            options.threads,
            bool(options.gpus),
        )
        started = time.monotonic()
        with _Kept(store, job, stock.shards) as kept:
            for done in _run(setup, missing, options, progress):
                kept.add(done)
        result.manifest = kept.manifest
        result.seconds = time.monotonic() - started
        result.embedded = sum(one.photos for one in kept.new)
        result.left_out = [*listed, *left_out_of(store, kept.new)]
    return result


def _rung(
    bundle: Bundle,
    begun: Manifest | None,
    options: Options,
    warn: Callable[[str], None],
) -> tuple[str, str]:
    """Runtime and precision that all workers run: what the job was `begun` with, wherever it goes
    on; else the best here, as `index` chooses. On GPUs, the float rung, which this machine need not
    be able to run."""
    if options.gpus:
        return "onnx", "fp32"
    if begun is not None and options.runtime in (None, begun.runtime):
        return begun.runtime, begun.precision
    chosen = SearchEngine(bundle, runtime=options.runtime, fastest=True, warn=warn).image_rung
    return chosen.rung.runtime, chosen.rung.precision


def _spread(pieces: list[Piece], workers: int) -> list[Piece]:
    """Cut lists of photos further where there are too few for the workers. Rows of files are left
    as they are: by them it is known, another day, what is done."""
    wanted = workers * _PIECES_A_WORKER
    photos = sum(len(piece.keys) for piece in pieces if isinstance(piece, Listed))
    at_once = max(_FEWEST, -(-photos // wanted))
    if len(pieces) >= wanted:
        return pieces
    spread: list[Piece] = []
    for piece in pieces:
        if not isinstance(piece, Listed):
            spread.append(piece)
            continue
        for first in range(0, len(piece.keys), at_once):
            part = slice(first, first + at_once)
            spread.append(Listed(piece.keys[part], piece.stamps[part]))
    return spread


def _run(setup: Setup, pieces: list[Piece], options: Options, progress: Progress) -> Iterator[Done]:
    if not pieces:
        return
    total, done = sum(_photos_in(piece) for piece in pieces), 0

    def more(photos: int) -> None:
        nonlocal done
        done += photos
        progress("photos", done, max(total, done))

    if options.ray is None:
        yield from run_here(setup, pieces, options.workers, more)
        return
    for shard in run_on_ray(setup, pieces, options.workers, options.ray, options.gpus):
        more(shard.photos + shard.left_out)
        yield shard


def _photos_in(piece: Piece) -> int:
    """How many photos; of a tar file that is known once it is read."""
    if isinstance(piece, Members):
        return 0
    return len(piece.keys) if isinstance(piece, Listed) else piece.count


class _Kept:
    """The shards that are there, in the manifest now and then, and whatever ends the run."""

    def __init__(self, store: Store, job: Manifest, shards: tuple[Done, ...]) -> None:
        self.new: list[Done] = []
        self._store, self._job = store, job
        self._shards = {one.piece: one for one in shards}
        self._saved = time.monotonic()

    @property
    def manifest(self) -> Manifest:
        return self._job.with_shards(self._shards.values())

    def add(self, done: Done) -> None:
        before = self._shards.get(done.piece)
        self._shards[done.piece] = done
        self.new.append(done)
        if before is not None and before.file != done.file:  # some of it could not be read then
            self._store.remove(f"{SHARDS}/{before.file}")
            self._store.remove(f"{LEFT_OUT}/{before.file}")
        if time.monotonic() - self._saved > _SAVE_S:
            self._save()

    def _save(self) -> None:
        write_manifest(self._store, self.manifest)
        self._saved = time.monotonic()

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._save()
            return
        with suppress(McadError):  # what ended the run is told, and shards say the same
            self._save()


@contextmanager
def _writing_alone(store: Store) -> Iterator[None]:
    """On a disk, by a lock. An object store has none: two runs at once there do some work twice,
    and harm nothing."""
    if store.folder is None:
        yield
        return
    with (store.folder / ".lock").open("ab") as file:
        if not lock(file, wait=False):
            raise ShardError(
                f"Another run is writing to {store}.", "Wait until it is done, then run this again."
            )
        yield
