"""Pass 2: cosines by the bytes of what pass 1 chose, as long as one may be among the best.

Bits that differ tell a cosine, up to a constant and an error. The nearest rows are scored first:
they tell that constant, how large errors are, and which cosine is to be beaten. Then more, nearest
first, as long as one of the rest is likely to beat it; each time that is known better. So a query
costs what it needs, and at most what the index allows (reach.py). rescore.c does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcad_mobile.index.codes import F32, Query
from mcad_mobile.index.format import damaged
from mcad_mobile.index.kernel import Distances, Kernel, Rows, Task, address
from mcad_mobile.index.segment import Segment

# Rows that are scored in any case, more for many results or candidates. The nearest err a little
# less than all.
_SURE, _SURE_A_RESULT, _SURE_PART = 128, 4, 8
# Of each result, how much may be expected to be missed among the rows that are left out; and where
# bits tell so little that more than one photo of so many is a candidate, and misses add up.
_MISSED, _MISSED_OF_MANY, _MANY = 1 / 64, 1 / 512, 8


@dataclass(frozen=True)
class Candidates:
    """Places of a segment, ascending, and how far each is from the query in bits, of which one more
    takes 2 * `step` from the cosine; without distances all are scored."""

    places: Rows
    distances: Distances | None = None
    step: float = 0.0


def rescore(
    segments: Sequence[Segment],
    queries: Sequence[Query],
    candidates: Sequence[Candidates],
    k: int,
    kernel: Kernel,
) -> list[tuple[Rows, F32]]:
    """Return of each segment the places that were scored, ascending, and their cosines float32. Of
    the `k` best of all candidates hardly one is missing."""
    tasks, arrays = [], []
    for segment, query, chosen in zip(segments, queries, candidates, strict=True):
        rows, cosines = chosen.places.astype(np.uint32), np.empty(len(chosen.places), np.float32)
        arrays.append((rows, cosines))
        tasks.append(
            Task(
                file=segment.opened.fileno(),
                offset=segment.parts["records"].offset,
                size=segment.record,
                dim=len(query.steps),
                words=len(segment.columns),
                stride=segment.photos,
                columns=segment.columns.ctypes.data,
                steps=address(query.steps),
                along=query.along_step,
                rows=address(rows),
                distances=None if chosen.distances is None else address(chosen.distances),
                count=len(rows),
                sure=_sure(chosen, k),
                fall=-2 * chosen.step,
                missed=_missed(chosen, segment) * k / len(segments),
                cosines=address(cosines),
            )
        )
    failed = kernel.rescore(tasks, k)
    if failed is not None:
        raise damaged(segments[failed].file, "it ends before all of its records")
    known = [~np.isnan(cosines) for _, cosines in arrays]
    return [
        (chosen.places[scored], cosines[scored])
        for chosen, (_, cosines), scored in zip(candidates, arrays, known, strict=True)
    ]


def _sure(candidates: Candidates, k: int) -> int:
    """Return how many candidates are scored in any case."""
    count = len(candidates.places)
    if candidates.distances is None:
        return count
    return min(count, max(_SURE, _SURE_A_RESULT * k, count // _SURE_PART))


def _missed(candidates: Candidates, segment: Segment) -> float:
    """Return how much of a result may be expected among the candidates that are left out."""
    many = len(candidates.places) > segment.photos / _MANY
    return _MISSED_OF_MANY if many else _MISSED
