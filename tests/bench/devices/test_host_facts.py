"""Facts about this machine that measurements depend on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mcad_mobile.bench.devices.host_facts import device_facts
from tests.support.mounts import run_on_disk


def test_device_facts_say_what_the_numbers_depend_on() -> None:
    facts = device_facts()
    assert facts["kind"] == "host"
    assert facts["cores"] == os.cpu_count()
    assert all(facts[name] for name in ("cpu", "arch", "os", "kernel", "python", "memory_mib"))


def test_facts_without_proc() -> None:
    """As on macOS: an empty folder is mounted over it."""
    code = (
        "import json; from mcad_mobile.base.machine import core_wait_s; "
        "from mcad_mobile.bench.devices.host_facts import device_facts; "
        "print(json.dumps([device_facts(), core_wait_s()]))"
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
    facts = device_facts()
    assert (facts["load_average_1m"], facts["memory_mib"]) == (None, None)
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.setattr(os, "sysconf", lambda _: -1)
    facts = device_facts()
    assert (facts["load_average_1m"], facts["memory_mib"]) == (None, None)


def test_memory_is_in_mib_and_the_load_is_that_of_the_last_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"SC_PHYS_PAGES": 256 * 2000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.126, 5.0, 9.0))
    facts = device_facts()
    assert (facts["memory_mib"], facts["load_average_1m"]) == (2000, 0.13)
