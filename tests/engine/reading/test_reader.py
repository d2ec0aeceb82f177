"""Reader finds the lines of a photo however they lie, and stays within limits."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.engine.reading.detector import MOST_LINES, Detector
from mcad_mobile.engine.reading.reader import Reader
from mcad_mobile.engine.reading.recognizer import Recognizer
from mcad_mobile.errors import BundleError
from tests.engine.reading.fake_reader import GREY, ColourTower, line, photo, reader

PAGE = ((100, 100, line("abcdefg")), (100, 300, line("bacdefg")), (600, 305, line("cabdefg")))


def texts(own: Reader, image: Image.Image) -> list[str]:
    return [found.text for found in own.read(image)]


def test_a_photo_without_text_takes_one_small_input() -> None:
    own, detector, recognizer = reader()
    assert texts(own, photo(4000, 3000)) == []
    ((_, _, height, width),) = detector.inputs
    assert height * width < 250_000
    assert recognizer.inputs == []


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("size", [(1000, 700), (1080, 2400), (2400, 1080), (4000, 3000)])
def test_lines_are_read_in_their_order(size: tuple[int, int], fixed: bool) -> None:
    own, detector, recognizer = reader(fixed=fixed)
    assert texts(own, photo(*size, *PAGE)) == ["abcdefg", "bacdefg", "cabdefg"]
    if fixed:
        assert {*detector.inputs} == {(1, 3, 640, 640)}
        assert {*recognizer.inputs} == {(1, 3, 48, 320)}
    assert max(h * w for *_, h, w in detector.inputs) <= 640 * 640


def test_a_box_is_in_ten_thousandths_from_the_start_of_the_text() -> None:
    own, *_ = reader()
    image = photo(1000, 800, (200, 400, line("abcdefg")))
    for turn in (None, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90):
        turned = image if turn is None else image.transpose(turn)
        (found,) = own.read(turned)
        box = np.array(found.box).reshape(4, 2)
        middle, start = box.mean(0), (box[0] + box[3]) / 2
        expected, first = np.array([3400, 5250]), np.array([2000, 5250])
        if turn == Image.Transpose.ROTATE_180:
            expected, first = 10_000 - expected, 10_000 - first
        elif turn == Image.Transpose.ROTATE_90:
            expected, first = np.array([5250, 6600]), np.array([5250, 8000])
        assert middle == pytest.approx(expected, abs=60)
        assert start == pytest.approx(first, abs=500)  # boxes are larger than what they hold


@pytest.mark.parametrize("turn", [90, 180, 270, 7, -20])
def test_turned_photos_are_read_in_the_order_of_their_lines(turn: int) -> None:
    own, *_ = reader()
    image = photo(1000, 700, *PAGE[:2]).rotate(turn, expand=True, fillcolor=GREY)
    assert texts(own, image) == ["abcdefg", "bacdefg"]


def test_lines_that_cross_tiles_are_read_once_and_whole() -> None:
    long = "abcdefg" * 10
    own, *_ = reader()
    assert texts(own, photo(3000, 700, (20, 300, line(long)))) == [long]
    tall = photo(700, 3000, *((100, y, line("abcdefg", 30)) for y in range(20, 2900, 90)))
    assert texts(own, tall) == ["abcdefg"] * 32


@pytest.mark.parametrize("fixed", [False, True])
def test_a_line_longer_than_the_recognizer_takes_is_read_in_pieces(fixed: bool) -> None:
    own, _, recognizer = reader(fixed=fixed)
    text = "abcdefg" * 10
    assert texts(own, photo(2900, 200, (20, 80, line(text)))) == [text]
    assert len(recognizer.inputs) > 1


def test_small_lines_are_looked_at_in_more_detail_and_large_ones_are_not() -> None:
    own, detector, _ = reader()
    small = [(100, y, line("abcdefg", 12)) for y in range(100, 500, 60)]
    assert texts(own, photo(2560, 2560, *small, (200, 1500, line("bacdefg", 200)))) == [
        *["abcdefg"] * 7,
        "bacdefg",
    ]
    detailed = len(detector.inputs)
    detector.inputs.clear()
    assert texts(own, photo(2560, 2560, (200, 1500, line("bacdefg", 200)))) == ["bacdefg"]
    assert len(detector.inputs) < detailed


def test_a_small_line_close_to_a_large_one_is_read() -> None:
    own, *_ = reader()
    lines = (200, 1500, line("bacdefg", 200)), (300, 1760, line("abcdefg", 20))
    assert texts(own, photo(2560, 2560, *lines)) == ["bacdefg", "abcdefg"]


@pytest.mark.parametrize(("text", "is_read"), [("e", False), ("aeaea", False), ("abcd", True)])
def test_what_the_recognizer_is_not_sure_of_is_left_out(text: str, is_read: bool) -> None:
    own, *_ = reader()
    drawn = line(text) if len(text) > 1 else line(text, 40, 120)
    assert bool(texts(own, photo(900, 900, (300, 300, drawn)))) is is_read


def test_short_words_must_be_surer_than_long_ones() -> None:
    for text, sure, is_read in [
        ("abcd", 0.81, True),
        ("abcd", 0.79, False),
        ("abc", 0.91, True),
        ("abc", 0.89, False),
    ]:
        own, *_ = reader(sure=sure)
        lines = own.read(photo(900, 900, (300, 300, line(text))))
        assert [(read.text, read.confidence) for read in lines] == [(text, sure)] * is_read


def worst_photos() -> dict[str, Image.Image]:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (1500, 2000, 3), np.uint8)
    y, x = np.mgrid[:1500, :2000]
    specks = np.where(((x % 5 < 3) & (y % 5 < 3))[..., None], 0, 128).repeat(3, 2)
    return {
        "noise": Image.fromarray(noise),
        "specks": Image.fromarray(specks.astype(np.uint8)),
        "a line of 100,000 characters": photo(8000, 80, (0, 39, line("abcd" * 2000, 2))),
        "a pixel": photo(1, 1),
        "a thin line": photo(100, 1, (0, 0, line("ab", 1, 50))),
        "all": Image.new("RGB", (2000, 1500), "red"),
    }


@pytest.mark.parametrize("name", worst_photos())
def test_time_and_lines_are_bounded_whatever_a_photo_shows(name: str) -> None:
    own, detector, recognizer = reader()
    started = time.process_time()
    assert len(own.read(worst_photos()[name])) <= MOST_LINES
    assert time.process_time() - started < 20
    assert len(detector.inputs) < 40
    assert sum(shape[3] for shape in recognizer.inputs) < 2 * MOST_LINES * 960


def test_characters_of_another_recognizer_are_an_error() -> None:
    own = Reader(Detector(ColourTower("find")), Recognizer(ColourTower("read"), "abc"))
    with pytest.raises(BundleError):
        own.read(photo(300, 300, (20, 80, line("abcd"))))
