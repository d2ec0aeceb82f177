"""A query of the API, answered by SearchEngine: filters, pages, what matches, two sides."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.engine import Found, SearchEngine
from mcad_mobile.engine.query import Part
from mcad_mobile.serve.catalog import Catalog, path_id, shown, written
from mcad_mobile.serve.indexes import Snapshot
from mcad_mobile.serve.records import (
    MOST_RESULTS,
    Answer,
    Comparison,
    Filter,
    Hit,
)

_FIRST = 64  # results that a query is asked for until somebody scrolls beyond them
_KEPT = 8


@dataclass(frozen=True)
class Asked:
    """A query and what is to answer it. `bundle`, `rung` and `name` (of the index) are
    told back."""

    engine: SearchEngine
    snapshot: Snapshot
    bundle: str
    rung: str
    name: str
    parts: tuple[Part, ...]
    filter: Filter
    exact: bool


@dataclass(frozen=True)
class _Ranked:
    """Rows of the catalog, best first, and their scores."""

    rows: list[int]
    scores: list[float]


class Searcher:
    """Remembers the last long rankings, so that their pages fit together. For one thread."""

    def __init__(self) -> None:
        self._long: OrderedDict[Any, _Ranked] = OrderedDict()

    def answer(self, asked: Asked, offset: int, limit: int) -> Answer:
        """Results `offset` to `offset` + `limit`. Errors as SearchEngine.search_parts, and
        QueryError for a filter that cannot be."""
        catalog = asked.snapshot.catalog
        allowed = catalog.allowed(asked.filter)
        if not asked.parts:
            return self._browse(asked, allowed, offset, limit)
        own = {
            path_id(str(part.content)) for part in asked.parts if not isinstance(part.content, str)
        }
        rows_of_own = [catalog.row_of[one] for one in own if one in catalog.row_of]
        photos = len(catalog.paths) if allowed is None else int(allowed.sum())
        photos -= sum(allowed is None or bool(allowed[row]) for row in rows_of_own)
        total = min(photos, MOST_RESULTS)
        found, ranked = _ranked(asked, allowed, min(_FIRST, total))
        threshold = found.threshold
        matches = _matches(ranked, threshold)
        all_match = matches is not None and matches == len(ranked.rows) < total
        if offset + limit > len(ranked.rows) < total or all_match:
            ranked = self._whole(asked, allowed, ranked, total)
            matches = _matches(ranked, threshold)
        page = slice(offset, offset + limit)
        hits = [
            _hit(catalog, row, score)
            for row, score in zip(ranked.rows[page], ranked.scores[page], strict=True)
        ]
        return Answer(
            hits=hits,
            photos=photos,
            total=total,
            bundle=asked.bundle,
            rung=asked.rung,
            index=asked.name,
            generation=asked.snapshot.generation,
            offset=offset,
            matches=matches,
            threshold=threshold,
            ms=None if found.simulated else found.ms,
            simulated=found.simulated,
            truncated=found.truncated,
            unknown=found.unknown,
        )

    def _browse(
        self, asked: Asked, allowed: NDArray[np.bool_] | None, offset: int, limit: int
    ) -> Answer:
        catalog = asked.snapshot.catalog
        rows = catalog.newest_first
        if allowed is not None:
            rows = rows[allowed[rows]]
        return Answer(
            hits=[_hit(catalog, int(row)) for row in rows[offset : offset + limit]],
            photos=len(rows),
            total=len(rows),
            bundle=asked.bundle,
            rung=asked.rung,
            index=asked.name,
            generation=asked.snapshot.generation,
            offset=offset,
        )

    def _whole(
        self, asked: Asked, allowed: NDArray[np.bool_] | None, first: _Ranked, total: int
    ) -> _Ranked:
        """All results: those of the first page as they were shown, then the others."""
        key = (
            asked.bundle,
            asked.rung,
            asked.snapshot,
            tuple((str(part.content), part.weight) for part in asked.parts),
            msgspec.json.encode(asked.filter),
            asked.exact,
        )
        if key not in self._long:
            _, others = _ranked(asked, allowed, total)
            shown_first = set(first.rows)
            rest = [
                (row, score)
                for row, score in zip(others.rows, others.scores, strict=True)
                if row not in shown_first
            ][: total - len(first.rows)]
            self._long[key] = _Ranked(
                first.rows + [row for row, _ in rest],
                first.scores + [score for _, score in rest],
            )
        self._long.move_to_end(key)
        while len(self._long) > _KEPT:
            self._long.popitem(last=False)
        return self._long[key]

    def compare(self, left: Asked, right: Asked, limit: int) -> Comparison:
        """Both sides' first `limit`, each with its place on the other side, which is looked up
        among four times as many there."""
        answers = [self.answer(side, 0, 4 * limit) for side in (left, right)]
        places = [
            {hit.id: place for place, hit in enumerate(answer.hits, start=1)} for answer in answers
        ]
        marked = [
            msgspec.structs.replace(
                answer,
                hits=[
                    msgspec.structs.replace(
                        hit,
                        elsewhere=(elsewhere := other.get(hit.id)),
                        only_here=elsewhere is None or elsewhere > limit,
                    )
                    for hit in answer.hits[:limit]
                ],
            )
            for answer, other in zip(answers, reversed(places), strict=True)
        ]
        shared = sum(not hit.only_here for hit in marked[0].hits)
        return Comparison(left=marked[0], right=marked[1], shared=shared)


def _ranked(asked: Asked, allowed: NDArray[np.bool_] | None, wanted: int) -> tuple[Found, _Ranked]:
    """The best `wanted` of the photos that are allowed. An index knows nothing of filters, so more
    and more are asked for until enough of them pass."""
    catalog = asked.snapshot.catalog
    share = 1.0 if allowed is None else max(float(allowed.mean()), 1e-9)
    k = min(max(int(wanted / share * 1.2), 1), max(len(catalog.paths), 1))
    if allowed is None:
        k = max(wanted, 1)
    while True:
        found = asked.engine.search_parts(asked.snapshot.index, asked.parts, k, exact=asked.exact)
        rows = [catalog.row_at[result.path] for result in found.results]
        scores = [result.score for result in found.results]
        if allowed is not None:
            kept = [(r, s) for r, s in zip(rows, scores, strict=True) if allowed[r]]
            rows, scores = [r for r, _ in kept], [s for _, s in kept]
        if len(rows) >= wanted or k >= len(catalog.paths):
            return found, _Ranked(rows[:wanted], scores[:wanted])
        k = min(4 * k, len(catalog.paths))


def _matches(ranked: _Ranked, threshold: float | None) -> int | None:
    if threshold is None:
        return None
    return sum(score >= threshold for score in ranked.scores)


def _hit(catalog: Catalog, row: int, score: float | None = None) -> Hit:
    path = catalog.paths[row]
    folder, name = os.path.split(shown(path))
    return Hit(catalog.ids[row], name, folder, written(int(catalog.taken[row])), score)
