"""The token table: rows come back as a student has them, from a file that is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.errors import BundleError
from mcad_mobile.text.rows import TokenTable, write_token_table


def test_rows_come_back_to_16_bits_of_their_own_largest(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)
    table *= np.logspace(-4, 4, 50, dtype=np.float32)[:, None]
    table[7] = 0
    write_token_table(tmp_path / "table", table)
    ids = np.array([[3, 7], [49, 0]], np.int32)
    rows = TokenTable(tmp_path / "table", 50, 12)(ids)
    assert rows.shape == (2, 2, 12)
    assert rows.dtype == np.float32
    largest = np.abs(table[ids]).max(-1, keepdims=True)
    # Half a step, and the last bits of a float: 8 bits would be off a hundred times as much.
    assert (np.abs(rows - table[ids]) <= largest * 0.51 / 32767).all()


@pytest.mark.parametrize(("tokens", "width"), [(49, 12), (50, 11)])
def test_a_table_of_another_size_is_refused(tmp_path: Path, tokens: int, width: int) -> None:
    write_token_table(tmp_path / "table", np.ones((50, 12), np.float32))
    with pytest.raises(BundleError, match=r"bytes, not the .*(?s:.)*[Ee]xport the bundle again"):
        TokenTable(tmp_path / "table", tokens, width)
