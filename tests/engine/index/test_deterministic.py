"""Numbers of photos and scores do not depend on the order in which a kernel adds: the same whether
a row comes alone or with others, and whichever way its dimensions or the photos are ordered."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.deterministic import dot
from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from tests.support import codes_oracle, kernels
from tests.support.index_embeddings import cells_from, create, names, photos_and_queries, unit
from tests.support.index_oracle import read_index
from tests.support.kernels import LEVELS, decode, encode, error_feedback

DIMS = (8, 96, 256, 768)


@pytest.mark.parametrize("dim", DIMS)
def test_a_product_is_the_exact_sum_of_what_is_multiplied(dim: int) -> None:
    photos, queries = photos_and_queries(20, 1, dim=dim)
    unit_of = Fraction(1, 2**26)
    whole = [[round(Fraction(float(v)) / unit_of) for v in row] for row in photos]
    query = [round(Fraction(float(v)) / unit_of) for v in queries[0]]
    true = [sum(a * b for a, b in zip(row, query, strict=True)) * unit_of**2 for row in whole]
    assert [Fraction(value) for value in dot(photos, queries[0]).tolist()] == true


@pytest.mark.parametrize("dim", DIMS)
def test_photos_are_encoded_as_by_numpy_alone_or_among_others_at_every_level(dim: int) -> None:
    photos, _ = photos_and_queries(600, 1, dim=dim)
    axis = unit(photos.sum(axis=0))
    for shares in (None, error_feedback(photos, axis)):
        expected = codes_oracle.encode(photos, axis, shares)
        for row in range(0, 600, 7):
            assert np.array_equal(encode(photos[[row]], axis, shares)[0], expected[row])
        for level in LEVELS:
            assert np.array_equal(encode(photos, axis, shares, level), expected)
    step = np.abs(photos).max(axis=1, keepdims=True) / 256
    assert (np.abs(decode(expected, axis) - photos) <= 8 * step).all()


def test_shares_of_errors_are_those_of_numpy_in_any_order_at_every_level() -> None:
    photos, _ = photos_and_queries(3000, 1, dim=256)
    axis = unit(photos.sum(axis=0))
    shares = error_feedback(photos, axis)
    assert shares is not None
    expected = codes_oracle.error_feedback(photos, axis)
    assert np.abs(shares - expected).max() <= 1 / 256
    assert np.mean(shares == expected) > 0.999
    assert np.array_equal(shares * 256, np.rint(shares * 256))
    assert np.count_nonzero(shares) > 10_000
    for level in LEVELS:
        again = error_feedback(photos[::-1], axis, level)
        assert again is not None and np.array_equal(again, shares)


def test_photos_that_lie_everywhere_alike_are_rounded_one_by_one() -> None:
    """What a sample of them says of one coordinate by the others is noise."""
    even = unit(np.random.default_rng(0).normal(size=(3000, 256)))
    assert error_feedback(even, unit(even.sum(axis=0))) is None
    assert error_feedback(np.zeros((300, 64), np.float32), np.zeros(64, np.float32)) is None


def test_embeddings_are_scaled_to_length_1(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(9, 1, dim=136)
    for scale in (0.991, 1.0, 1.009):
        with create(tmp_path / str(scale), 136).writer() as writer:
            writer.add(names(9), photos * np.float32(scale))
    (one, *others) = [read_index(tmp_path / str(scale))[0] for scale in (1.0, 0.991, 1.009)]
    for other in others:
        assert np.allclose(other.decoded(), one.decoded(), atol=2e-3)
        assert np.allclose(other.decoded(), kernels.rotate(photos), atol=2e-3)


@pytest.mark.parametrize("dim", [40, 136])
def test_an_index_has_the_same_bytes_at_every_level_in_any_blocks(tmp_path: Path, dim: int) -> None:
    """With copies, whose cells tie."""
    photos, _ = photos_and_queries(1500, 1, dim=dim)
    photos[700:900] = photos[700]
    written = []
    for level in LEVELS:
        limits = TuningLimits(level=level, cells_from=1000, cells_gain=0.0, photos_per_cell=16)
        with create(tmp_path / str(level), dim, limits).writer() as writer:
            step = (1500, 1, 77)[level]
            for at in range(0, 1500, step):
                writer.add(names(1500)[at : at + step], photos[at : at + step])
        (file,) = (tmp_path / str(level)).glob("*.mcs")
        written.append(file.read_bytes())
    assert written == written[:1] * len(LEVELS)
    (segment,) = read_index(tmp_path / "0")
    assert len(segment.centroids) == (0 if dim < 64 else 93)


@pytest.mark.parametrize("limits", [None, cells_from(1000)], ids=["all", "cells"])
def test_of_equal_photos_the_first_are_found(tmp_path: Path, limits: TuningLimits | None) -> None:
    photos, _ = photos_and_queries(3000, 1)
    photos[500:2900] = photos[500]
    with create(tmp_path, limits=limits).writer() as writer:
        writer.add(names(3000), photos)
    query = unit(photos[500] + 0.1 * photos[0])
    for level in LEVELS:
        with PhotoIndex.open(tmp_path, TuningLimits(level=level)) as index:
            assert index.search(query, k=20).paths == names(520)[500:]
