"""Queries of several parts, and near duplicates."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex, RowFilter, core
from mcad_mobile.engine.native import address, load_kernel
from mcad_mobile.engine.query import Part, compose
from mcad_mobile.errors import PhotoError, PhotoIndexError, QueryError
from tests.support.damaged_index import rewrite_manifest
from tests.support.index_embeddings import create, names, photos_and_queries, unit
from tests.support.index_oracle import read_index
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.long


@pytest.fixture
def engine(tmp_path):
    return SearchEngine(make_tiny_bundle(tmp_path / "bundle"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return [Path(shutil.copy(path, folder / path.name)) for path in packaged_photos()[:8]]


@pytest.fixture
def index(tmp_path, engine, photos):
    index = create_index(engine.bundle, tmp_path / "index")
    engine.index_photos(index, photos)
    return index


def typical_photos(dim: int = 64) -> np.ndarray:
    return photos_and_queries(200, 1, dim=dim)[0]


def test_one_part_is_the_query_itself() -> None:
    query = unit(np.ones(64))
    assert compose([query], [1.0], typical_photos()) is query


def test_weights_move_a_query_from_one_part_to_the_other() -> None:
    photos = typical_photos()
    a, b = photos[0], photos[1]
    towards = [
        float(compose([a, b], [1.0, w], photos) @ (b - a)) for w in (-1.0, 0.0, 0.5, 1.0, 4.0)
    ]
    assert towards == sorted(towards)
    assert towards[0] < towards[-1] - 0.1
    assert np.allclose(np.linalg.norm(compose([a, b], [2.0, -0.5], photos)), 1, atol=1e-5)


def test_parts_count_by_how_much_they_tell_photos_apart_not_by_their_scores() -> None:
    photos = typical_photos()
    strong = photos[0]
    spread = (photos @ strong).std()
    # Half along a direction in which no photo differs: half the spread, the same meaning.
    blunt = unit(np.linalg.svd(photos - photos.mean(0))[2][-1])
    weak = unit(photos[1] * 0.3 + blunt)
    assert (photos @ weak).std() < 0.6 * spread

    def agreement(query, part):
        return np.corrcoef(photos @ query, photos @ part)[0, 1]

    mixed = compose([strong, weak], [1.0, 1.0], photos)
    assert agreement(mixed, weak) > agreement(unit(strong + weak), weak) + 0.05
    assert abs(agreement(mixed, weak) - agreement(mixed, strong)) < 0.05


def test_a_part_that_no_photo_differs_in_counts_as_if_they_differed_by_a_thousandth() -> None:
    photos = np.pad(typical_photos(), ((0, 0), (0, 1)))
    part, flat = photos[0], np.eye(65, dtype=np.float32)[64]
    expected = unit(part / (photos @ part).std() + flat / 1e-3)
    assert np.allclose(compose([part, flat], [1.0, 1.0], photos), expected, atol=1e-6)


def test_parts_that_cancel_out_are_an_error() -> None:
    query = unit(np.ones(64))
    with pytest.raises(QueryError, match="cancel out"):
        compose([query, query], [1.0, -1.0], typical_photos())
    with pytest.raises(QueryError, match="cancel out"):
        compose([query], [0.0], typical_photos())


def test_parts_that_leave_little_of_each_other_are_a_query_of_unit_length_in_float32() -> None:
    photos = typical_photos()
    spread = float((photos @ photos[0]).std())
    asked = compose([photos[0], photos[0]], [1.0, 0.1 * spread - 1.0], photos)
    assert asked.dtype == np.float32
    assert np.allclose(asked, photos[0], atol=1e-5)


def test_more_like_a_photo_of_the_index_leaves_it_out_and_needs_no_decoding(engine, index, photos):
    expected = index.search(engine.embed_photo(photos[2]), k=4).paths[1:]
    photos[2].write_bytes(b"gone")  # what the index holds is enough
    found = engine.search_parts(index, [Part(photos[2])], 3)
    assert [result.path for result in found.results] == expected
    assert str(photos[2]) not in [result.path for result in found.results]


def test_more_like_a_photo_that_is_not_in_the_index_decodes_it(engine, index, photos, tmp_path):
    copy = Path(shutil.copy(photos[3], tmp_path / "copy.png"))
    found = engine.search_parts(index, [Part(copy)], 1)
    assert found.results[0].path == str(photos[3])
    assert found.results[0].score > 0.999
    with pytest.raises(PhotoError, match="No photo at"):
        engine.search_parts(index, [Part(tmp_path / "nowhere.jpg")], 1)


def test_words_less_a_photo_put_what_is_like_it_lower(engine, index, photos):
    copy = Path(shutil.copy(photos[1], photos[1].with_stem("copy")))  # itself is left out
    engine.index_photos(index, [copy])

    def paths(weight):
        parts = [Part("a dog"), Part(photos[1], weight)]
        return [result.path for result in engine.search_parts(index, parts, 9).results]

    more, less = paths(2.0), paths(-2.0)
    assert len(more) == len(less) == 8
    assert str(photos[1]) not in more + less
    assert (more[0], less[-1]) == (str(copy), str(copy))
    query = engine.search_parts(index, [Part("a dog"), Part(photos[1], -2.0)], 1).query
    assert query == f"+1 'a dog' -2 {str(photos[1])!r}"


def test_a_link_to_a_photo_of_the_index_is_that_photo(engine, index, photos, tmp_path):
    expected = index.search(engine.embed_photo(photos[2]), k=4).paths[1:]
    (tmp_path / "link.png").symlink_to(photos[2])
    photos[2].write_bytes(b"gone")
    found = engine.search_parts(index, [Part(tmp_path / "link.png")], 3)
    assert [result.path for result in found.results] == expected


def test_a_link_in_an_indexed_folder_is_that_photo_wherever_it_is_named_from(
    engine, index, photos, tmp_path, monkeypatch
):
    album = tmp_path / "album"
    album.mkdir()
    (album / "link.png").symlink_to(shutil.copy(photos[2], tmp_path / "copy.png"))
    (tmp_path / "elsewhere").symlink_to(album)
    engine.index_folder(index, album)
    for folder, path in ((album, "link.png"), (tmp_path, "elsewhere/link.png")):
        monkeypatch.chdir(folder)
        results = engine.search_parts(index, [Part(Path(path))]).results
        assert str(album / "link.png") not in [result.path for result in results]


def test_a_link_to_itself_is_no_photo(engine, index, tmp_path):
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    with pytest.raises(PhotoError, match=r"loop\.jpg cannot be read"):
        engine.search_parts(index, [Part(loop)])


def test_what_is_told_of_words_is_told_of_each_part(engine, index):
    parts = [Part("a dog"), Part("\u72d7 " + "dog " * 100), Part("\u732b", -1.0)]
    found = engine.search_parts(index, parts)
    assert (found.truncated, found.unknown) == (True, ("\u72d7", "\u732b"))


def test_nothing_to_search_for_is_an_error(engine, index):
    with pytest.raises(QueryError, match="empty"):
        engine.search_parts(index, [])


def duplicated(tmp_path: Path, n: int = 3000):
    """An index of n photos; 0 to 2 are nearly the same, 10 and 11 too, in two segments."""
    photos = photos_and_queries(n, 1, dim=256)[0]
    random = np.random.default_rng(3)
    for copy, of in ((1, 0), (2, 0), (11, 10), (n - 1, 50)):
        noise = random.normal(size=256)
        photos[copy] = unit(photos[of] + 0.15 * noise / np.linalg.norm(noise))
    index = create(tmp_path / "index", dim=256)
    with index.writer() as writer:
        writer.add(names(n - 200), photos[: n - 200])
    with index.writer() as writer:
        writer.add(names(n)[n - 200 :], photos[n - 200 :])
    return index, photos


def test_near_duplicates_are_those_that_comparing_all_pairs_finds(tmp_path: Path) -> None:
    index, photos = duplicated(tmp_path)
    every = photos @ photos.T
    pairs = {(i, j) for i, j in np.argwhere(every >= 0.97).tolist() if i < j}
    assert pairs >= {(0, 1), (0, 2), (10, 11), (50, 2999)}
    groups = index.near_duplicates(0.97)
    together = {frozenset(map(int, (a[6:12], b[6:12]))) for g in groups for a in g for b in g}
    assert {frozenset(pair) for pair in pairs} <= together
    linked = {frozenset({i}) for pair in pairs for i in pair}
    assert {group for group in together if len(group) == 1} == linked
    assert len(groups[0]) == max(map(len, groups)) >= 3


def test_pairs_just_within_the_cosine_are_found_though_their_codes_differ_by_chance(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(5)
    photos, aside = unit(random.normal(size=(2, 300, 256)))
    aside = unit(aside - (aside * photos).sum(1, keepdims=True) * photos)
    likes = unit(0.975 * photos + np.sqrt(1 - 0.975**2) * aside)
    index = create(tmp_path / "index", dim=256)
    with index.writer() as writer:
        writer.add([*names(300), *names(300, "like")], np.concatenate([photos, likes]))
    found = [group for group in index.near_duplicates(0.97) if len(group) == 2]
    assert all(group[-10:] == other[-10:] for group, other in found)
    assert len(found) >= 0.97 * 300


def compared(index: PhotoIndex) -> int:
    """Count the pairs of codes that a search for near duplicates compares, about: it asks after
    every 65,536 of a band whether to stop."""
    asked, error = [0], core._Error()

    def ask(_: object) -> int:
        asked[0] += 1
        return 0

    with index._core.filtered(RowFilter()) as passing:
        stop, groups = core._Stop(core._Asked(ask)), np.empty(passing.count, np.uint32)
        arguments = (passing._handle, 0.97, ctypes.byref(stop), address(groups))
        assert load_kernel().library.mcad_duplicates(*arguments, ctypes.byref(error)) == 0
        return 65_536 * (asked[0] - passing.count // 256)


@pytest.mark.slow
def test_twenty_thousand_copies_are_found_without_comparing_them_all(tmp_path: Path) -> None:
    index, photos = duplicated(tmp_path)
    for part in ("a", "b"):
        with index.writer() as writer:
            writer.add(names(10_000, part), np.repeat(photos[20:21], 10_000, axis=0))
    assert index.near_duplicates()[0] == [
        *names(10_000, "a"),
        *names(10_000, "b"),
        "photo/000020.jpg",
    ]
    assert compared(index) < 1_000_000


def test_copies_bring_the_likes_of_each_into_one_group_and_no_others(tmp_path: Path) -> None:
    index, photos = duplicated(tmp_path)
    before = index.near_duplicates(0.97)
    of = {path: group for group in before for path in group}
    copied = names(60)
    for part, count in (("copy", 60), ("later", 30)):  # the later ones in a segment of their own
        with index.writer() as writer:
            writer.add(names(count, part), photos[:count])
            writer.delete([f"{part}/000007.jpg"])
    expected = {frozenset(group) for group in before if not {*group} & {*copied}}
    there = {
        f"{part}/{row:06d}.jpg"
        for part, count in (("copy", 60), ("later", 30))
        for row in range(count)
        if row != 7
    }
    for path in copied:
        group = of.get(path, [path])
        copies = {path.replace("photo", part) for path in group for part in ("copy", "later")}
        expected.add(frozenset({*group, *(copies & there)}))
    expected = {group for group in expected if len(group) > 1}
    assert {frozenset(group) for group in index.near_duplicates(0.97)} == expected


@pytest.mark.parametrize("dim", [8, 40, 48, 72])
def test_duplicates_are_found_whatever_the_width_of_a_code(tmp_path: Path, dim: int) -> None:
    photos = photos_and_queries(60, 1, dim=dim)[0]
    photos[50:] = unit(photos[:10] + 0.02 * photos[20:30])
    index = create(tmp_path / "index", dim=dim)
    with index.writer() as writer:
        writer.add(names(60), photos)
    held = unit([index.embedding(path) for path in names(60)])
    pairs = np.argwhere(held @ held.T >= 0.995).tolist()
    groups = index.near_duplicates(0.995)
    group_of = {path: number for number, group in enumerate(groups) for path in group}
    assert {(i, i + 50) for i in range(10)} <= {(i, j) for i, j in pairs}
    assert all(group_of[names(60)[i]] == group_of[names(60)[j]] for i, j in pairs if i != j)
    assert all(group == sorted(group) for group in groups)


def test_photos_coded_around_different_axes_are_compared(tmp_path: Path) -> None:
    """As another writer may leave them."""
    parts = [photos_and_queries(300, 1, seed=seed)[0] for seed in (0, 1)]
    parts[1][:5] = parts[0][:5]
    for name, part in zip("ab", parts, strict=True):
        with create(tmp_path / name).writer() as writer:
            writer.add(names(300, name), part)
    (a,), (b,) = read_index(tmp_path / "a"), read_index(tmp_path / "b")
    assert abs(a.axis @ b.axis) < 0.5
    b.file.rename(a.file.with_name("segment-00000009.mcs"))
    second = b.entry | {"file": "segment-00000009.mcs"}
    rewrite_manifest(tmp_path / "a", {"segments": [a.entry, second]})
    groups = PhotoIndex.open(tmp_path / "a").near_duplicates(0.999)
    pairs = zip(names(5, "a"), names(5, "b"), strict=True)
    assert sorted(groups) == [[*pair] for pair in pairs]


def test_deleted_photos_are_no_duplicates(tmp_path: Path) -> None:
    index, _ = duplicated(tmp_path)
    with index.writer() as writer:
        writer.delete(["photo/000011.jpg"])
    assert all("photo/000010.jpg" not in group for group in index.near_duplicates(0.97))


def test_exact_copies_are_near_duplicates_of_cosine_one(tmp_path: Path) -> None:
    index, photos = duplicated(tmp_path)
    with index.writer() as writer:
        writer.add(["one.jpg", "other.jpg"], photos[[20, 20]])
    assert ["one.jpg", "other.jpg"] in index.near_duplicates(1)


def test_an_index_of_no_or_one_photo_has_no_duplicates(tmp_path: Path) -> None:
    index = create(tmp_path)
    assert index.near_duplicates() == []
    with index.writer() as writer:
        writer.add(["a"], unit(np.ones((1, 64))))
    assert index.near_duplicates() == []


@pytest.mark.parametrize("least", [0.5, 0.0, 1.2, float("nan")])
def test_a_cosine_that_is_no_near_duplicate_is_refused(tmp_path: Path, least: float) -> None:
    with pytest.raises(PhotoIndexError, match="near duplicates"):
        create(tmp_path).near_duplicates(least)


@pytest.mark.parametrize("content", [3, None, ["a"], b"a dog"])
def test_a_part_is_words_or_a_path(content: object) -> None:
    with pytest.raises(QueryError, match="words or a photo's path") as caught:
        Part(content)  # type: ignore[arg-type]
    assert repr(content) in caught.value.message


@pytest.mark.parametrize("weight", ["2", None, float("nan"), float("inf")])
def test_a_weight_is_a_finite_number(weight: object) -> None:
    with pytest.raises(QueryError, match="not a weight"):
        Part("a dog", weight)  # type: ignore[arg-type]
    assert Part("a dog", -1).weight == -1


def test_near_duplicates_have_the_least_cosine_that_is_asked_for(tmp_path: Path) -> None:
    """Pairs from 0.945 to 0.995: those of 0.005 more are found, those of 0.005 less are not."""
    random = np.random.default_rng(4)
    bases = unit(random.normal(size=(100, 256)))
    aside = random.normal(size=bases.shape)
    aside = unit(aside - (aside * bases).sum(axis=1, keepdims=True) * bases)
    cosines = np.linspace(0.945, 0.995, 100)
    near = cosines[:, None] * bases + np.sqrt(1 - cosines**2)[:, None] * aside
    index = create(tmp_path, dim=256)
    with index.writer() as writer:
        writer.add(names(100, "a") + names(100, "b"), unit(np.concatenate([bases, near])))
    groups = {tuple(group) for group in index.near_duplicates(0.97)}
    assert groups == {tuple(group) for group in index.near_duplicates()}
    pairs = list(zip(names(100, "a"), names(100, "b"), strict=True))
    assert not groups & {p for p, cosine in zip(pairs, cosines, strict=True) if cosine < 0.965}
    assert groups >= {p for p, cosine in zip(pairs, cosines, strict=True) if cosine > 0.975}


@pytest.mark.slow
def test_as_many_pairs_are_compared_as_the_photos_allow(tmp_path: Path) -> None:
    """Records of noise under one sign code, which no checksum need notice: all are alike."""
    index = create(tmp_path / "index", dim=256)
    with index.writer() as writer:
        writer.add(names(5000), photos_and_queries(5000, 1, dim=256)[0])
    (segment,) = read_index(tmp_path / "index")
    with segment.file.open("r+b") as file:
        offset, length = segment.spans["columns"]
        file.seek(offset)
        file.write(b"\5" * length)
        offset, length = segment.spans["records"]
        records = np.random.default_rng(1).bytes(length)
        noise = np.frombuffer(records, np.uint8).reshape(5000, -1).copy()
        noise[:, 256:-4] = 7
        file.seek(offset)
        file.write(noise.tobytes())
    opened = PhotoIndex.open(tmp_path / "index")
    opened.near_duplicates()
    assert 4_000_000 < compared(opened) < 16 * 65 * 5000
