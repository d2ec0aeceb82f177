"""Answers to queries of the API by SearchEngine: filters, pages, comparisons."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from mcad_mobile.engine.engine import Found, SearchEngine
from mcad_mobile.engine.index import RowFilter
from mcad_mobile.engine.query import Part
from mcad_mobile.serve.indexes import Catalog, Snapshot, day, path_text
from mcad_mobile.serve.records import MOST_RESULTS, Answer, Comparison, Filter, Hit

_FIRST = 100  # results of a query until the user scrolls beyond them
_KEPT = 8
# Rows of the catalog with their scores, best first.
Ranking = list[tuple[int, float]]


@dataclass(frozen=True)
class PreparedQuery:
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
            generation=self.snapshot.index.generation,
            **fields,
        )

    def ranking(self, rows: RowFilter, k: int) -> tuple[Found, Ranking]:
        """Return what the engine finds, and its best `k` photos."""
        found = self.engine.search_parts(
            self.snapshot.index, self.parts, max(k, 1), rows=rows, exact=self.exact
        )
        row_at = self.snapshot.catalog.row_at
        return found, [(row_at[result.path], result.score) for result in found.results[:k]]


class Searcher:
    """Answers queries on one thread. It keeps the last long rankings, so that their pages are
    consistent."""

    def __init__(self) -> None:
        self._long: OrderedDict[Any, Ranking] = OrderedDict()

    def answer(self, query: PreparedQuery, offset: int, limit: int) -> Answer:
        """Return results `offset` to `offset` + `limit`. Errors as SearchEngine.search_parts, and
        QueryError for a contradictory filter."""
        catalog = query.snapshot.catalog
        rows = catalog.row_filter(query.filter)
        passing = catalog.passing(rows)
        page = slice(offset, offset + limit)
        if not query.parts:
            newest = catalog.newest_first[passing[catalog.newest_first]]
            return query.answer(
                hits=[_hit(catalog, row) for row in newest[page].tolist()],
                photos=len(newest),
                total=len(newest),
                offset=offset,
            )
        for part in query.parts:  # a photo is not among its own results
            row = catalog.row_at.get(str(part.content))
            if row is not None and not isinstance(part.content, str):
                passing[row] = False
        photos = int(passing.sum())
        total = min(photos, MOST_RESULTS)
        found, ranking = query.ranking(rows, min(_FIRST, total))
        if offset + limit > len(ranking) < total:
            ranking = self._all_results(query, rows, ranking, total)
        return query.answer(
            hits=[_hit(catalog, row, score) for row, score in ranking[page]],
            photos=photos,
            total=total,
            offset=offset,
            ms=None if found.simulated else found.ms,
            simulated=found.simulated,
            truncated=found.truncated,
            unknown=found.unknown,
        )

    def _all_results(
        self, query: PreparedQuery, rows: RowFilter, first: Ranking, total: int
    ) -> Ranking:
        """All results: the first page as it was shown, then the rest."""
        parts = tuple((str(part.content), part.weight) for part in query.parts)
        # A bundle that was replaced on disk has a new engine.
        key = (weakref.ref(query.engine), query.snapshot, parts, rows, query.exact)
        if key not in self._long:
            shown = {row for row, _ in first}
            rest = [hit for hit in query.ranking(rows, total)[1] if hit[0] not in shown]
            self._long[key] = (first + rest)[:total]
        self._long.move_to_end(key)
        while len(self._long) > _KEPT:
            self._long.popitem(last=False)
        return self._long[key]

    def compare(self, left: PreparedQuery, right: PreparedQuery, limit: int) -> Comparison:
        """Both sides' first `limit` results, each with its place among the first 4 x `limit` of the
        other side."""
        answers = [self.answer(side, 0, 4 * limit) for side in (left, right)]
        places = [
            {hit.id: place for place, hit in enumerate(answer.hits, start=1)} for answer in answers
        ]
        marked = [
            replace(
                answer,
                hits=[
                    replace(hit, elsewhere=place, only_here=place is None or place > limit)
                    for hit in answer.hits[:limit]
                    for place in [other_places.get(hit.id)]
                ],
            )
            for answer, other_places in zip(answers, reversed(places), strict=True)
        ]
        shared = sum(not hit.only_here for hit in marked[0].hits)
        return Comparison(left=marked[0], right=marked[1], shared=shared)


def _hit(catalog: Catalog, row: int, score: float | None = None) -> Hit:
    folder, name = os.path.split(path_text(catalog.paths[row]))
    return Hit(catalog.ids[row], name, folder, day(int(catalog.taken[row])), score)
