"""Facts about this machine that measurements depend on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mcad_mobile.base.machine import device_facts
from tests.support.mounts import run_on_disk


def test_device_facts_say_what_the_numbers_depend_on() -> None:
    facts = device_facts()
    assert facts["kind"] == "host"
    pages, size = (os.sysconf(f"SC_{name}") for name in ("PHYS_PAGES", "PAGE_SIZE"))
    assert facts["memory_mib"] == pages * size >> 20
    assert facts["load_average_1m"] == pytest.approx(os.getloadavg()[0], abs=0.5)
    assert facts["load_average_1m"] == round(facts["load_average_1m"], 2)
    assert facts["cores"] == os.cpu_count()
    assert all(facts[name] for name in ("cpu", "arch", "os", "kernel", "python", "memory_mib"))


def test_facts_without_proc() -> None:
    """As on macOS: an empty folder is mounted over it."""
    code = (
        "import json; from mcad_mobile.base.machine import core_wait_s; "
        "from mcad_mobile.base.machine import device_facts; "
        "print(json.dumps([device_facts(), core_wait_s()]))"
    )
    done = run_on_disk(Path("/proc"), "size=64k", "-c", code)
    facts, waited = json.loads(done.stdout)
    assert waited is None
    assert facts["cpu"] not in ("", "unknown")
    assert facts["instruction_sets"] == []


def test_memory_that_the_system_does_not_report_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load averages come from /proc in some C libraries, and have no place in others."""

    def fails(*_: object) -> int:
        raise OSError("It is unobtainable.")

    monkeypatch.setattr(os, "getloadavg", fails)
    for sysconf in (fails, lambda _: -1):
        monkeypatch.setattr(os, "sysconf", sysconf)
        facts = device_facts()
        assert (facts["load_average_1m"], facts["memory_mib"]) == (None, None)
        monkeypatch.delattr(os, "getloadavg", raising=False)
