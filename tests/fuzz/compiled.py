"""Runs of inputs that reach new code: for Python by atheris (coverage_guided.py), for the index in
C by libFuzzer (core.py), for the app's readers by Jazzer (Readers.java)."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.downloads import Artifact, Download, fetch
from mcad_mobile.android.toolchain import JAVA, compile_java, executable, main_sources
from mcad_mobile.engine.native import LIBRARY
from tests.fuzz.core import GOLDEN, HERE, measure
from tests.support.tiny_bundle import make_tiny_bundle

_LIMITS = ("-seed=1", "-max_len=100000", "-len_control=0", "-timeout=25", "-rss_limit_mb=2048")
_JAZZER = Download(
    "jazzer-0.24.0.jar",
    "0.24.0",
    "5b04a75bfd3dedd1ef38366561d0182e6cfb9bf4aed2dd3dc811fa6922ddc8bb",
    "fuzzing the app's readers",
    Artifact("com.code-intelligence", "jazzer", "0.24.0"),
)
_JAZZER_API = Download(
    "jazzer-api-0.24.0.jar",
    "0.24.0",
    "71f8492434a612bb4d6be26b1fcd408d284204637df8dd5570805fca48968da4",
    "fuzzing the app's readers",
    Artifact("com.code-intelligence", "jazzer-api", "0.24.0"),
)


def python(kind: str, work: Path, runs: int) -> dict[str, int]:
    """Return the number of inputs by outcome. AssertionError: one ended the run."""
    counts = work / "counts.json"
    module = [sys.executable, "-m", "tests.fuzz.coverage_guided", kind, str(runs), str(counts)]
    _run(module, work, PYTHONPATH=str(HERE.parents[1]))
    found = json.loads(counts.read_text())
    return {outcome: n for outcome, n in found.items() if outcome not in ("kind", "inputs")}


kernels = measure


def readers(work: Path, runs: int) -> dict[str, int]:
    """As `python`."""
    shutil.copytree(GOLDEN, work / "index")
    bundle = make_tiny_bundle(work / "bundle")
    corpus = work / "corpus"
    corpus.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    exif.get_ifd(0x8825).update({1: "N", 2: (38.0, 43.0, 1.0), 3: "W", 4: (9.0, 8.0, 2.0)})
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        photo = io.BytesIO()
        Image.effect_noise((40, 30), 60).convert("RGB").save(photo, kind, exif=exif.tobytes())
        (corpus / kind).write_bytes(b"\0" + photo.getvalue())
    manifest = work / "index" / "manifest.json"
    files = (manifest, bundle.directory / "bundle.json")
    for number, file in enumerate((*files, bundle.path(bundle.tokenizer_file)), 1):
        (corpus / file.name).write_bytes(bytes([number]) + file.read_bytes())
    jars = [*jvm_libraries(), fetch(_JAZZER), fetch(_JAZZER_API)]
    classes = compile_java([main_sources("engine"), HERE], jars, work / "classes")
    command = [
        executable(JAVA),
        f"-Dmcad.search.library={LIBRARY}",
        f"-Dreaders={work}",
        "-Xmx512m",
        "-cp",
    ]
    command += [":".join(map(str, [classes, *jars])), "com.code_intelligence.jazzer.Jazzer"]
    command += ["--target_class=Readers", "--instrumentation_includes=io.github.mcadmobile.**"]
    _run([*command, f"-runs={runs}", *_LIMITS, str(corpus)], work)
    found: dict[str, int] = json.loads((work / "counts.json").read_text())
    return found


def _run(command: list[str], folder: Path, **more: str) -> None:
    env = {**os.environ, **more}
    done = subprocess.run(
        command, cwd=folder, env=env, check=False, capture_output=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
