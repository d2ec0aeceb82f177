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


def nearest_codes(codes: U8, code: U8, count: int) -> Rows:
    """Return the `count` rows of codes [N, B] at the least Hamming distance from `code` [B].

    In no order; of rows at the same distance, any. faiss reads the codes where they are mapped,
    at the speed of memory; without it numpy counts bits, about ten times slower.
    """
    if count >= len(codes):
        return np.arange(len(codes))
    faiss = _faiss()
    if faiss is None:
        return _nearest_by_numpy(codes, code, count)
    # "mc" keeps a list for each distance, and so takes no longer for ten thousand than for ten.
    _, rows = faiss.knn_hamming(code[None], codes, count, variant="mc")
    found: Rows = rows[0]
    return found


def _nearest_by_numpy(codes: U8, code: U8, count: int) -> Rows:
    word = next(w for w in (8, 4, 2, 1) if codes.shape[1] % w == 0)
    words, target = codes.view(f"<u{word}"), code.view(f"<u{word}")
    distances = np.empty(len(codes), np.uint16)
    step = max(_BLOCK_BYTES // codes.shape[1], 1)
    for start in range(0, len(codes), step):
        counts = np.bitwise_count(words[start : start + step] ^ target)
        counts.sum(axis=1, dtype=np.uint16, out=distances[start : start + step])
    # The count-th least distance, from a histogram: a partition of all rows would take longer.
    totals = np.cumsum(np.bincount(distances))
    limit = int(np.searchsorted(totals, count))
    nearer = np.flatnonzero(distances < limit)
    at_limit = np.flatnonzero(distances == limit)
    return np.concatenate([nearer, at_limit[: count - len(nearer)]])


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
