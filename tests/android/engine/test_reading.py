"""The Java engine reads in photos what the Python reference reads, at the same places."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.engine.bundle import Bundle, FileRecord
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.reading.detector import Detector
from mcad_mobile.engine.reading.reader import AT_LEAST, Reader
from mcad_mobile.engine.reading.recognizer import Recognizer
from mcad_mobile.engine.towers import choose_rung
from mcad_mobile.export.reader.pictures import scene_pictures
from tests.engine.reading.fake_reader import GREY, LETTERS, line, photo
from tests.engine.reading.test_reader import PAGE, worst_photos
from tests.export.reader.reading import exported
from tests.support.probe import EngineError, Probe
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import with_reader

Lines = list[tuple[str, tuple[int, ...]]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return with_reader(make_tiny_bundle(tmp_path_factory.mktemp("reader") / "tiny"))


def pictures() -> dict[str, Image.Image]:
    page = photo(1000, 700, *PAGE)
    small = [(100, y, line("abcdefg", 12)) for y in range(100, 500, 60)]
    long = line("abcdefg" * 10)
    return {
        "empty": photo(1600, 1200),
        "page": page,
        "tall": photo(700, 3000, *((100, y, line("abcdefg", 30)) for y in range(20, 2900, 90))),
        "large": photo(2800, 2000, *PAGE),
        "long": photo(3000, 700, (20, 300, long)),
        "in pieces": photo(2900, 200, (20, 80, long)),
        "small": photo(2300, 2300, *small, (200, 1500, line("bacdefg", 200))),
        "unsure": photo(900, 900, (300, 300, line("aeaea")), (300, 600, line("e", 40, 120))),
        **{
            f"turned by {turn}": page.rotate(turn, expand=True, fillcolor=GREY)
            for turn in (90, 180, 270, 7, -20)
        },
        **worst_photos(),
    }


def by_java(probe: Probe, bundle: Bundle, paths: Iterable[Path], **options: bool) -> list[Lines]:
    asked = {"bundle": bundle.directory, "photos": [str(path) for path in paths], **options}
    answer = probe.ask("read_texts", **asked)
    return [[(text, tuple(box)) for text, box in lines] for lines in answer]


def by_python(reader: Reader, path: Path) -> Lines:
    return [(found.text, found.box) for found in reader.read(open_photo(path, at_least=AT_LEAST))]


def assert_near(java: Lines, python: Lines, name: str, within: int) -> None:
    """In the same order, and boxes `within` so many ten-thousandths of the photo."""
    assert [text for text, _ in java] == [text for text, _ in python], name
    boxes = [np.array([box for _, box in lines]) for lines in (java, python)]
    assert boxes[0] == pytest.approx(boxes[1], abs=within), name


@pytest.mark.parametrize("fixed", [False, True])
def test_java_reads_the_lines_that_python_reads(probe, tiny, tmp_path, fixed):
    reader = Reader.of(tiny)
    if fixed:
        detector, recognizer = (
            choose_rung(tiny, name).tower for name in ("detector", "recognizer")
        )
        reader = Reader(Detector(detector, True), Recognizer(recognizer, LETTERS, True))
    paths = {name: tmp_path / f"{at}.png" for at, name in enumerate(pictures())}
    for path, picture in zip(paths.values(), pictures().values(), strict=True):
        picture.save(path, compress_level=1)
    java = by_java(probe, tiny, paths.values(), **({"fixed": True} if fixed else {}))
    read = 0
    for (name, path), lines in zip(paths.items(), java, strict=True):
        python = by_python(reader, path)
        assert_near(lines, python, name, 10)
        read += len(python)
    assert read > 60


def test_photos_are_read_upright(probe, tiny, tmp_path):
    reader, paths = Reader.of(tiny), [tmp_path / f"{turn}.jpg" for turn in range(1, 9)]
    for turn, path in enumerate(paths, 1):
        exif = Image.Exif()
        exif[0x0112] = turn
        photo(1000, 700, *PAGE).save(path, quality=95, exif=exif)
    python = [by_python(reader, path) for path in paths]
    assert len({lines[0][1] for lines in python if lines}) > 3
    for path, java, lines in zip(paths, by_java(probe, tiny, paths), python, strict=True):
        assert_near(java, lines, path.name, 10)


def test_characters_of_another_recognizer_are_an_error(probe, tiny, tmp_path):
    path = tmp_path / "characters.txt"
    path.write_text("a\nb")
    record = FileRecord.of(tmp_path, path)
    assert tiny.reader is not None
    reader = replace(tiny.reader, characters=replace(record, path="two.txt"))
    other = tiny.directory / "two.txt"
    path.rename(other)
    saved = replace(tiny, reader=reader)
    try:
        saved.save()
        photo(1000, 700, *PAGE).save(tmp_path / "page.png")
        with pytest.raises(EngineError, match="has 7 characters, and the bundle names 2"):
            by_java(probe, saved, [tmp_path / "page.png"])
    finally:
        tiny.save()


def test_a_bundle_without_a_reader_cannot_read(probe, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "plain")
    with pytest.raises(EngineError, match="cannot read text"):
        by_java(probe, bundle, [])


@pytest.mark.slow
def test_java_reads_real_text_as_python_does(probe, tmp_path):
    bundle = exported(tmp_path, "cpu")
    paths = []
    for at, scene in enumerate(scene_pictures(6, 5)):
        paths.append(tmp_path / f"{at}.png")
        scene.image.save(paths[-1])
    reader = Reader.of(bundle)
    python = [by_python(reader, path) for path in paths]
    assert sum(map(len, python)) > 20
    for path, java, lines in zip(paths, by_java(probe, bundle, paths), python, strict=True):
        assert_near(java, lines, path.name, 20)
