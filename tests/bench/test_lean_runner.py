"""The measured process imports the lower layers of this package, and nothing else of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import create_index
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.videos import make_video

LOWER_LAYERS = ("base", "data", "engine", "errors")
OWN = {"mcad_mobile", "mcad_mobile.bench", "mcad_mobile.bench.runner"}
PROGRAM = """
import json, sys
import mcad_mobile.bench.runner as runner

if sys.argv[1:]:
    assert runner.main() == 0
print(json.dumps([*sys.modules]), file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    return modules_and_result(*arguments)[0]


def modules_and_result(*arguments: str) -> tuple[set[str], Any]:
    """Return what a clean interpreter has imported after the runner ran with these arguments, and
    the document that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1])), json.loads(done.stdout or "{}")


def check_lean(modules: set[str]) -> None:
    ours = {name for name in modules if name.partition(".")[0] == "mcad_mobile"}
    assert {name for name in ours - OWN if name.split(".")[1] not in LOWER_LAYERS} == set()
    assert modules & {"torch", "onnx", "av"} == set()


def test_the_runner_imports_the_lower_layers_alone() -> None:
    check_lean(modules_after())


@pytest.mark.parametrize("mode", ["check", "search", "index"])
def test_a_measurement_imports_the_lower_layers_alone(mode: str, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    index = tmp_path / "index"
    create_index(bundle, index).close()
    spec: dict[str, Any] = {"mode": mode, "bundle": str(bundle.directory), "threads": 1}
    spec["rungs"] = {"image": [0], "text": [0]}
    spec |= {"rung": {"text": 0}, "index": str(index), "queries": ["a dog"], "k": 3}
    spec |= {"memory_searches": 1, "searches": 1, "scratch": str(tmp_path)}
    if mode == "index":
        spec["rung"] = {"image": 0}
        spec["photos"] = [str(packaged_photos()[0])]
        spec["videos"] = [str(make_video(tmp_path / "clip.mp4", [(220, 20, 20)]))]
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec), "utf-8")
    modules, found = modules_and_result(str(file))
    check_lean(modules)
    assert (found.get("frames_per_s", 0) > 0) == (mode == "index")
