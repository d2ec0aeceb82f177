"""Where the system is no Linux: what only Linux has is taken away, and the rest must run. It stands
in for a Mac, and is none: other libraries, another file system and another linker are not tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.mounts import run_on_disk
from tests.support.tiny_bundle import make_tiny_bundle

# The names that Python gives a Mac, and without what its os module lacks there (docs.python.org,
# "Availability: Linux"): for every process, as it starts.
SITE = """
import os, platform, sys, sysconfig
# urllib asks a Mac for its proxies as it is imported, by a module that only a Mac's Python has.
import urllib.request
for name in ("sched_getaffinity", "sched_setaffinity", "posix_fadvise", "memfd_create", "sendfile"):
    delattr(os, name)
sysconfig.get_config_vars()  # a file of this interpreter's, by the system's name
platform.system, platform.machine = "Darwin".format, "arm64".format
platform.release = "24.6.0".format
platform.freedesktop_os_release = lambda: open("/etc/there-is-none")
sys.platform = "darwin"
"""
NO_PROC = "mount -t tmpfs none /proc && mount -t tmpfs none /sys"


def run(folder: Path, *arguments: object) -> str:
    first = f"{NO_PROC} && export PYTHONPATH=$PYTHONPATH:{folder}/site"
    command = ("-m", "mcad_mobile", *arguments)
    done = run_on_disk(folder / "disk", "size=64m", *command, first=first)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a bundle, and an index of two photos that the command has made there."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "disk").mkdir()
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    make_tiny_bundle(folder / "bundle")
    (folder / "photos").mkdir()
    for photo in packaged_photos()[:2]:
        (folder / "photos" / photo.name).write_bytes(photo.read_bytes())
    at = ("-b", folder / "bundle", "--index", folder / "index")
    printed = run(folder, "index", folder / "photos", *at, "--json")
    assert json.loads(printed)["added"] == 2
    return folder


def test_search_finds_what_index_has_put_there(place: Path) -> None:
    at = ("-b", place / "bundle", "--index", place / "index")
    printed = run(place, "search", "a dog", *at, "-k", "2", "--json")
    found = {Path(result["path"]).name for result in json.loads(printed)["results"]}
    assert found == {photo.name for photo in packaged_photos()[:2]}


def test_doctor_says_what_is_made_for_linux_alone(place: Path) -> None:
    printed = run(place, "doctor", "--json")
    findings = {finding["tool"]: finding for finding in json.loads(printed)}
    assert {findings[verb]["version"] for verb in ("index", "search, bench")} == {"works"}
    assert "only where platform_system ==" in findings["onnxruntime-qnn"]["how_to_get"]


def test_bench_takes_times_and_says_that_memory_is_not_told_there(place: Path) -> None:
    at = ("-b", place / "bundle", "--index", place / "index")
    printed = run(place, "bench", *at, "--searches", "5", "--json")
    document = json.loads(printed)
    assert document["device"]["os"] == "Darwin"
    assert document["latency_ms"]["total"]["p50"] > 0
    assert document["conditions"]["pinned_cores"] == []
    memory = document["memory_mib"]
    assert [memory["peak_pss"], memory["steps"], memory["samples"]] == [None, [], 0]
    assert document["targets"]["memory"]["pass"] is None
    assert not any("PSS" in line for line in document["measured"])
    assert any(line.startswith("Memory: ") for line in document["not_measured"])
    (place / "bench.json").write_text(printed)
    shown = run(place, "report", place / "bench.json")
    assert "| Memory, peak PSS | 100 MiB | not measured | not measured |" in shown
