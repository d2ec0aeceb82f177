"""Answers to queries of the API by SearchEngine: filters, pages, matches, comparisons."""

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
from mcad_mobile.serve.catalog import Catalog, date_text, path_id, path_text
from mcad_mobile.serve.indexes import Snapshot
from mcad_mobile.serve.records import (
    MOST_RESULTS,
    Answer,
    Comparison,
    Filter,
    Hit,
)

_FIRST = 64  # results of a query until the user scrolls beyond them
_KEPT = 8


@dataclass(frozen=True)
class Asked:
    """A query and the engine and snapshot that answer it. `bundle`, `rung` and `name` (of the
    index) are repeated in the answer."""

    engine: SearchEngine
    snapshot: Snapshot
    bundle: str
    rung: str
    name: str
    parts: tuple[Part, ...]
    filter: Filter
    exact: bool

    def answer(self, **fields: Any) -> Answer:
        return Answer(
            bundle=self.bundle,
            rung=self.rung,
            index=self.name,
            generation=self.snapshot.generation,
            **fields,
        )


@dataclass(frozen=True)
class _Ranked:
    """Rows of the catalog, best first, and their scores."""

    rows: list[int]
    scores: list[float]


class Searcher:
    """Answers queries on one thread. It keeps the last long rankings, so that their pages fit
    together."""

    def __init__(self) -> None:
        self._long: OrderedDict[Any, _Ranked] = OrderedDict()

    def answer(self, asked: Asked, offset: int, limit: int) -> Answer:
        """Return results `offset` to `offset` + `limit`. Errors as SearchEngine.search_parts, and
        QueryError for a contradictory filter."""
        catalog = asked.snapshot.catalog
        allowed = catalog.allowed(asked.filter)
        if not asked.parts:
            return self._browse(asked, allowed, offset, limit)
        queried = [part.content for part in asked.parts if not isinstance(part.content, str)]
        own = {path_id(str(path)) for path in queried}
        rows_of_own = [catalog.row_of[photo] for photo in own if photo in catalog.row_of]
        photos = len(catalog.paths) if allowed is None else int(allowed.sum())
        photos -= sum(allowed is None or bool(allowed[row]) for row in rows_of_own)
        total = min(photos, MOST_RESULTS)
        found, ranked = _ranked(asked, allowed, min(_FIRST, total))
        matches = _matches(ranked, found.threshold)
        all_match = matches is not None and matches == len(ranked.rows) < total
        if offset + limit > len(ranked.rows) < total or all_match:
            ranked = self._whole(asked, allowed, ranked, total)
            matches = _matches(ranked, found.threshold)
        page = slice(offset, offset + limit)
        hits = [
            _hit(catalog, row, score)
            for row, score in zip(ranked.rows[page], ranked.scores[page], strict=True)
        ]
        return asked.answer(
            hits=hits,
            photos=photos,
            total=total,
            offset=offset,
            matches=matches,
            threshold=found.threshold,
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
        return asked.answer(
            hits=[_hit(catalog, int(row)) for row in rows[offset : offset + limit]],
            photos=len(rows),
            total=len(rows),
            offset=offset,
        )

    def _whole(
        self, asked: Asked, allowed: NDArray[np.bool_] | None, first: _Ranked, total: int
    ) -> _Ranked:
        """All results: the first page as it was shown, then the rest."""
        key = (
            asked.bundle,
            asked.rung,
            asked.snapshot,
            tuple((str(part.content), part.weight) for part in asked.parts),
            msgspec.json.encode(asked.filter),
            asked.exact,
        )
        if key not in self._long:
            _, whole = _ranked(asked, allowed, total)
            shown_first = set(first.rows)
            rest = [
                (row, score)
                for row, score in zip(whole.rows, whole.scores, strict=True)
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
        """Both sides' first `limit` results, each with its place among the first 4 x `limit` of the
        other side."""
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
    """The best `wanted` of the allowed photos. The index does not filter, so it is asked for more
    and more results until enough of them pass."""
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
    folder, name = os.path.split(path_text(path))
    return Hit(catalog.ids[row], name, folder, date_text(int(catalog.taken[row])), score)
