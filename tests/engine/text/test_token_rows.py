"""The token table: rows come back as a student has them, from a file that is checked."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.text.token_rows import TokenTable, write_token_table
from mcad_mobile.errors import BundleError


@pytest.mark.parametrize("bits", [4, 16])
def test_rows_come_back_to_the_bits_of_their_own_largest(tmp_path: Path, bits: int) -> None:
    table = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)
    table *= np.logspace(-4, 4, 50, dtype=np.float32)[:, None]
    table[7] = 0
    write_token_table(tmp_path / "table", table, bits)
    ids = np.array([[3, 7], [49, 0]], np.int32)
    rows = TokenTable(tmp_path / "table", 50, 12, bits)(ids)
    assert rows.shape == (2, 2, 12)
    assert rows.dtype == np.float32
    largest = np.abs(table[ids]).max(-1, keepdims=True)
    # Half a step, and the last bits of a float.
    assert (np.abs(rows - table[ids]) <= largest * 0.51 / (2 ** (bits - 1) - 1)).all()
    assert (tmp_path / "table").stat().st_size == 50 * (4 + 12 * bits // 8)
    none = TokenTable(tmp_path / "table", 50, 12, bits)(np.empty((0, 5), np.int32))
    assert none.shape == (0, 5, 12)


@pytest.mark.parametrize(("tokens", "width"), [(49, 12), (50, 11)])
def test_a_table_of_another_size_is_refused(tmp_path: Path, tokens: int, width: int) -> None:
    write_token_table(tmp_path / "table", np.ones((50, 12), np.float32), 16)
    with pytest.raises(BundleError, match=r"bytes, not the .*(?s:.)*[Ee]xport the bundle again"):
        TokenTable(tmp_path / "table", tokens, width, 16)


def test_rows_that_are_read_are_no_part_of_the_process(tmp_path: Path) -> None:
    tokens, width = 20_000, 256
    write_token_table(tmp_path / "table", np.ones((tokens, width), np.float32), 16)
    table = TokenTable(tmp_path / "table", tokens, width, 16)
    table(np.arange(0, tokens, 8, dtype=np.int32).reshape(-1, 50))
    # Of the rows' 10 MB, a page in four was asked for, and the kernel maps pages by sixteen.
    assert _resident(tmp_path / "table") <= 4 * tokens + 65536


def test_a_table_that_was_cut_while_it_is_open_is_an_error(tmp_path: Path) -> None:
    write_token_table(tmp_path / "table", np.ones((50, 12), np.float32), 16)
    table = TokenTable(tmp_path / "table", 50, 12, 16)
    with (tmp_path / "table").open("r+b") as file:
        file.truncate(4 * 50 + 2 * 12 * 20)
    assert table(np.array([19])).shape == (1, 12)
    with pytest.raises(BundleError, match="ends before a"):
        table(np.array([19, 20]))


def test_a_token_that_the_table_lacks_is_an_error(tmp_path: Path) -> None:
    write_token_table(tmp_path / "table", np.ones((50, 12), np.float32), 16)
    with pytest.raises(BundleError, match="has 50 rows, and the tokenizer asks for others"):
        TokenTable(tmp_path / "table", 50, 12, 16)(np.array([[1, 50]]))


@pytest.mark.parametrize("scale", [np.nan, np.inf, 2e6])
def test_a_row_without_a_scale_is_damage(tmp_path: Path, scale: float) -> None:
    write_token_table(tmp_path / "table", np.ones((50, 12), np.float32), 16)
    with (tmp_path / "table").open("r+b") as file:
        file.seek(4 * 7)
        file.write(np.float32(scale).tobytes())
    table = TokenTable(tmp_path / "table", 50, 12, 16)
    assert table(np.array([6, 8])).shape == (2, 12)
    with pytest.raises(BundleError, match="a row has no scale"):
        table(np.array([6, 7]))


def test_a_table_that_is_no_longer_used_is_closed(tmp_path: Path) -> None:
    def held() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.readlink() == tmp_path / "table" for link in links)

    write_token_table(tmp_path / "table", np.ones((50, 12), np.float32), 16)
    table = TokenTable(tmp_path / "table", 50, 12, 16)
    assert held() > 0
    del table
    gc.collect()
    assert held() == 0


def _resident(file: Path) -> int:
    """Bytes of `file` that this process has mapped and touched."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.split()[0].count("-") == 1 and not line.split()[0].endswith(":"):
            counts = line.endswith(str(file))
        elif counts and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found
