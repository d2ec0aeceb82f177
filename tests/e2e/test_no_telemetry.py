"""Nothing leaves this computer: ONNX Runtime's telemetry is off in every process that we start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("private")
    make_tiny_bundle(folder / "bundle")
    (folder / "photos").mkdir()
    for photo in packaged_photos()[:2]:
        shutil.copy(photo, folder / "photos")
    return folder


def run(folder: Path, *command: str) -> tuple[list[str], list[Path]]:
    """Run a command; return its connections to other computers or to name servers, as strace sees
    them, and what it leaves in the home folder of its user."""
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    # ONNX Runtime reports nothing where CI is set, and would hide the fault.
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "XDG_CACHE_HOME")}
    kept.pop("ORT_DISABLE_TELEMETRY", None)
    trace = folder / "trace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", trace, *command],
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = [
        line for line in trace.read_text().splitlines() if "sin_addr" in line or "sin6" in line
    ]
    return calls, [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace (setup-system.sh tests)")
@pytest.mark.parametrize(
    "verb",
    [
        ("index", "photos"),
        ("search", "a dog"),
        ("bench", "--synthetic", "1000"),
        ("doctor",),
    ],
    ids=lambda verb: verb[0],
)
def test_a_verb_asks_no_other_computer_and_leaves_no_events(folder, verb):
    name, *arguments = [str(folder / word) if word == "photos" else word for word in verb]
    bundle = ["--bundle", str(folder / "bundle")] if name != "doctor" else []
    if name == "search":
        run(folder, sys.executable, "-m", "mcad_mobile", "index", str(folder / "photos"), *bundle)
    command = [sys.executable, "-m", "mcad_mobile", name, *arguments, *bundle]
    calls, files = run(folder, *command)
    assert calls == []
    assert [path for path in files if "Microsoft" in path.parts or "onnxruntime" in path.name] == []
