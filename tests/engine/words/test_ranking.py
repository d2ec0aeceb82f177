"""Photos by what they show and by their words, in one ranking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.query import Part
from mcad_mobile.engine.words.ranking import Match, WordHit, gain, terms_to_find
from mcad_mobile.errors import QueryError, Remedy
from tests.support.tiny_bundle import make_tiny_bundle

QUERY = "boarding pass"
LINE = Match("text", ("boarding", "pass"), "BOARDING PASS", (0, 0, 9, 0, 9, 9, 0, 9))


class Worded(PhotoIndex):
    """An index whose words are made up."""

    hits: tuple[WordHit, ...] = ()

    def search_words(self, query: str, k: int, **_: object) -> list[WordHit]:
        return [*self.hits][:k] if query == QUERY else []


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SearchEngine:
    """With an index of eight photos beside its bundle."""
    folder = tmp_path_factory.mktemp("ranking")
    engine = SearchEngine(make_tiny_bundle(folder / "bundle"))
    index = create_index(engine.bundle, folder / "bundle.index")
    engine.index_photos(index, packaged_photos()[:8])
    return engine


@pytest.fixture
def index(engine: SearchEngine) -> Worded:
    return Worded.open(engine.bundle.directory.with_name("bundle.index"))


def last(engine: SearchEngine, index: Worded) -> str:
    return engine.search(index, QUERY, 8).results[-1].path


def test_a_photo_that_has_all_words_is_first_with_its_cosine(
    engine: SearchEngine, index: Worded
) -> None:
    before = engine.search(index, QUERY, 8).results
    index.hits = (WordHit(before[-1].path, 1.0, (LINE,)),)
    found = engine.search(index, QUERY, 3)
    assert [result.path for result in found.results] == [
        result.path for result in (before[-1], *before[:2])
    ]
    assert found.results[0].score == pytest.approx(before[-1].score, abs=1e-6)
    assert [result.matched for result in found.results] == [(LINE,), (), ()]
    assert found.ms["words"] <= found.ms["total"]


def test_words_add_to_what_is_seen_the_more_the_more_of_them_match(
    engine: SearchEngine, index: Worded
) -> None:
    before = engine.search(index, QUERY, 8).results
    gains = [gain(share, 0.1) for share in (0, 0.25, 0.5, 1)]
    assert gains == pytest.approx([0, 1.2 / 64, 1.2 / 8, 1.2])
    index.hits = tuple(WordHit(result.path, 0.5, (LINE,)) for result in before[4:])
    assert [result.path for result in engine.search(index, QUERY, 8).results if result.matched] == [
        result.path for result in before[4:]
    ]
    index.hits = (WordHit(before[-1].path, 0.01, (LINE,)),)
    assert engine.search(index, QUERY, 8).results[0].path == before[0].path


def test_a_query_without_words_of_the_photos_is_searched_as_before(
    engine: SearchEngine, index: Worded
) -> None:
    index.hits = (WordHit(last(engine, index), 1.0, (LINE,)),)
    plain = PhotoIndex.open(engine.bundle.directory.with_name("bundle.index"))
    expected = engine.search(plain, QUERY, 8)
    assert engine.search(index, QUERY, 8, by="content").results == expected.results
    assert "words" not in expected.ms
    dog = engine.search(plain, "a dog", 8).results
    assert engine.search(index, "a dog", 8).results == dog


def test_words_alone_are_ranked_by_the_share_that_matches(
    engine: SearchEngine, index: Worded
) -> None:
    index.hits = (WordHit("/b.jpg", 1.0, (LINE,)), WordHit("/a.jpg", 0.25, ()))
    found = engine.search(index, QUERY, by="words")
    assert [(r.path, r.score) for r in found.results] == [("/b.jpg", 1.0), ("/a.jpg", 0.25)]
    assert found.results[0].matched == (LINE,)
    parts = [Part("boarding"), Part("pass", 0.5), Part("a dog", -1.0)]
    assert engine.search_parts(index, parts, by="words").results == found.results
    with pytest.raises(QueryError):
        engine.search_parts(index, [Part(packaged_photos()[0])], by="words")


def test_an_index_without_words_says_how_to_get_them(engine: SearchEngine) -> None:
    plain = PhotoIndex.open(engine.bundle.directory.with_name("bundle.index"))
    with pytest.raises(QueryError) as raised:
        engine.search(plain, QUERY, by="words")
    assert raised.value.remedy is Remedy.EXPORT_WITH_READER


def test_a_query_photo_is_not_found_by_its_words(engine: SearchEngine, index: Worded) -> None:
    path = last(engine, index)
    index.hits = (WordHit(path, 1.0, (LINE,)),)
    found = engine.search_parts(index, [Part(QUERY), Part(Path(path))], 8)
    assert len(found.results) == 7 and path not in {result.path for result in found.results}


def test_cosines_are_those_of_a_search(engine: SearchEngine, index: Worded) -> None:
    query = engine.embed_text("a dog")
    hits = index.search(query, 8)
    paths = [*hits.paths[::-1], "/missing.jpg"]
    cosines = index.cosines(query, paths)
    assert cosines[:-1] == pytest.approx(hits.scores[::-1], abs=1e-6)
    assert np.isnan(cosines[-1])
    assert len(index.cosines(query, [])) == 0


def test_function_words_count_only_among_themselves() -> None:
    assert terms_to_find(["a", "beach", "in", "lisbon", "beach"]) == ["beach", "lisbon"]
    assert terms_to_find(["to", "the", "to"]) == ["to", "the"]
