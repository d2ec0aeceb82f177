"""Pass 1: which codes differ from the query's in the fewest bits."""

from __future__ import annotations

import importlib
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import U8

Rows = npt.NDArray[np.intp]

_BLOCK_BYTES = 1 << 18


def nearest_codes(codes: U8, code: U8, count: int, *, faiss: bool = True) -> Rows:
    """Return the `count` rows of codes [N, B] at the least Hamming distance from `code` [B].

    In no order; of rows at the same distance, the first. faiss reads the codes where they are
    mapped, at the speed of memory; without it, or where it is not wanted, numpy counts bits, which
    takes several times as long.
    """
    if count >= len(codes):
        return np.arange(len(codes))
    if count <= 0:  # asked for none, faiss writes beyond what it has allocated
        return np.empty(0, np.intp)
    library = _faiss() if faiss else None
    if library is None:
        return _nearest_by_numpy(codes, code, count)
    # One query is one thread's work: others would only be waited for.
    threads = library.omp_get_max_threads()
    library.omp_set_num_threads(1)
    # "mc" keeps a list for each distance, and so takes no longer for ten thousand than for ten.
    _, rows = library.knn_hamming(code[None], codes, count, variant="mc")
    library.omp_set_num_threads(threads)
    found: Rows = rows[0]
    return found


def _nearest_by_numpy(codes: U8, code: U8, count: int) -> Rows:
    word = next(w for w in (8, 4, 2, 1) if codes.shape[1] % w == 0)
    words, target = codes.view(f"<u{word}"), code.view(f"<u{word}")
    distances = np.empty(len(codes), np.uint16)
    step = max(_BLOCK_BYTES // codes.shape[1], 1)
    for start in range(0, len(codes), step):
        counts = np.bitwise_count(words[start : start + step] ^ target)
        distances[start : start + step] = _row_sums(counts)
    # The count-th least distance, from a histogram: a partition of all rows would take longer.
    totals = np.cumsum(np.bincount(distances))
    limit = int(np.searchsorted(totals, count))
    nearer = np.flatnonzero(distances < limit)
    at_limit = np.flatnonzero(distances == limit)
    return np.concatenate([nearer, at_limit[: count - len(nearer)]])


def _row_sums(counts: U8) -> npt.NDArray[np.integer[Any]]:
    """Sum counts [N, W], each at most 64, along rows; W is at most 1023.

    numpy is slow at sums of a few numbers: where bytes come by eights or fours they are one number,
    whose halves are added.
    """
    width = counts.shape[1]
    summed: npt.NDArray[np.integer[Any]]
    if width % 4:
        summed = counts.sum(axis=1, dtype=np.uint16)
    elif width % 8:
        total = _lane_sums(counts.view("<u4"), np.uint32(0x00FF00FF))
        summed = (total + (total >> 16)) & 0xFFFF
    else:
        total = _lane_sums(counts.view("<u8"), np.uint64(0x00FF00FF00FF00FF))
        # The product's highest 16 bits are the sum of all four lanes.
        summed = (total * np.uint64(0x0001000100010001)) >> 48
    return summed


def _lane_sums(words: npt.NDArray[Any], low: np.unsignedinteger[Any]) -> npt.NDArray[Any]:
    """Sum the bytes of words [N, M] along rows, in lanes of 16 bits; `low` is a lane's low byte."""
    lanes = [(word & low) + (word >> 8 & low) for word in words.T]
    total: npt.NDArray[Any] = lanes[0]
    for lane in lanes[1:]:
        total += lane
    return total


@lru_cache(maxsize=1)
def _faiss() -> Any:
    """Import faiss, or return None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SWIG's types warn on import
        try:
            faiss = importlib.import_module("faiss")
        except ImportError:
            return None
    return faiss
