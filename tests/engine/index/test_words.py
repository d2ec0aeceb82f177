"""The words of photos in an index: what a search of them finds, and that none is lost."""

from __future__ import annotations

import ctypes
import json
import math
import random
import shutil
import zlib
from pathlib import Path

import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.index.filters import ALL_ROWS
from mcad_mobile.engine.words.photo_words import Line, PhotoWords
from mcad_mobile.engine.words.ranking import Match, terms_to_find
from mcad_mobile.errors import PhotoIndexError
from tests.support.index_embeddings import create, photos_and_queries

BOX = (400, 400, 3600, 400, 3600, 800, 400, 800)
TICKET = PhotoWords((Line("Boarding PASS", box=BOX), Line("Müller")), (), True)
PLACES = ("Belém", "Lisbon", "Lisboa", "Portugal")


def worded(directory: Path, words: dict[str, PhotoWords], dim: int = 16) -> PhotoIndex:
    index = create(directory, dim)
    with index.writer() as writer:
        writer.add([*words], photos_and_queries(len(words), 1, dim)[0])
        writer.set_words(words)
    return index


def found(index: PhotoIndex, query: str, rows: RowFilter = ALL_ROWS) -> list[str]:
    hits = index.search_words(query, 100, rows=rows)
    assert hits is not None
    return [hit.path for hit in hits]


@pytest.fixture
def index(tmp_path: Path) -> PhotoIndex:
    words = {f"/p/{n}.jpg": PhotoWords() for n in range(20)}
    words["/p/ticket.jpg"] = TICKET
    words["/p/Müller/beach.jpg"] = PhotoWords((), PLACES)
    words["/p/sign.jpg"] = PhotoWords((Line("東京タワー"), Line("boarding house")), (), True)
    return worded(tmp_path / "index", words)


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("boarding pass", ["/p/ticket.jpg", "/p/sign.jpg"]),
        ("BÓARDING", ["/p/sign.jpg", "/p/ticket.jpg"]),
        ("boar", ["/p/sign.jpg", "/p/ticket.jpg"]),
        ("bo", []),
        ("bearding", ["/p/sign.jpg", "/p/ticket.jpg"]),
        ("boardin", ["/p/sign.jpg", "/p/ticket.jpg"]),
        ("boarrding", ["/p/sign.jpg", "/p/ticket.jpg"]),
        ("baardings", []),
        ("muller", ["/p/Müller/beach.jpg", "/p/ticket.jpg"]),
        ("lisboa", ["/p/Müller/beach.jpg"]),
        ("タワー", ["/p/sign.jpg"]),
        ("zebra", []),
        ("…", []),
    ],
)
def test_words_are_found_as_wholes_by_their_start_and_with_a_wrong_letter(
    index: PhotoIndex, query: str, paths: list[str]
) -> None:
    assert found(index, query) == paths


def test_a_result_says_which_words_stand_where(index: PhotoIndex) -> None:
    best = index.search_words("mullar pass", 1)
    assert best is not None and best[0].path == "/p/ticket.jpg" and 0.5 < best[0].share < 1
    assert best[0].matches == (
        Match("text", ("pass",), "Boarding PASS", BOX),
        Match("text", ("muller",), "Müller", None),
    )
    place = index.search_words("beach in portugal", 1)
    assert place is not None and place[0].share == pytest.approx(1)
    assert [(match.source, match.line) for match in place[0].matches] == [
        ("name", "/p/Müller/beach.jpg"),
        ("place", "Portugal"),
    ]


def differ_by_letter(a: str, b: str) -> bool:
    shorter, longer = sorted((a, b), key=len)
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) == 1
    return any(shorter == longer[:at] + longer[at + 1 :] for at in range(len(longer)))


def test_shares_are_those_that_counting_gives(tmp_path: Path) -> None:
    chance = random.Random(3)
    vocabulary = ["".join(chance.choices("ab", k=chance.randint(1, 7))) for _ in range(60)]
    texts = {f"/{n}": " ".join(chance.choices(vocabulary, k=5)) for n in range(150)}
    words = {path: PhotoWords((Line(text),)) for path, text in texts.items()}
    index = worded(tmp_path / "index", dict([*words.items()][:100]))
    with index.writer() as writer:
        writer.add([*words][100:], photos_and_queries(50, 1, 16)[0])
        writer.set_words({path: words[path] for path in [*words][100:]})
        writer.delete(["/3", "/120"])
    live = {path: text.split() for path, text in texts.items() if path not in ("/3", "/120")}

    def value(wanted: str, word: str) -> float:
        if wanted == word:
            return 1
        if len(wanted) >= 3 and word.startswith(wanted):
            return 0.7
        return 0.5 if len(wanted) >= 5 and differ_by_letter(wanted, word) else 0

    for wanted in chance.sample([word for word in vocabulary if len(word) > 1], 30):
        likely = {p: max(value(wanted, word) for word in text) for p, text in live.items()}
        hits = index.search_words(wanted, 200)
        assert hits is not None
        assert {hit.path: pytest.approx(hit.share) for hit in hits} == {
            path: likeness for path, likeness in likely.items() if likeness
        }
        assert [hit.share for hit in hits] == sorted((hit.share for hit in hits), reverse=True)
        # A byte of each photo holds four terms.
        terms = terms_to_find([wanted, *chance.sample(vocabulary, chance.choice([1, 3, 4, 9]))])
        counts = {t: sum(any(value(t, w) for w in text) for text in live.values()) for t in terms}
        idf = {term: math.log(149 / (count + 0.5)) for term, count in counts.items()}
        most = sum(min(idf[t], max(idf[t] for t in terms if counts[t])) for t in terms)
        worth = {
            path: sum(idf[t] * max(value(t, w) for w in text) for t in terms) / most
            for path, text in live.items()
        }
        hits = index.search_words(" ".join(terms), 12) or []
        assert {hit.path: hit.share for hit in hits} == {
            hit.path: pytest.approx(worth[hit.path], rel=1e-5) for hit in hits
        }
        ranked = sorted(filter(None, worth.values()), reverse=True)[:12]
        assert [hit.share for hit in hits] == pytest.approx(ranked, rel=1e-5)


def test_words_survive_what_writers_do(index: PhotoIndex, tmp_path: Path) -> None:
    with index.writer() as writer:
        writer.move([("/p/ticket.jpg", "/q/flight.jpg", (7, 7))])
        writer.delete(["/p/sign.jpg"])
    assert found(index, "pass") == found(index, "flight") == ["/q/flight.jpg"]
    assert found(index, "ticket") == found(index, "house") == []
    index.compact()
    index = PhotoIndex.rebuild(tmp_path / "index")
    assert index.words("/q/flight.jpg") == TICKET
    assert index.words("/p/sign.jpg") is None
    index.verify()
    assert len([*(tmp_path / "index").glob("*.mcw")]) == 1


def test_words_are_set_without_writing_embeddings_again(index: PhotoIndex, tmp_path: Path) -> None:
    directory = tmp_path / "index"
    segments = {file: file.stat().st_mtime_ns for file in directory.glob("*.mcs")}
    for paths in (["/p/1.jpg", "/p/2.jpg"], ["/p/3.jpg"]):
        with index.writer() as writer:
            writer.set_words(dict.fromkeys(paths, TICKET))
    assert len(found(index, "pass")) == 4
    assert {file: file.stat().st_mtime_ns for file in directory.glob("*.mcs")} == segments
    assert len([*directory.glob("*.mcw")]) == 1
    with index.writer() as writer:
        writer.set_words({"/p/4.jpg": TICKET, "/p/5.jpg": TICKET})
        writer.move([("/p/4.jpg", "/p/new.jpg", (1, 1))])
        writer.delete(["/p/5.jpg"])
    assert index.words("/p/new.jpg") == TICKET
    assert len(found(index, "pass")) == 5 and index.words("/p/5.jpg") is None
    assert "/p/new.jpg" not in dict(index.unread()) and "/p/6.jpg" in dict(index.unread())


def test_texts_of_any_kind_survive_and_take_bounded_time(tmp_path: Path) -> None:
    lines = (
        *(
            Line("word" * 250_000),
            Line("12 km of text " * 8000),
            Line("\u202eabc\u200f \x00\x1b\x7f a"),
        ),
        *(Line("two\nlines"), Line("𝔘nicode \ud800 東京"), Line("")),
    )
    index = worded(tmp_path / "index", {"/a.jpg": PhotoWords(lines[1:], ("",) * 3, True)})
    words = index.words("/a.jpg")
    assert words is not None and words.places == ("",) * 3
    texts = [line.text for line in words.lines]
    assert texts[:2] == [line.text for line in lines[1:3]]
    assert texts[2:] == ["two lines", "𝔘nicode ? 東京", ""]
    assert found(index, "unicode") == found(index, "東京") == ["/a.jpg"]
    with index.writer() as writer:
        writer.set_words({"/a.jpg": PhotoWords(lines[:1])})
    words = index.words("/a.jpg")
    assert words is not None and set(words.lines[0].text) == set("word")
    assert len(words.lines[0].text) > 900_000 and found(index, "wordword") == ["/a.jpg"]


def test_boxes_are_kept_to_a_two_hundredth(tmp_path: Path) -> None:
    chance = random.Random(4)

    def photo(tilt: int) -> PhotoWords:
        x, y, lines = 300, 250, []
        for _ in range(chance.randrange(5)):
            width, height = chance.randrange(900, 6000), chance.randrange(90, 600)
            a, b = chance.randint(0, tilt), chance.randint(0, tilt)
            box = (x, y, x + width, y + a, x + width + b, y + a + height, x + b, y + height)
            turned = box[4:] + box[:4] if chance.random() < 0.3 else box
            lines.append(Line("word " * chance.randrange(1, 9), box=turned))
            x, y = chance.randrange(3000), chance.randrange(7000)
        return PhotoWords((*lines, Line("unboxed")), (), True)

    photos = {f"/{n}.jpg": photo(n % 2 * 900) for n in range(60)}
    index = worded(tmp_path / "index", photos)
    for path, known in photos.items():
        words = index.words(path)
        assert words is not None and len(words.lines) == len(known.lines)
        for line, own in zip(words.lines, known.lines, strict=True):
            assert line.text == own.text and len(line.box) == len(own.box)
            # The third corner is where both sides lead.
            assert all(abs(a - b) <= 25 for a, b in zip(line.box[:4], own.box[:4], strict=True))
            assert all(abs(a - b) <= 75 for a, b in zip(line.box, own.box, strict=True))


def test_a_changed_file_has_no_words_until_it_is_read_again(index: PhotoIndex) -> None:
    unread = dict(index.unread())
    assert len(unread) == 21 and "/p/ticket.jpg" not in unread
    with index.writer() as writer:
        writer.add(["/p/ticket.jpg"], photos_and_queries(1, 1, 16)[0])
    assert found(index, "pass") == [] and "/p/ticket.jpg" in dict(index.unread())
    before = dict(index.unread())["/p/3.jpg"]
    with index.writer() as writer:
        writer.set_words({"/p/3.jpg": TICKET, "/missing.jpg": TICKET})
    assert found(index, "pass") == ["/p/3.jpg"] and index.photos == 23
    assert "/p/3.jpg" not in dict(index.unread()) and before == (0, 0)


def test_a_place_is_a_filter(index: PhotoIndex) -> None:
    lisbon = RowFilter(place=("lisbon",))
    assert index.count(lisbon) == 1
    assert index.search(photos_and_queries(1, 1, 16)[0][0], 5, rows=lisbon).paths == [
        "/p/Müller/beach.jpg"
    ]
    assert index.count(RowFilter(place=("lisbon", "portugal"))) == 1
    assert index.count(RowFilter(place=("lisbon", "spain"))) == 0
    assert index.count(RowFilter(place=("muller",))) == 0
    assert found(index, "beach", rows=RowFilter(("/p/none",), place=("lisbon",))) == []
    assert found(index, "beach", rows=lisbon) == ["/p/Müller/beach.jpg"]


def test_an_index_without_words_is_as_it_was(tmp_path: Path) -> None:
    index = create(tmp_path / "index", 16)
    with index.writer() as writer:
        writer.add(["/a.jpg"], photos_and_queries(1, 1, 16)[0])
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_bytes())
    assert "words" not in manifest["segments"][0]
    assert index.search_words("a", 1) is None and index.words("/a.jpg") is None
    assert [*index.unread()] == [("/a.jpg", (0, 0))]
    assert index.count(RowFilter(place=("lisbon",))) == 0


def test_a_damaged_file_of_words_is_an_error_and_can_be_dropped(
    index: PhotoIndex, tmp_path: Path
) -> None:
    (file,) = (tmp_path / "index").glob("*.mcw")
    whole, chance = file.read_bytes(), random.Random(9)
    for trial in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 40])):
            data[chance.choice([chance.randrange(32), chance.randrange(len(data))])] ^= (
                1 << chance.randrange(8)
            )
        if trial % 2 == 0:
            data[8:12] = zlib.crc32(memoryview(data)[12:]).to_bytes(4, "little")
        file.write_bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
        try:
            damaged = PhotoIndex.open(tmp_path / "index")
            for query in ("boarding pass", "muller", "タワー", "lisbom"):
                damaged.search_words(query, 5)
            damaged.words("/p/ticket.jpg")
            PhotoIndex.rebuild(shutil.copytree(tmp_path / "index", tmp_path / f"{trial}"))
        except PhotoIndexError:
            pass
        if (bytes(data) != whole and trial % 2) or len(file.read_bytes()) < len(whole):
            with pytest.raises(PhotoIndexError):
                PhotoIndex.open(tmp_path / "index").verify()
    assert PhotoIndex.repair(tmp_path / "index") == 0
    repaired = PhotoIndex.open(tmp_path / "index")
    repaired.verify()
    assert repaired.photos == len([*repaired.unread()]) == 23
    assert repaired.words("/p/ticket.jpg") is None and not file.exists()


def test_of_photos_with_equal_words_those_that_look_alike_are_found(tmp_path: Path) -> None:
    index = worded(tmp_path / "index", {f"/{n:02}.jpg": PhotoWords((), PLACES) for n in range(40)})
    embedding = photos_and_queries(40, 1, 16)[0][33]
    hits = index.search_words("lisbon", 3, near=embedding)
    assert hits is not None
    assert [hit.path for hit in hits] == index.search(embedding, 3, exact=True).paths
    assert hits[0].path == "/33.jpg"


def test_a_word_that_no_photo_has_leaves_half_of_two_to_the_other(index: PhotoIndex) -> None:
    hits = index.search_words("zebra lisbon", 1)
    assert hits is not None and hits[0].path == "/p/Müller/beach.jpg"
    assert hits[0].share == pytest.approx(0.5)


class Blocks(ctypes.Structure):
    _fields_ = [(f"field{n}", ctypes.c_size_t) for n in range(10)]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_a_commit_gives_all_its_memory_back(tmp_path: Path) -> None:
    texts = [" ".join(f"word{n}x{k}" for k in range(9)) for n in range(2000)]
    words = {f"/p/{n}.jpg": PhotoWords((Line(text),), (), True) for n, text in enumerate(texts)}
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = Blocks
    used = []
    for run in range(4):
        worded(tmp_path / str(run), words, 256)
        used.append(ask().field4 + ask().field7)  # mapped, and of the heap
    assert used[3] - used[1] < 1 << 18
