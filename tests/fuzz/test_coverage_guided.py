"""What others wrote is read or refused, whatever it is: some hundreds of inputs of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz import KINDS


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_input_that_reaches_new_code_ends_in_a_crash(kind: str, tmp_path: Path) -> None:
    if kind != "readers in Java":
        pytest.importorskip("atheris")
    outcomes = KINDS[kind](tmp_path, 300)
    assert sum(outcomes.values()) == 300
    assert len(outcomes) > 1  # what is read, and what is refused
