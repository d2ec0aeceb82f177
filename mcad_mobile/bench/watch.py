"""Run a process, sample its memory from outside, and read the document that it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from mcad_mobile.base.documents import ReportedError, convert
from mcad_mobile.base.machine import Memory, process_memory
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.runner import STEP
from mcad_mobile.errors import BenchError, MemoryUnavailable, RunnerCrashed

# Reading a process's memory map holds one of its locks. So it is sampled often while it loads, when
# peaks are short, and rarely while it is timed.
SAMPLE_S = 0.005
SAMPLE_TIMING_S = 0.1
MOST_BYTES = 64 * 2**20  # of a process's output: its document takes a few MiB
_TAIL_LINES, _LONGEST_LINE = 12, 65536
_SAME_VERSION = "Use a runner and a mcad-mobile of the same version."


@dataclass(frozen=True)
class Watched:
    """The document that a process printed, and the highest of its memory samples, MiB."""

    document: dict[str, Any]
    peak: Memory
    samples: int


def watch(
    command: Sequence[str],
    document: str = "",
    *,
    timeout_s: float,
    sample: Callable[[int], Memory] = process_memory,
    progress: Progress = silent,
    environment: Mapping[str, str] | None = None,
) -> Watched:
    """Run `command` with `document` on its standard input, and wait for its document.

    `sample` returns the memory of a process id, or raises ProcessLookupError or MemoryUnavailable.
    `progress` is called with each step that the process announces on standard error. BenchError:
    the process reports an error, runs too long or prints too much. RunnerCrashed: it ends without
    a document.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stdin,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        stdin.write(document)
        stdin.seek(0)
        with subprocess.Popen(
            command, stdin=stdin, stdout=out, stderr=err, env=environment, start_new_session=True
        ) as process:
            try:
                peak, samples = _sample(process, out, err, timeout_s, sample, progress)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with the processes it started
        out.seek(0)
        return Watched(_read_document(out.read(), process.returncode, err), peak, samples)


def _sample(
    process: subprocess.Popen[bytes],
    out: IO[bytes],
    err: IO[bytes],
    timeout_s: float,
    sample: Callable[[int], Memory],
    progress: Progress,
) -> tuple[Memory, int]:
    """Return the highest samples until the process ends, and their number. BenchError: it runs too
    long, or prints too much."""
    interval, seen, pss, rss, samples = SAMPLE_S, 0, 0.0, 0.0, 0
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        _refuse_flood(out, err)
        try:
            now = sample(process.pid)
        except (ProcessLookupError, MemoryUnavailable):
            pass
        else:
            pss, rss, samples = max(pss, now.pss), max(rss, now.rss), samples + 1
        # The child shares the file's offset, so read by position.
        new = os.pread(err.fileno(), _LONGEST_LINE, seen)
        complete = new if len(new) == _LONGEST_LINE else new[: new.rfind(b"\n") + 1]
        seen += len(complete)
        for line in complete.decode("utf-8", "replace").splitlines():
            if line.startswith(STEP):
                progress(line.removeprefix(STEP))
                interval = SAMPLE_TIMING_S if line == f"{STEP}timing" else SAMPLE_S
        if time.monotonic() > deadline:
            raise BenchError(
                f"The measurement did not end in time; its last lines:\n{_tail(err)}",
                "Measure fewer searches, or an index of fewer photos.",
            )
        time.sleep(interval)
    _refuse_flood(out, err)
    return Memory(pss, rss), samples


def _refuse_flood(out: IO[bytes], err: IO[bytes]) -> None:
    if max(os.fstat(file.fileno()).st_size for file in (out, err)) > MOST_BYTES:
        raise BenchError(
            f"The measured process printed more than {MOST_BYTES >> 20} MiB, and was ended; its "
            f"last lines:\n{_tail(err)}",
            _SAME_VERSION,
        )


def _read_document(printed: bytes, returncode: int, err: IO[bytes]) -> dict[str, Any]:
    """Decode a runner's standard output. BenchError: it holds the runner's own error;
    RunnerCrashed: it holds no document."""
    reason = "its standard output is no JSON object"
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError) as error:
        found, reason = None, f"its standard output is no JSON in UTF-8: {error}"
    if isinstance(found, dict) and "error" in found:
        reported = convert(
            found["error"], ReportedError, "The runner's error", BenchError, _SAME_VERSION
        )
        raise reported.error(BenchError)
    if returncode != 0 or not isinstance(found, dict):
        steps = [line.removeprefix(STEP) for line in _lines(err) if line.startswith(STEP)]
        why = f"\n{reason}" if returncode == 0 else ""
        raise RunnerCrashed(returncode, steps[-1] if steps else "", _tail(err) + why)
    return found


def _tail(err: IO[bytes]) -> str:
    lines = [line for line in _lines(err) if not line.startswith(STEP)]
    return "\n".join(lines[-_TAIL_LINES:]) or "(nothing on standard error)"


def _lines(err: IO[bytes]) -> list[str]:
    """The last lines on standard error."""
    size = os.fstat(err.fileno()).st_size
    last = os.pread(err.fileno(), _LONGEST_LINE, max(0, size - _LONGEST_LINE))
    return last.decode("utf-8", "replace").splitlines()
