"""The words of photos in the Java engine: folded, kept, written and found as by Python."""

from __future__ import annotations

import random
import shutil
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Channel, SearchEngine, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.coordinates import coordinates
from mcad_mobile.engine.words.folding import MOST_LETTERS, fold
from mcad_mobile.engine.words.photo_words import Line, PhotoWords
from mcad_mobile.engine.words.ranking import Match
from tests.android.engine.test_index import JavaIndex, names, unit
from tests.android.engine.test_same_bytes import files
from tests.engine.index.test_words import BOX, PLACES, TICKET
from tests.engine.words.test_places import write_table
from tests.support.index_embeddings import create
from tests.support.phone import OWN, App, FakePhone
from tests.support.probe import EngineError
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import with_reader

pillow_heif.register_heif_opener()
DIM = 64
LISBON = {1: "N", 2: (38.0, 42.0, 35.9), 3: "W", 4: (9.0, 8.0, 22.1)}
NOT_TURNED = {"value": 1, "read": False}
# Java 17 and phones know fewer characters than Python.
OLD = unicodedata.ucd_3_2_0


@pytest.fixture
def java(probe, tmp_path: Path) -> JavaIndex:
    return JavaIndex(probe, tmp_path / "index", tmp_path)


def words_of(number: int) -> PhotoWords:
    """Words as photos have them, of many scripts."""
    chance = random.Random(number)
    vocabulary = [
        "Boarding",
        "PASS",
        "Größe",
        "東京タワー",
        "กรุงเทพ",
        "हिन्दी",
        "ΑΘΉΝΑΣ",
        "12,40",
        "a🏖b",
    ]
    left, top = chance.randrange(5000), chance.randrange(9000)
    lines = []
    for _ in range(chance.randrange(4)):
        text = " ".join([*chance.choices(vocabulary, k=2), str(chance.randrange(3000))])
        right = left + 90 * len(text)
        lines.append(Line(text, box=(left, top, right, top, right, top + 400, left, top + 400)))
        top = min(top + 600, 9500)
    return PhotoWords(tuple(lines), PLACES if chance.random() < 0.3 else (), chance.random() < 0.8)


def documents(words: dict[str, PhotoWords]) -> list[dict[str, Any]]:
    """Words as the probe takes them."""
    return [{"path": path, **msgspec.to_builtins(photo)} for path, photo in words.items()]


@pytest.fixture
def indexes(java: JavaIndex, tmp_path: Path) -> tuple[PhotoIndex, JavaIndex]:
    """The same index of 3,000 photos, the last 100 of them with words, for Python and Java."""
    index = create(tmp_path / "python", DIM)
    with index.writer() as writer:
        writer.add(names(2900), unit(2900, DIM))
    with index.writer() as writer:
        writer.add(names(100, "word"), unit(100, DIM, seed=1))
        writer.set_words({path: words_of(i) for i, path in enumerate(names(100, "word"))})
    shutil.copytree(tmp_path / "python", java.directory)
    return index, java


def change(
    indexes: tuple[PhotoIndex, JavaIndex],
    paths: list[str],
    delete: list[str],
    moves: dict[str, str],
    words: dict[str, PhotoWords],
) -> None:
    """Commit changes to both; their files of words must be the same."""
    index, java = indexes
    rows, ends = unit(len(paths), DIM, seed=2), {"from": [*moves], "to": [*moves.values()]}
    java.change(
        paths,
        rows,
        delete=delete,
        dim=DIM,
        words=documents(words),
        student=index.student_sha256,
        **ends,
    )
    stamps = np.stack([np.arange(len(rows)), np.full(len(rows), 7)], axis=1).astype(np.uint32)
    with index.writer() as writer:
        writer.add(paths, rows, stamps)
        writer.delete(delete)
        writer.set_words(words)  # they move along
        writer.move([(old, new, (5, 6)) for old, new in moves.items()])
        writer.set_words(words)
    assert files(java.directory) == files(Path(index._directory))


def test_words_are_folded_as_python_folds_them(probe) -> None:
    assigned = [chr(i) for i in range(0x110000) if OLD.category(chr(i)) not in ("Cn", "Cs", "Co")]
    texts = [
        *("a" + "".join(assigned[at : at + 50]) for at in range(0, len(assigned), 50)),
        *("/home/me/IMG_2024-05.jpg", "a" * 100, "𝔞" * 100, "語" * 5, "犬", "JR東日本line2", ""),
        *("İstanbul ISPARTA ılık", "ΑΘΉΝΑΣ", "ｶﾞｲﾄﾞ ﬁn ½", "𠀀𠀁𠀂", "\udc80x\udcff"),
    ]
    answer = probe.ask("fold", texts=texts)
    assert [
        (text, terms) for text, terms in zip(texts, answer, strict=True) if terms != fold(text)
    ] == []
    assert max(len(term) for terms in answer for term in terms) == MOST_LETTERS


def test_what_python_wrote_is_read(indexes) -> None:
    index, java = indexes
    java.read(verify=True)
    paths = [*names(100, "word"), names(1)[0], "nobody"]
    answer = java._probe.ask("index_words", index=java.directory, paths=paths)
    assert answer[-2:] == [None, None]
    assert [msgspec.convert(photo, PhotoWords) if photo else None for photo in answer] == [
        index.words(path) for path in paths
    ]


def test_java_writes_words_as_python_does_when_it_adds_deletes_moves_and_merges(indexes) -> None:
    old = names(100, "word")
    moves = {old[1]: "Urlaub/Größe.jpg", old[2]: old[2], names(1)[0]: "z/東京タワー.jpg"}
    added = {"new/ticket.jpg": TICKET, old[5]: words_of(7), old[1]: words_of(8)}
    change(indexes, ["new/ticket.jpg", "clip.mp4#t=0.000"], [old[0]], moves, added)
    long = PhotoWords((Line("x\ny " * 400_000, box=BOX), Line("z")), ("p" * 2000,) * 70)
    change(indexes, [], [], {"new/ticket.jpg": "moved.jpg"}, {names(9)[8]: long, "nobody": TICKET})
    change(indexes, names(1500, "more"), names(1500)[200:], {}, {})
    index, java = indexes
    java.read(verify=True)
    assert index.words("moved.jpg") == TICKET


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "link", "segment", "checksum"])
def test_a_damaged_file_of_words_is_an_error(indexes, damage: str) -> None:
    _, java = indexes
    (file,) = java.directory.glob("*.mcw")
    data = bytearray(file.read_bytes())
    file.unlink()
    if damage == "link":
        file.symlink_to(java.directory / "manifest.json")
    elif damage != "gone":
        data[{"segment": 12}.get(damage, 300)] ^= 1
        file.write_bytes(data[: {"cut": 1000, "empty": 0}.get(damage)])
    with pytest.raises(EngineError, match=r"words-.* is damaged") as error:
        java.read(verify=damage == "checksum")
    assert error.value.kind == "DAMAGED"
    if damage == "checksum":  # and no commit takes it over
        with pytest.raises(EngineError, match=r"words-.* is damaged"):
            java.change(names(1500, "more"), unit(1500, DIM), delete=names(1500), dim=DIM)


def test_no_hostile_file_of_words_ends_the_process(indexes) -> None:
    _, java = indexes
    (file,) = java.directory.glob("*.mcw")
    good, chance, read = file.read_bytes(), random.Random(1), 0
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(20, len(data))] = chance.randrange(256)
        file.write_bytes(data)
        try:
            java._probe.ask("index_words", index=java.directory, paths=names(100, "word"))
            read += 1
        except EngineError as error:
            assert error.kind == "DAMAGED"
    assert 0 < read < 200


QUERIES = (
    *("boarding", "BOARDING pass", "boardimg pass 12,40", "boar", "gross", "東京", "タワー กรุง"),
    *("a beach in Lisbon", "portugal", "the of", "zebra", "hindi हिन्दी αθήνας 12 40 lisboa grosse"),
    *(
        "pass " + " ".join(map(str, range(100, 1000, 90))),
        "photo 000007",
        "a dog on the beach",
        "…",
    ),
)


@pytest.fixture(scope="module")
def searched(bundle: Bundle, tmp_path_factory) -> PhotoIndex:
    """Photos with words in three segments, some without, some deleted, and a video's moments."""
    index = open_index(bundle, tmp_path_factory.mktemp("searched") / "index", create=True)
    paths = [*names(600), "clip.mp4#t=0.000", "clip.mp4#t=5.000"]
    rows = unit(len(paths), bundle.dim)
    for part in (slice(500), slice(500, 590), slice(590, None)):
        with index.writer() as writer:
            writer.add(paths[part], rows[part])
            if part.start != 500:
                writer.set_words({path: words_of(paths.index(path)) for path in paths[part]})
    with index.writer() as writer:
        writer.delete(names(600)[:400:9])
    return index


@pytest.mark.parametrize("by", [None, "content", "words"])
@pytest.mark.parametrize("place", [None, "lisboa Portugal"])
def test_java_finds_by_words_what_python_finds_in_the_same_order(
    probe, bundle: Bundle, searched: PhotoIndex, by: Channel | None, place: str | None
) -> None:
    among = {} if place is None else {"place": place}
    rows, engine, matched = PhotoIndex.filter(**among), SearchEngine(bundle), 0
    answers = probe.ask(
        "search",
        **{"bundle": bundle.directory, "index": searched._directory, "queries": QUERIES, "k": 12},
        **{"by": "BOTH" if by is None else by.upper(), **among},
    )
    for query, found in zip(QUERIES, answers, strict=True):
        expected = engine.search(searched, query, k=12, rows=rows, by=by).results
        assert found["paths"] == [result.path for result in expected], query
        assert found["scores"] == pytest.approx([result.score for result in expected], abs=1e-3)
        for of, result in zip(found["matched"], expected, strict=True):
            assert [
                Match(
                    **{**match, "words": tuple(match["words"]), "box": tuple(match["box"]) or None}
                )
                for match in of
            ] == [*result.matched]
            matched += len(of)
    assert (matched > 30) == (by != "content")


def test_words_are_not_found_in_an_index_that_has_none(
    probe, bundle: Bundle, searched: PhotoIndex, tmp_path: Path
) -> None:
    index = open_index(bundle, tmp_path / "index", create=True)
    for directory, query, message in (
        (index._directory, "a", "holds no words"),
        (searched._directory, " ", "has no words"),
    ):
        with pytest.raises(EngineError, match=message):
            probe.ask(
                "search", bundle=bundle.directory, index=directory, queries=[query], k=5, by="WORDS"
            )
    with pytest.raises(EngineError, match="0 results were asked for"):
        probe.ask(
            "search",
            bundle=bundle.directory,
            index=searched._directory,
            queries=["a"],
            k=0,
            by="WORDS",
        )


def with_coordinates(path: Path, gps: dict[int, Any], orientation: int = 6) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825).update(gps)
    Image.new("RGB", (32, 24)).save(path, exif=exif.tobytes())
    return path


def boxes(data: bytes, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield the types and contents of the boxes of a HEIC file."""
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        yield kind, data[start + 8 : start + length]
        start += length


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_other_items(photo: bytes, version: int, in_meta: bool) -> bytes:
    """A HEIC photo whose EXIF is named by other fields, and lies in its `meta` box if so asked."""
    file = dict(boxes(photo))
    meta = dict(boxes(file[b"meta"], 4))
    where = [struct.unpack_from(">H2xI6xI", meta[b"iloc"], 8 + 18 * item) for item in (0, 1)]
    _, start, length = where[1]
    exif = photo[start : start + length]
    number = ">H" if version < 2 else ">I"

    def located(grown: int) -> bytes:
        """A base of four bytes, offsets and lengths of eight; from version 1 an index of four."""
        items = struct.pack(">IH", version << 24, 0x8840 + 4 * (version > 0))
        items += struct.pack(number, 2)
        for item, start, length in where:
            inside = in_meta and item == 2
            items += struct.pack(number, item) + (struct.pack(">H", inside) if version else b"")
            items += struct.pack(">HIH", 0, 0 if inside else 20, 1) + bytes(4 * (version > 0))
            items += struct.pack(">QQ", 3 if inside else start + grown - 20, length)
        return items

    def whole(grown: int) -> bytes:
        held = meta | {b"iloc": located(grown)} | ({b"idat": b"abc" + exif} if in_meta else {})
        inner = b"".join(box(*part) for part in held.items())
        parts = file | {b"meta": bytes(4) + inner}
        return b"".join(box(*part) for part in parts.items())

    return whole(len(whole(0)) - len(photo))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "heic", "avif"])
@pytest.mark.parametrize(
    "gps",
    [
        LISBON,
        {1: "S", 2: (33.0, 51.0, 0.0), 3: "E", 4: (151.0, 12.0, 30.5)},
        {2: (38.0, 42.0, 0.0), 4: (9.0, 8.0, 0.0)},
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "W", 4: (9.0, 8.0, 22.1)},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "W", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (38.0, 42.0), 3: "W", 4: (9.0, 8.0, 22.1)},
        {1: "N", 3: "W", 4: (9.0, 8.0, 22.1)},
        {},
    ],
)
def test_coordinates_are_read_as_python_reads_them(
    probe, tmp_path: Path, suffix: str, gps: dict[int, Any]
) -> None:
    photo = with_coordinates(tmp_path / f"photo.{suffix}", gps)
    expected = coordinates(photo.read_bytes())
    assert probe.ask("coordinates", photo=photo) == (
        [] if expected is None else pytest.approx([*expected])
    )
    # Decoders turn a photo of items by what its items say.
    turned = {"value": 6, "read": True} if suffix in ("jpg", "png", "webp") else NOT_TURNED
    assert probe.ask("orientation", photo=photo) == turned


@pytest.mark.parametrize("in_meta", [False, True])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_coordinates_are_found_wherever_a_heic_file_keeps_them(
    probe, tmp_path: Path, version: int, in_meta: bool
) -> None:
    photo = with_coordinates(tmp_path / "photo.heic", LISBON)
    photo.write_bytes(with_other_items(photo.read_bytes(), version, in_meta and version > 0))
    assert coordinates(photo.read_bytes()) == pytest.approx((38.7099, -9.1395), abs=1e-4)
    assert probe.ask("coordinates", photo=photo) == pytest.approx(coordinates(photo.read_bytes()))


@pytest.mark.parametrize(("suffix", "length"), [("jpg", 250), ("heic", 700)])
def test_no_exif_ends_the_process(probe, tmp_path: Path, suffix: str, length: int) -> None:
    photo, chance = with_coordinates(tmp_path / f"photo.{suffix}", LISBON), random.Random(1)
    good = photo.read_bytes()
    for _ in range(300):
        data = bytearray(good[: chance.choice([chance.randrange(22, length), length])])
        for _ in range(3):
            data[chance.randrange(20, len(data))] = chance.randrange(256)
        photo.write_bytes(data)
        at = probe.ask("coordinates", photo=photo)
        assert not at or (abs(at[0]) <= 90 and abs(at[1]) <= 180)


def test_places_are_those_that_python_finds(probe, tmp_path: Path) -> None:
    chance = random.Random(4)
    cities = [
        (
            chance.uniform(-89, 89),
            chance.choice([chance.uniform(-180, 180), 179.99]),
            chance.uniform(0, 60),
            f"C{n}\tÇ{n}",
        )
        for n in range(3000)
    ]
    regions = " ".join(f"R{n}" for n in range(3000))
    places, file = write_table(tmp_path / "table", cities, regions), tmp_path / "table"
    points = [(chance.uniform(-90, 90), chance.uniform(-180, 180)) for _ in range(2000)]
    points += [(north + chance.gauss(0, 0.2), east) for north, east, *_ in cities[:1000]]
    points += [(90, 0), (-90, 180), (0, -180), (0, 180)]
    points = [(max(-90, min(90, north)), east) for north, east in points]

    def ask(*points: tuple[float, float]) -> list[list[str]]:
        asked = [{"north": north, "east": east} for north, east in points]
        answer: list[list[str]] = probe.ask("places", table=file, points=asked)
        return answer

    found = [[*places.near(*point)] for point in points]
    assert ask(*points) == found
    assert sum(map(bool, found)) > 1000
    whole = file.read_bytes()
    for data in (b"", whole[:7], whole[:15], whole[:1000], whole[:-9000], b"X" + whole):
        file.write_bytes(data)
        with pytest.raises(EngineError, match=r"table of places .* is damaged"):
            ask((1, 1))
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(20):
            data[chance.choice([chance.randrange(40), chance.randrange(len(data))])] = (
                chance.randrange(256)
            )
        file.write_bytes(data)
        try:
            ask(*points[2000:2050])
        except EngineError as error:
            assert error.kind == "BUNDLE"


def test_an_app_finds_photos_by_the_names_of_files_and_albums_and_by_place(
    probe, tmp_path: Path, phone: FakePhone
) -> None:
    bundle = with_reader(make_tiny_bundle(tmp_path / "words"))
    app = App(probe, bundle, phone)
    names = [
        "DCIM/Camera/IMG_1.png",
        "Pictures/Urlaub/Grand-PLACE.png",
        "Pictures/Urlaub/map.png",
        "a.png",
    ]
    phone.take(*names)
    gps = {1: "N", 2: (38.0, 42.0, 36.0), 3: "W", 4: (9.0, 8.0, 24.0)}
    with_coordinates(phone.folder / OWN / names[2], gps)
    phone.change(places=False)
    app.index()
    assert app.ask("search", words="portugal", k=4, by="WORDS")["paths"] == []
    phone.change(places=True)  # the user turns them on
    assert app.index()["added"] == 0
    assert app.index()["opened"] == 0
    paths = {name: phone.path(name) for name in names}

    def found(words: str, **among: str) -> dict[str, Any]:
        answer = app.ask("search", words=words, k=4, by="WORDS", **among)
        return dict(zip(answer["paths"], answer["matched"], strict=True))

    assert found("pláce") == {paths[names[1]]: [f"name: {names[1]}"]}
    assert {*found("urlaub")} == {paths[names[1]], paths[names[2]]}
    assert found("media") == {}  # of MediaStore's addresses
    assert found("lissabon") == {}
    assert found("portugal") == {paths[names[2]]: ["place: Portugal"]}
    assert {*found("urlaub", place="lisbon portugal")} == {paths[names[2]]}
    both = app.ask("search", words="map a dog", k=4)
    assert both["paths"][0] == paths[names[2]]
    assert app.ask("search", words="a dog", k=4, place="Lisbon")["paths"] == [paths[names[2]]]
    phone.renumber(version="2")
    app.index()
    moved = phone.path(names[2])
    assert moved != paths[names[2]]
    assert {*found("portugal")} == {moved}
    known = open_index(bundle, app.index_directory).words(moved)
    assert known is not None and known.read
    assert known.places == ("Lisbon", "Lisboa", "Lisbon District", "Portugal")
    app.close()
