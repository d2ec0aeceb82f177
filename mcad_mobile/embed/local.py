"""Run a job on this machine: so many processes beside each other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from mcad_mobile.embed.guard import Guarded
from mcad_mobile.embed.job import Done
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Setup

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
