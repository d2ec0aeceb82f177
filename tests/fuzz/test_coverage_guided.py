"""What others wrote is read or refused, whatever it is: some hundreds of inputs of each kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.fuzz import KINDS
from tests.fuzz.compiled import clang, kernels_by_chance


@pytest.mark.long
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_kernels_keep_to_their_memory_and_give_it_back(tmp_path: Path) -> None:
    outcomes = kernels_by_chance(tmp_path, 3000)
    assert sum(outcomes.values()) == 3000
    assert {"tune: tuned", "words: no memory", "words: read", "places: found"} < {*outcomes}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_input_that_reaches_new_code_ends_in_a_crash(kind: str, tmp_path: Path) -> None:
    if kind == "kernels in C" and clang() is None:
        pytest.skip("clang is not installed")
    if kind not in ("kernels in C", "readers in Java"):
        pytest.importorskip("atheris")
    outcomes = KINDS[kind](tmp_path, 300)
    assert sum(outcomes.values()) == 300
    assert len(outcomes) > 1  # what is read, and what is refused
