"""Run a worker in a process that may die; the photos that it held are known, and tried again."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from mcad_mobile.embed.job import ShardRecord
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Failed, Finished, Message, PhotoEvent, Ready, Setup, Task
from mcad_mobile.errors import ShardError

_DEATHS = 2  # over the same photo, until it is left out; the first may be chance
_IDLE_DEATHS = 3  # with no photo in hand
_SILENT_S = 900.0  # no photo takes longer
_STOP_S = 30.0
# -P: do not import a queue.py from the user's folder.
_WORKER = (sys.executable, "-P", "-m", "mcad_mobile.embed.worker")


class GuardedWorker:
    """Writes shards in a process that may die (worker.py). Its piece then starts anew, and the
    photos that it held are handled one at a time; one over which two processes died is left out."""

    def __init__(
        self, setup: Setup, command: Sequence[str] = _WORKER, silent_s: float = _SILENT_S
    ) -> None:
        """`silent_s`: a process without a message for so long is ended."""
        self._setup = setup
        self._command = command
        self.silent_s = silent_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener: threading.Thread
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
        self._listener.join(_STOP_S)  # its pipe has ended
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _try(
        self, task: Task, in_progress: set[int], photo_done: Callable[[], None]
    ) -> ShardRecord | None:
        """Return the shard, or None if the process died, with the photos it held `in_progress`."""
        if not (self._start() and self._send(task)):
            return None
        while (message := self._next()) is not None:
            if isinstance(message, PhotoEvent) and message.event == "begun":
                in_progress.add(message.number)
            elif isinstance(message, PhotoEvent):
                in_progress.discard(message.number)
                photo_done()
            elif isinstance(message, Finished):
                return message.shard
            elif isinstance(message, Failed):
                raise message.error()
        return None

    def _start(self) -> bool:
        if self._process is not None or self._stopped:
            return not self._stopped
        self._lines = queue.SimpleQueue()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent process
        )
        self._listener = threading.Thread(
            target=_listen, args=(self._process, self._lines), daemon=True
        )
        self._listener.start()
        if not self._send(self._setup):
            return False
        message = self._next()
        if isinstance(message, Failed):
            self._end()
            raise message.error()
        return isinstance(message, Ready)

    def _send(self, message: Setup | Task) -> bool:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._end()
            return False
        return True

    def _next(self) -> Message | None:
        """The next message; None if the process has died, or is silent for too long."""
        try:
            line = self._lines.get(timeout=self.silent_s)
        except queue.Empty:
            line = b""
        if not line.endswith(b"\n"):  # the process died, perhaps in the middle of a line
            self._end()
            return None
        message: Message = msgspec.json.decode(line, type=Message)
        return message


def _listen(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(line)
    except (OSError, ValueError):  # closed meanwhile
        pass
    lines.put(b"")
