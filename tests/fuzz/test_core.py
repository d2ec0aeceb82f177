"""The index in C keeps to its memory, loses none and does what it says, whatever files hold, in
whatever order it is called, and in any number of threads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fuzz import core

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]
_REACHED = {
    "segment": {"MCAD_DONE", "MCAD_PATH", "MCAD_GAP", "MCAD_CUT_OFF", "MCAD_CELL_STARTS"},
    "words": {"MCAD_DONE", "MCAD_WORDS_TEXTS", "MCAD_WORDS_DICTIONARY", "MCAD_WORDS_CRC"},
    "places": {"0", "5"},
    "calls": {"0"},
    "kernels": {"0", "20"},
}
_RUNS = {"segment": 2000, "words": 2000, "places": 20_000, "calls": 150, "kernels": 150}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return core.build_by_chance(tmp_path_factory.mktemp("chance"))


@pytest.mark.parametrize("target", core.TARGETS)
def test_no_input_ends_in_a_fault(target: str, program: Path) -> None:
    outcomes = core.run_by_chance(program, target, _RUNS[target])
    assert sum(outcomes.values()) == _RUNS[target]
    assert {*outcomes} >= _REACHED[target]


def test_threads_share_an_open_index(tmp_path: Path) -> None:
    watched = core.build_by_chance(tmp_path, "-fsanitize=thread")
    assert core.run_by_chance(watched, "threads", 20) == {"0": 20}


@pytest.mark.slow
def test_no_input_that_reaches_new_code_ends_in_a_fault(tmp_path: Path) -> None:
    if core.clang() is None:
        pytest.skip("clang is not installed: `scripts/setup-system.sh slow` installs it")
    found = core.run_guided(tmp_path, 120, [*core.TARGETS])
    for target in core.TARGETS:
        logged = (tmp_path / target / "log").read_text()
        assert not found[target]["crashes"] and found[target]["executions"] > 50, logged[-3000:]
