"""Nothing leaves this computer: ONNX Runtime's telemetry is off in every process that we start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import SearchEngine, create_index, open_index
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("private")
    bundle = make_tiny_bundle(folder / "bundle")
    (folder / "photos").mkdir()
    for photo in packaged_photos()[:2]:
        shutil.copy(photo, folder / "photos")
    older = replace(bundle, student=replace(bundle.student, name="older", image_sha256="1" * 64))
    SearchEngine(older).index_folder(create_index(older, folder / "old"), folder / "photos")
    SearchEngine(bundle).index_folder(open_index(bundle, create=True), folder / "photos")
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
    assert done.returncode in (0, 130), done.stderr
    calls = [
        line for line in trace.read_text().splitlines() if "sin_addr" in line or "sin6" in line
    ]
    return calls, [path for path in home.rglob("*") if path.is_file()]


# Every verb that loads ONNX Runtime.
_VERBS = [
    "index PHOTOS --bundle BUNDLE",
    "search a dog --bundle BUNDLE",
    "embed PHOTOS --bundle BUNDLE --out SHARDS --workers 2",
]
_SLOW_VERBS = [
    "bench --synthetic 1000 --searches 20 --bundle BUNDLE",
    "serve --bundle BUNDLE --photos PHOTOS --port 0",
    "index --from OLD --bundle BUNDLE --index NEW",
    "search --like PHOTO --bundle BUNDLE",
    "doctor --bundle BUNDLE",
    "eval --data PAIRS --split val --bundle BUNDLE",
    "export --target cpu --out EXPORTED",
    "distill --smoke --out STUDENT --cache CACHE",
    "demo --target cpu --out DEMO",
]


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace (setup-system.sh tests)")
@pytest.mark.parametrize(
    "verb", [*_VERBS, *(pytest.param(verb, marks=pytest.mark.slow) for verb in _SLOW_VERBS)]
)
def test_a_verb_asks_no_other_computer_and_leaves_no_events(
    folder: Path, packaged_pairs: Path, verb: str
) -> None:
    names = ("BUNDLE", "OLD", "NEW", "SHARDS", "EXPORTED", "STUDENT", "CACHE", "DEMO", "PHOTOS")
    places = {name: str(folder / name.lower()) for name in names}
    places |= {"PAIRS": str(packaged_pairs), "PHOTO": str(packaged_photos()[2])}
    command = [places.get(word, word) for word in verb.split()]
    # A server is interrupted once it has indexed two photos.
    start = ["timeout", "--preserve-status", "-s", "INT", "10"] if verb[:5] == "serve" else []
    calls, files = run(folder, *start, sys.executable, "-m", "mcad_mobile", *command)
    assert calls == []
    assert [path for path in files if "Microsoft" in path.parts or "onnxruntime" in path.name] == []
