"""Pass 2: cosines by the bytes of what pass 1 chose, as long as one may be among the best.

Bits that differ tell a cosine, up to a constant and an error. The nearest rows are scored first:
they tell that constant, how large errors are, and which cosine is to be beaten. Of the others only
those are read that may beat it: the more there are, the larger is the largest of their errors. So
a query costs what it needs, and at most what the index allows (lens.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.index.codes import F32, Query, score
from mcad_mobile.index.format import Segment, damaged
from mcad_mobile.index.kernel import Kernel
from mcad_mobile.index.scan import Distances, Rows, least

# Photos scored at a time, in dimensions: 1 MiB as float64, so that it stays in the level 2 cache.
_BLOCK = 1 << 17
# Rows that are scored in any case, more for many results. The nearest err a little less than all.
_SURE, _SURE_A_RESULT = 128, 4
# Of errors, so that their sums do not round: exact.py.
_UNIT = 2.0**-18


@dataclass(frozen=True)
class Candidates:
    """Rows of a segment, ascending, and how far each is from the query in bits, of which one more
    takes 2 * `step` from the cosine; without distances all are scored."""

    rows: Rows
    distances: Distances | None = None
    step: float = 0.0


def rescore(
    segments: Sequence[Segment],
    queries: Sequence[Query],
    candidates: Sequence[Candidates],
    k: int,
    kernel: Kernel | None,
) -> list[tuple[Rows, F32]]:
    """Return of each segment the rows that were scored, ascending, and their cosines float32. Of
    the `k` best of all candidates hardly one is missing."""
    scored = []
    for segment, query, some in zip(segments, queries, candidates, strict=True):
        at = np.arange(len(some.rows))
        if some.distances is not None:
            at = least(some.distances, max(_SURE, _SURE_A_RESULT * k))
        scored.append((at, cosines(segment, query, some.rows[at], kernel)))
    beaten = kth(np.concatenate([np.empty(0, np.float32), *(scores for _, scores in scored)]), k)
    found = []
    for segment, query, some, (at, scores) in zip(
        segments, queries, candidates, scored, strict=True
    ):
        if some.distances is not None and len(at) < len(some.rows):
            estimates = some.distances * (-2 * some.step)
            may = estimates + _most(scores - estimates[at], len(some.rows)) >= beaten
            may[at] = False
            others = np.flatnonzero(may)
            at = np.concatenate([at, others])
            order = np.argsort(at)
            scores = np.concatenate([scores, cosines(segment, query, some.rows[others], kernel)])
            at, scores = at[order], scores[order]
        found.append((some.rows[at], scores))
    return found


def _most(errors: npt.NDArray[np.float64], rows: int) -> float:
    """Return what hardly one error of so many rows is above, by those of some: the largest of n
    normal ones is about sqrt(2 ln n) standard deviations. The same whatever the order of sums."""
    whole = exact.units(errors, _UNIT)
    mean = float(whole.sum()) / len(whole)
    variance = float(np.square(whole).sum()) / len(whole) - mean * mean
    return (mean + sqrt(2 * log(rows) * max(variance, 0.0))) * _UNIT


def kth(scores: F32, k: int) -> float:
    """Return the `k`-th highest score, -inf where there are fewer."""
    if len(scores) < k:
        return -np.inf
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def cosines(segment: Segment, query: Query, rows: Rows, kernel: Kernel | None) -> F32:
    """Score rows of a segment, ascending, by their bytes [len(rows)] float32."""
    if kernel is not None:
        found = kernel.scores(
            segment.opened.fileno(),
            segment.parts["records"].offset,
            segment.record,
            segment.columns,
            query.steps,
            query.along_step,
            rows,
        )
        if found is None:
            raise damaged(segment.file, "it ends before all of its records")
        return found
    scores = np.empty(len(rows), np.float32)
    step = _BLOCK // len(query.steps)
    for start in range(0, len(rows), step):
        block = segment.encoded_rows(rows[start : start + step])
        scores[start : start + step] = score(query, block)
    return scores
