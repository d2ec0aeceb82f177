"""A worker whose process may die: what it had in hand is known, and tried again."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import msgspec

from mcad_mobile import errors
from mcad_mobile.embed.job import Done
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Failed, Finished, Ready, Said, Setup, Task, Told
from mcad_mobile.errors import McadError, ShardError

_DEATHS = 2  # of which the first may be chance
_IDLE_DEATHS = 3  # with no photo in hand
_SILENT_S = 900.0  # a photo that takes longer never ends
_STOP_S = 30.0


class Guarded:
    """Writes shards in a process of its own (child.py), and survives it.

    A process that ends takes no shard with it: the piece is begun anew, and the photos that it had
    in hand are then handled one at a time. A photo over which two processes ended is left out.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._told: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener: threading.Thread
        self._how = ""
        self._stopped = False

    def __call__(self, piece: Piece, photo_done: Callable[[int], None] = lambda n: None) -> Done:
        """The shard of a piece; `photo_done` hears how many photos of it are done with. McadError,
        as the process met it; ShardError if processes end and no photo is to blame."""
        over: Counter[int] = Counter()
        idle = 0
        while True:
            without = frozenset(number for number, deaths in over.items() if deaths >= _DEATHS)
            task = Task(piece, without, frozenset(over) - without)
            in_hand: set[int] = set()
            done = self._try(task, in_hand, photo_done)
            if done is not None:
                return done
            over.update(in_hand)
            idle = 0 if in_hand else idle + 1
            if idle == _IDLE_DEATHS:
                raise ShardError(
                    f"A worker ended {_IDLE_DEATHS} times in a row with no photo in hand "
                    f"({self._how}): its memory may be too small.",
                    "Use fewer --workers, or machines with more memory; what is done is kept.",
                )

    def stop(self) -> None:
        """End the process, whatever it does, and begin none any more. From any thread."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        self._how = f"exit code {process.wait(_STOP_S)}"
        self._listener.join(_STOP_S)  # its pipe has ended
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _try(self, task: Task, in_hand: set[int], photo_done: Callable[[int], None]) -> Done | None:
        """The shard, or None if the process ended, with `in_hand` as it was then."""
        if not (self._started() and self._send(task)):
            return None
        finished = 0
        while (told := self._next()) is not None:
            if isinstance(told, Said) and told.what == "begun":
                in_hand.add(told.number)
            elif isinstance(told, Said):
                in_hand.discard(told.number)
                finished += 1
                photo_done(finished)
            elif isinstance(told, Finished):
                return told.done
            elif isinstance(told, Failed):
                raise _error(told)
        return None

    def _started(self) -> bool:
        if self._process is not None or self._stopped:
            return not self._stopped
        self._told = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mcad_mobile.embed.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for whoever started it all
        )
        self._listener = threading.Thread(
            target=_listen, args=(self._process, self._told), daemon=True
        )
        self._listener.start()
        if not self._send(self._setup):
            return False
        told = self._next()
        if isinstance(told, Failed):
            self._end()
            raise _error(told)
        return isinstance(told, Ready)

    def _send(self, message: Setup | Task) -> bool:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._end()
            return False
        return True

    def _next(self) -> Told | None:
        """What the process says next; None once it has ended, or said nothing for too long."""
        try:
            line = self._told.get(timeout=_SILENT_S)
        except queue.Empty:
            line = b""
        if not line.endswith(b"\n"):  # its end, perhaps in the middle of a line
            self._end()
            return None
        told: Told = msgspec.json.decode(line, type=Told)
        return told


def _listen(process: subprocess.Popen[bytes], told: queue.SimpleQueue[bytes]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            told.put(line)
    except (OSError, ValueError):  # closed meanwhile
        pass
    told.put(b"")


def _error(failed: Failed) -> McadError:
    kind = getattr(errors, failed.kind, McadError)
    return kind(failed.what, failed.hint) if issubclass(kind, McadError) else McadError(failed.what)
