"""Memory, percentiles and machine facts, and the process that they are measured in."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mcad_mobile.base.machine import Memory
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench import measure, watch
from mcad_mobile.errors import BenchError, MemoryUnavailable
from tests.support.mounts import run_on_disk


@pytest.mark.parametrize("count", [1, 2, 3, 10, 199, 200])
def test_percentiles_are_numpys(count: int) -> None:
    values = np.random.default_rng(count).exponential(size=count).tolist()
    found = measure.percentiles(values)
    expected = np.percentile(values, [50, 90, 99])
    assert list(found) == ["p50", "p90", "p99"]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)


def test_percentiles_of_nothing_are_an_error() -> None:
    with pytest.raises(BenchError, match=r"(?s)no measurements.*Report this"):
        measure.percentiles([])


def test_device_facts_say_what_the_numbers_depend_on() -> None:
    facts = measure.device_facts()
    assert facts["kind"] == "host"
    assert facts["cores"] == os.cpu_count()
    assert all(facts[name] for name in ("cpu", "arch", "os", "kernel", "python", "memory_mib"))


def test_versions_name_only_what_is_installed() -> None:
    versions = tool_versions(["numpy", "no-such-package"])
    assert versions["numpy"] == np.__version__
    assert "mcad-mobile" in versions
    assert "no-such-package" not in versions


def test_facts_without_proc() -> None:
    """As on macOS: an empty folder is mounted over it."""
    code = (
        "import json; from mcad_mobile.base.machine import core_wait_s; "
        "from mcad_mobile.bench import measure; "
        "print(json.dumps([measure.device_facts(), core_wait_s()]))"
    )
    done = run_on_disk(Path("/proc"), "size=64k", "-c", code)
    facts, waited = json.loads(done.stdout)
    assert waited is None
    assert facts["cpu"] not in ("", "unknown")
    assert facts["instruction_sets"] == []


def test_facts_that_the_system_does_not_report_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load averages come from /proc in some C libraries, and have no place in others."""

    def fails(*_: object) -> float:
        raise OSError("Load averages are unobtainable")

    monkeypatch.setattr(os, "getloadavg", fails)
    monkeypatch.setattr(os, "sysconf", fails)
    facts = measure.device_facts()
    assert (facts["load_average_1m"], facts["memory_mib"]) == (None, None)
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.setattr(os, "sysconf", lambda _: -1)
    facts = measure.device_facts()
    assert (facts["load_average_1m"], facts["memory_mib"]) == (None, None)


def test_memory_is_in_mib_and_the_load_is_that_of_the_last_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"SC_PHYS_PAGES": 256 * 2000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.126, 5.0, 9.0))
    facts = measure.device_facts()
    assert (facts["memory_mib"], facts["load_average_1m"]) == (2000, 0.13)


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
