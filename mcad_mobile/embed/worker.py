"""Workers: processes that embed shards and may die, because a photo can crash its decoder. The
photos that a dead one held are known, and tried again.

A process takes a Setup, then Tasks, on the connection whose descriptor it is given, and answers
with Messages, each in JSON. It ends when its standard input does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from mcad_mobile import errors
from mcad_mobile.base.documents import ReportedError
from mcad_mobile.base.standard_output import STDERR
from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.embed.job import LEFT_OUT, SHARDS, ShardRecord, ShardsManifest, done_in, file_name
from mcad_mobile.embed.pieces import PhotoList, Piece, VideoFile, name_of, photos_of
from mcad_mobile.embed.shard import (
    SCHEMA,
    Note,
    ShardFacts,
    embed_shard,
    left_out_bytes,
    shard_bytes,
)
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.index.moments import moment_path
from mcad_mobile.engine.photos.video import choose_moments, key_frames, video_behind
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.ladder import load_rung, rungs_of
from mcad_mobile.errors import McadError, MissingExtra, PhotoError, ShardError

_DEATHS = 2  # over the same photo, until it is left out; the first may be chance
_IDLE_DEATHS = 3  # with no photo in hand
_SILENT_S = 900.0  # no photo takes longer
_STOP_S = 30.0
# -P: do not import a queue.py from the user's folder.
_WORKER = (sys.executable, "-P", "-m", "mcad_mobile.embed.worker")


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


Decoded = list[tuple[int | None, NDArray[np.float32]]]  # a frame's ms, or None; pixels [3, S, S]


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

    def prepare(self, photo: bytes | VideoFile, key: str) -> Decoded:
        """Decode a photo, or a video's key frames; of a motion photo both."""
        if isinstance(photo, VideoFile):
            return self._frames(photo.path)
        if is_video(key):
            with self._stored(photo) as path:
                return self._frames(path)
        decoded: Decoded = [(None, self._preprocess.decoded(photo, key))]
        if start := video_behind(photo):
            with suppress(PhotoError, MissingExtra), self._stored(photo) as path:
                decoded += self._frames(path, start)
        return decoded

    def rows(self, prepared: Decoded, key: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
        # Towers are exported for one photo, as phones use them.
        embeddings = [normalize(self._tower({"pixels": pixels[None]}))[0] for _, pixels in prepared]
        times = [at for at, _ in prepared]
        for chosen in choose_moments([at or 0 for at in times], np.array(embeddings)):
            at = times[chosen]
            yield key if at is None else moment_path(key, at), embeddings[chosen]

    def _frames(self, path: str, start: int = 0) -> Decoded:
        least = self._preprocess.resize_to or self._preprocess.size
        return [
            (frame.milliseconds, self._preprocess.pixels(frame.image))
            for frame in key_frames(path, least, start=start)
        ]

    @staticmethod
    @contextmanager
    def _stored(video: bytes) -> Iterator[str]:
        """What came from a store or an archive, as a file: it is decoded by another process."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(video)
            file.flush()
            yield file.name


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


class GuardedWorker:
    """Writes shards in a process that may die. Its piece then starts anew, and the
    photos that it held are handled one at a time; one over which two processes died is left out."""

    def __init__(
        self, setup: Setup, command: Sequence[str] = _WORKER, silent_s: float = _SILENT_S
    ) -> None:
        """`silent_s`: a process without a message for so long is ended."""
        self._setup = setup
        self._command = command
        self.silent_s = silent_s
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[bytes, bytes]
        self._exit = ""
        self._stopped = False

    def __call__(self, piece: Piece, photo_done: Callable[[], None] = lambda: None) -> ShardRecord:
        """Embed a piece into a shard, and call `photo_done` after each photo. McadError from the
        worker; ShardError if processes die and no photo is to blame."""
        deaths: Counter[int] = Counter()
        idle = 0
        while True:
            excluded = frozenset(number for number, count in deaths.items() if count >= _DEATHS)
            task = Task(piece, excluded, frozenset(deaths) - excluded)
            in_progress: set[int] = set()
            shard = self._try(task, in_progress, photo_done)
            if shard is not None:
                return shard
            deaths.update(in_progress)
            idle = 0 if in_progress else idle + 1
            if idle == _IDLE_DEATHS:
                raise ShardError(
                    f"A worker ended {_IDLE_DEATHS} times in a row between photos "
                    f"({self._exit}): its memory may be too small.",
                    "Use fewer --workers, or machines with more memory. Finished shards are kept.",
                )

    def stop(self) -> None:
        """End the process, and start no other. May be called on any thread."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        self._exit = f"exit code {process.wait(_STOP_S)}"
        assert process.stdin is not None
        process.stdin.close()
        self._connection.close()

    def _try(
        self, task: Task, in_progress: set[int], photo_done: Callable[[], None]
    ) -> ShardRecord | None:
        """Return the shard, or None if the process died, with the photos it held `in_progress`."""
        if self._stopped:
            return None
        message = self._ask(task) if self._process is not None else self._start(task)
        while message is not None:
            if isinstance(message, PhotoEvent) and message.event == "begun":
                in_progress.add(message.number)
            elif isinstance(message, PhotoEvent):
                in_progress.discard(message.number)
                photo_done()
            elif isinstance(message, Finished):
                return message.shard
            elif isinstance(message, Failed):
                raise message.error()
            message = self._ask()
        return None

    def _start(self, task: Task) -> Message | None:
        """Start a process, and return its first message about `task`, as `_ask` does."""
        self._connection, its = Pipe()
        with its:
            self._process = subprocess.Popen(
                [*self._command, str(its.fileno())],
                stdin=subprocess.PIPE,
                stdout=STDERR,  # what native libraries print is no result
                pass_fds=[its.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent process
            )
        message = self._ask(self._setup)
        if isinstance(message, Failed):
            self._end()
        return self._ask(task) if isinstance(message, Ready) else message

    def _ask(self, question: Setup | Task | None = None) -> Message | None:
        """Send a question, if any, and return the next message; None if the process has died, or is
        silent for too long."""
        try:
            if question is not None:
                self._connection.send_bytes(msgspec.json.encode(question))
            if self._connection.poll(self.silent_s):
                message: Message = msgspec.json.decode(self._connection.recv_bytes(), type=Message)
                return message
        except (OSError, EOFError):
            pass
        self._end()
        return None


def main(descriptor: int) -> None:
    threading.Thread(target=_end_with_input, daemon=True).start()
    connection: Connection[bytes, bytes] = Connection(descriptor)

    def send(message: Message) -> None:
        connection.send_bytes(msgspec.json.encode(message))

    try:
        setup = msgspec.json.decode(connection.recv_bytes(), type=Setup)
        job = setup.job
        model = BundleModel(
            Path(setup.bundle), job.runtime, job.precision, setup.threads, gpu=setup.gpu
        )
    except McadError as error:
        send(Failed.of(error))
        return
    send(Ready())
    while True:
        task = msgspec.json.decode(connection.recv_bytes(), type=Task)
        try:
            shard = write_shard(setup, model, task, lambda *event: send(PhotoEvent(*event)))
        except McadError as error:
            send(Failed.of(error))
        else:
            send(Finished(shard))


def _end_with_input() -> None:
    """End this process when its input does: as soon as the process that started it is gone."""
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    with suppress(EOFError, BrokenPipeError):  # the process that started it is gone
        main(int(sys.argv[1]))
