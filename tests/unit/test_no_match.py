"""The no-match margin: measured on captioned photos, judged on others."""

from __future__ import annotations

import numpy as np
import pytest

from mcad_mobile.evaluate import Embedded
from mcad_mobile.no_match import equal_error, margins, measure_no_match

DIM, THINGS, CAPTIONS = 32, 60, 3


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def captioned(photos=400, noise=0.15, words=True, seed=0) -> Embedded:
    """Photos that show one of many things each, some far oftener than others, and captions that
    name it."""
    rng = np.random.default_rng(seed)
    kinds = unit(rng.normal(size=(THINGS, DIM)))
    shares = 1 / np.arange(1, THINGS + 1)
    shown = rng.choice(THINGS, photos, p=shares / shares.sum())
    owners = np.repeat(np.arange(photos), CAPTIONS)
    images = unit(kinds[shown] + noise * rng.normal(size=(photos, DIM)))
    texts = unit(kinds[shown][owners] + noise * rng.normal(size=(len(owners), DIM)))
    names = [f"a photo of thing{shown[photo]:03d}" if words else "photo" for photo in owners]
    return Embedded(images, texts, owners, tuple(names))


BACKGROUND = unit(np.random.default_rng(1).normal(size=(32, DIM)))


def test_equal_error_is_where_both_shares_meet():
    rng = np.random.default_rng(0)
    present, absent = rng.normal(2, 1, 5000), rng.normal(0, 1, 5000)
    threshold = equal_error(present.astype(np.float32), absent.astype(np.float32))
    assert threshold == pytest.approx(1, abs=0.05)
    missed, false = (present < threshold).mean(), (absent >= threshold).mean()
    assert missed == pytest.approx(false, abs=0.002)


def test_a_margin_is_the_best_score_less_what_photos_at_large_score():
    query, photos = np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)
    background = np.array([[0.5, 0, 0.8], [0.1, 0.9, 0]], np.float32)
    assert margins(query, photos, background) == pytest.approx(1 - 0.3)


def test_the_margin_tells_captions_with_a_photo_from_those_without():
    measured = measure_no_match(captioned(), BACKGROUND)
    assert measured is not None
    assert measured.missed < 0.1
    assert measured.false < 0.15


def test_the_best_of_more_photos_must_score_higher():
    measured = measure_no_match(captioned(photos=1200, noise=0.5), BACKGROUND)
    assert measured is not None
    assert measured.no_match.per_log_n > 0


def test_a_student_that_tells_nothing_apart_has_errors_that_say_so():
    rng = np.random.default_rng(2)
    data = captioned()
    blind = Embedded(
        unit(rng.normal(size=data.images.shape)),
        unit(rng.normal(size=data.texts.shape)),
        data.photo_of_text,
        data.captions,
    )
    measured = measure_no_match(blind, BACKGROUND)
    assert measured is not None
    assert measured.missed + measured.false == pytest.approx(1, abs=0.25)


def test_captions_that_name_nothing_give_no_margin():
    assert measure_no_match(captioned(words=False), BACKGROUND) is None
    assert measure_no_match(captioned(photos=12), BACKGROUND) is None
