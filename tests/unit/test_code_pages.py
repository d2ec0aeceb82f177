"""A loaded tower holds no code that only loading runs, and works without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import make_tiny_bundle

from mcad_mobile.runtimes.code_pages import give_back_code
from mcad_mobile.runtimes.ladder import load_tested
from mcad_mobile.runtimes.load import load_rung

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux only")
_MIB = 1024


def test_a_loaded_tower_holds_no_code_that_only_loading_runs(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    rung = bundle.text.rungs[0]
    tower = load_rung(bundle, rung)
    assert resident_kib("onnxruntime") < 4 * _MIB
    assert load_tested(bundle, "text", rung).cosine > 0.999
    del tower


def test_other_libraries_keep_theirs() -> None:
    np.sort(np.random.default_rng(0).normal(size=1000))
    before = resident_kib("_multiarray_umath")
    give_back_code("onnxruntime")
    assert resident_kib("_multiarray_umath") >= before > 0


def resident_kib(library: str) -> int:
    """KiB of code of a library that this process has run and holds."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            counts = words[1] == "r-xp" and Path(words[-1]).name.startswith(library)
        elif counts and words[0] == "Rss:":
            found += int(words[1])
    return found
