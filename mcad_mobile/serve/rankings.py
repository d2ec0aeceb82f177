"""Answers to queries of the API by SearchEngine: filters, pages, comparisons."""

from __future__ import annotations

import functools
import os
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from mcad_mobile.base.standard_output import escape_unprintable
from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.engine import Channel, Found, Result, SearchEngine
from mcad_mobile.engine.index import RowFilter
from mcad_mobile.engine.index.moments import clock
from mcad_mobile.engine.query import Part
from mcad_mobile.engine.stacks import search_in_stacks
from mcad_mobile.serve.indexes import Catalog, Snapshot, day, path_text
from mcad_mobile.serve.records import (
    MOST_RESULTS,
    Answer,
    Comparison,
    Copy,
    Filter,
    Hit,
    Matched,
)

_FIRST = 100  # results of a query until the user scrolls beyond them
_KEPT = 8
# Rows of the catalog with what was found there, best first.
Ranking = list[tuple[int, Result]]


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
    stack: bool = False
    by: Channel | None = None

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
        index, k = self.snapshot.index, max(k, 1)
        find = functools.partial(
            self.engine.search_parts, index, self.parts, rows=rows, exact=self.exact, by=self.by
        )
        found = search_in_stacks(index, find, k) if self.stack else find(k)
        row_at = self.snapshot.catalog.row_at
        return found, [(row_at[result.path], result) for result in found.results]


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
        passing = query.snapshot.passing(rows)
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
        first = min(_FIRST, total)
        found, ranking = query.ranking(rows, first)
        if len(ranking) >= first and offset + limit > len(ranking) < total:
            ranking = self._all_results(query, rows, ranking, total)
            total = len(ranking)
        elif len(ranking) < first:  # stacks, or photos that have the words
            total = len(ranking)
        else:
            total -= sum(len(result.copies) for _, result in ranking)
        return query.answer(
            hits=[_hit(catalog, row, result) for row, result in ranking[page]],
            photos=total if query.by == "words" else photos,
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
        asked = (query.exact, query.stack, query.by)
        key = (weakref.ref(query.engine), query.snapshot, parts, rows, *asked)
        if key not in self._long:
            row_at = query.snapshot.catalog.row_at
            shown = {row_at[path] for _, hit in first for path in (hit.path, *hit.copies)}
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
            {id: place for place, hit in enumerate(answer.hits, start=1) for id in _ids(hit)}
            for answer in answers
        ]
        marked = [
            replace(
                answer,
                hits=[
                    replace(hit, elsewhere=place, only_here=place is None or place > limit)
                    for hit in answer.hits[:limit]
                    for place in [min(filter(None, map(other_places.get, _ids(hit))), default=None)]
                ],
            )
            for answer, other_places in zip(answers, reversed(places), strict=True)
        ]
        shared = sum(not hit.only_here for hit in marked[0].hits)
        return Comparison(left=marked[0], right=marked[1], shared=shared)


def _ids(hit: Hit) -> list[str]:
    return [hit.id, *(copy.id for copy in hit.copies)]


def legible(text: str) -> str:
    """A text that others wrote, on one line, without characters that hide or turn round others."""
    return escape_unprintable(" ".join(text.split()))


def _hit(catalog: Catalog, row: int, result: Result | None = None) -> Hit:
    folder, name = os.path.split(path_text(catalog.paths[row]))
    taken = day(int(catalog.taken[row]))
    hit = Hit(catalog.ids[row], name, folder, taken, video=is_video(name))
    if result is None:
        return hit
    copies = [(catalog.ids[catalog.row_at[path]], path_text(path)) for path in result.copies]
    return replace(
        hit,
        name=name if result.at_ms is None else f"{name} at {clock(result.at_ms)}",
        video=hit.video or result.at_ms is not None,
        at_ms=result.at_ms,
        score=result.score,
        copies=tuple(Copy(id, *reversed(os.path.split(path))) for id, path in copies),
        matched=tuple(
            Matched(match.source, legible(match.line), match.box) for match in result.matched
        ),
    )
