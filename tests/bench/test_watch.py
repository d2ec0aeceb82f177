"""The process that is measured: its memory, its steps, and how it ends."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcad_mobile.base.machine import Memory
from mcad_mobile.bench import watch
from mcad_mobile.errors import BenchError, MemoryUnavailable


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_crash_is_reported_with_its_last_lines() -> None:
    # In two parts: from Python 3.13 on, a traceback shows the line of -c that raised.
    code = "import sys; print('step:', 'one', file=sys.stderr); raise ValueError('out of luck')"
    with pytest.raises(BenchError, match="code 1") as caught:
        watch.watch(python(code), timeout_s=30)
    assert "code 1 during `one`; its last lines:\nTraceback" in str(caught.value)
    assert "ValueError: out of luck" in str(caught.value)
    assert "step: one" not in str(caught.value)


def test_the_last_twelve_lines_of_many_are_shown() -> None:
    code = "import sys; [print(f'line {n:05d}', file=sys.stderr) for n in range(9000)]; sys.exit(3)"
    with pytest.raises(BenchError, match="code 3; its last lines") as caught:
        watch.watch(python(code), timeout_s=30)
    assert str(caught.value).splitlines()[1:-1] == [f"line {n:05d}" for n in range(8988, 9000)]


def test_a_killed_process_is_reported_with_its_signal() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(BenchError, match="code -9"):
        watch.watch(python(code), timeout_s=30)


def test_error_of_ours_keeps_its_hint() -> None:
    code = (
        """print('{"error": {"what": "No bundle.", "hint": "Export one."}}'); raise SystemExit(1)"""
    )
    with pytest.raises(BenchError, match=r"No bundle\.") as caught:
        watch.watch(python(code), timeout_s=30)
    assert caught.value.hint == "Export one."


def test_process_that_prints_no_document_is_an_error() -> None:
    with pytest.raises(BenchError, match="code 0"):
        watch.watch(python("print('hello')"), timeout_s=30)


def test_a_document_of_a_process_that_failed_does_not_count() -> None:
    with pytest.raises(BenchError, match="code 1"):
        watch.watch(python("print('{}'); raise SystemExit(1)"), timeout_s=30)


def test_process_that_does_not_end_is_ended() -> None:
    with pytest.raises(BenchError, match="did not end in time"):
        watch.watch(python("import time; time.sleep(600)"), timeout_s=0.05)


def test_a_process_is_sampled_rarely_only_while_it_is_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it announces may arrive in parts, between other lines."""
    told = tmp_path / "told"
    code = (
        "import os, sys, time\n"
        "for part in ('step: lo', 'ad\\nstep: timing\\n', 'noise\\nstep: after\\n'):\n"
        "    print(part, end='', file=sys.stderr, flush=True); time.sleep(0.03)\n"
        f"while not os.path.exists({str(told)!r}): pass\n"
        "print('{}')"
    )
    heard, slept = [], []

    def progress(step: str) -> None:
        heard.append(step)
        if step == "after":
            told.touch()

    def sleep(seconds: float) -> None:
        slept.append((seconds, heard[-1:] == ["timing"]))
        time.sleep(0.002)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(watch, "time", clock)
    watch.watch(python(code), timeout_s=30, progress=progress)
    assert heard == ["load", "timing", "after"]
    rarely, often = watch.SAMPLE_TIMING_S, watch.SAMPLE_S
    assert rarely > 10 * often
    assert {*slept} == {(often, False), (rarely, True)}


@pytest.mark.parametrize(
    "error", [ProcessLookupError("gone"), MemoryUnavailable("No such file.", "Use Linux.")]
)
def test_memory_that_cannot_be_read_is_no_sample(error: Exception) -> None:
    def sample(pid: int) -> Memory:
        raise error

    found = watch.watch(python("print('{}')"), timeout_s=30, sample=sample)
    assert (found.document, found.samples, found.peak) == ({}, 0, Memory(0, 0))


def test_peak_that_comes_and_goes_is_seen_from_outside() -> None:
    code = (
        "import sys, time\n"
        "data = bytearray(b'x') * (80 << 20)\n"
        "until = time.monotonic() + 0.3\n"
        "while time.monotonic() < until: pass\n"
        "del data\n"
        "print(sys.stdin.read())"
    )
    found = watch.watch(python(code), '{"given": 1}', timeout_s=30)
    assert found.document == {"given": 1}
    assert found.peak.pss > 80
    assert found.peak.rss >= found.peak.pss
