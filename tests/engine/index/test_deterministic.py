"""Numbers of photos and scores do not depend on the order in which a kernel adds: the same whether
a row comes alone or with others, and whichever way its dimensions or the photos are ordered."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.bit_weights import quantize_query
from mcad_mobile.engine.index.codes import (
    Encoded,
    Query,
    encode,
    error_feedback,
    rotate,
    round_to_odd,
    split,
    split_query,
)
from mcad_mobile.engine.index.deterministic import dot, lengths
from mcad_mobile.engine.index.tuning import choose_tuning
from tests.support.index_embeddings import (
    create,
    kernels,
    names,
    photos_and_queries,
    searching_by,
    unit,
)
from tests.support.kernel_oracle import scores as scores_by

DIMS = (8, 96, 256, 768)
ZEROS = np.zeros(4096, np.float32)


def residuals(photos: np.ndarray) -> np.ndarray:
    return split(photos, unit(photos.sum(axis=0)))[1]


@pytest.mark.parametrize("dim", DIMS)
def test_a_product_is_the_exact_sum_of_what_is_multiplied(dim: int) -> None:
    photos, queries = photos_and_queries(20, 1, dim=dim)
    unit_of = Fraction(1, 2**26)
    whole = [[round(Fraction(float(v)) / unit_of) for v in row] for row in photos]
    query = [round(Fraction(float(v)) / unit_of) for v in queries[0]]
    true = [sum(a * b for a, b in zip(row, query, strict=True)) * unit_of**2 for row in whole]
    assert [Fraction(value) for value in dot(photos, queries[0]).tolist()] == true
    assert np.abs(lengths(photos) - 1).max() < 1e-7


@pytest.mark.parametrize("dim", DIMS)
def test_a_photo_alone_is_encoded_as_it_is_among_others(dim: int) -> None:
    photos, _ = photos_and_queries(600, 1, dim=dim)
    axis, feedback = unit(photos.sum(axis=0)), error_feedback(residuals(photos))
    together = encode(photos, axis, feedback)
    for row in range(0, 600, 7):
        alone = encode(photos[row : row + 1], axis, feedback)
        assert np.array_equal(alone.magnitudes[0], together.magnitudes[row])
        assert np.array_equal(alone.codes[0], together.codes[row])
        assert (alone.projections[0], alone.scales[0]) == (
            together.projections[row],
            together.scales[row],
        )


def test_shares_of_errors_do_not_depend_on_the_order_of_photos() -> None:
    photos, _ = photos_and_queries(3000, 1, dim=256)
    shares, again = error_feedback(residuals(photos)), error_feedback(residuals(photos)[::-1])
    assert shares is not None
    assert again is not None
    assert np.array_equal(again, shares)
    # What an inverse says beyond that, each kernel says otherwise.
    assert np.array_equal(shares * 256, np.rint(shares * 256))
    assert np.count_nonzero(shares) > 10_000


def test_photos_that_lie_everywhere_alike_are_rounded_one_by_one() -> None:
    """What a sample of them says of one coordinate by the others is noise."""
    even = unit(np.random.default_rng(0).normal(size=(3000, 256)))
    assert error_feedback(residuals(even)) is None
    assert error_feedback(np.zeros((300, 64), np.float32)) is None


def reordered(query: Query, photos: Encoded, order: np.ndarray) -> tuple[Query, Encoded]:
    bits = np.unpackbits(photos.codes, axis=1, bitorder="little")[:, order]
    codes = np.packbits(bits, axis=1, bitorder="little")
    turned = Query(query.projection, query.residual[order])
    return turned, Encoded(codes, photos.projections, photos.scales, photos.magnitudes[:, order])


@pytest.mark.parametrize("dim", DIMS)
def test_scores_do_not_depend_on_the_order_of_dimensions(dim: int) -> None:
    photos, queries = photos_and_queries(300, 10, dim=dim)
    encoded = encode(photos, ZEROS[:dim])
    random = np.random.default_rng(0)
    for row in queries:
        query = split_query(row, ZEROS[:dim])
        turned, reordered_photos = reordered(query, encoded, random.permutation(dim))
        expected = scores_by(kernels()[0], query, encoded)
        for kernel in kernels():
            assert np.array_equal(scores_by(kernel, turned, reordered_photos), expected)
            assert np.array_equal(scores_by(kernel, query, encoded), expected)


def test_a_score_keeps_what_is_left_when_all_else_cancels_out() -> None:
    half = np.random.default_rng(0).normal(size=128).astype(np.float32) / 16
    half[::3] *= np.float32(1e-11)
    query = np.concatenate([half, -half[::-1]])
    query[7], query[248] = 2.0**-20 + 2.0**-36, -(2.0**-20)
    tiny = Encoded(
        codes=np.full((1, 32), 255, np.uint8),
        projections=np.zeros(1, np.int16),
        scales=np.ones(1, np.uint16),
        magnitudes=np.full((1, 256), 255, np.uint8),
    )
    for kernel in kernels():
        found = scores_by(kernel, split_query(query, ZEROS[:256]), tiny)
        assert found[0] == 511 * 2.0**-36 * 2.0**-24


def test_what_makes_up_for_errors_of_other_coordinates_is_exact() -> None:
    """By the last bit too much would round to the odd number on the other side."""
    random = np.random.default_rng(0)
    first = random.uniform(-100, 100, (500, 32)).astype(np.float32)
    shares = random.integers(-64, 64, (32, 32)) / 256
    errors = first - round_to_odd(first, None, 511)
    made_up = np.rint(errors * np.float64(128)) / 128 @ shares
    feedback = np.eye(64, dtype=np.float32)
    feedback[:32, 32:] = shares
    even = 2 * random.integers(-50, 50, (500, 32))
    values = np.concatenate([first, (made_up + even).astype(np.float32)], axis=1)
    assert np.array_equal(round_to_odd(values, feedback, 511)[:, 32:], even - 1)


@pytest.mark.parametrize("dim", DIMS)
def test_a_rotation_is_exact_to_the_last_bit_of_float32(dim: int) -> None:
    """Each of its two transforms, from the definition in float64, is rounded once."""
    photos, _ = photos_and_queries(50, 1, dim=dim)
    state, draws = 1, []
    for _ in range(2 * dim):
        state = (state * 1664525 + 1013904223) % 2**32
        draws.append(-1.0 if state >= 2**31 else 1.0)
    angles = 2 * np.pi * (np.outer(np.arange(dim), np.arange(dim)) % dim) / dim
    hartley = (np.cos(angles) + np.sin(angles)) / np.sqrt(dim)
    once = ((photos * draws[:dim]) @ hartley).astype(np.float32)
    twice = ((once * draws[dim:]) @ hartley).astype(np.float32)
    assert np.mean(rotate(photos) == twice) > 0.9999


def test_of_equal_photos_the_first_are_found(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(3000, 1)
    photos[500:2900] = photos[500]
    with create(tmp_path / "index").writer() as writer:
        writer.add(names(3000), photos)
    index = PhotoIndex.open(tmp_path / "index")
    query = unit(photos[500] + 0.1 * photos[0])
    for kernel in kernels():
        with searching_by(kernel):
            assert index.search(query, k=20).paths == names(520)[500:]


@pytest.mark.long
@pytest.mark.parametrize("dim", [64, 256])
def test_what_a_scan_weighs_does_not_depend_on_the_order_of_photos(dim: int) -> None:
    photos, queries = photos_and_queries(3000, 5, dim=dim)
    axis = unit(photos.sum(axis=0))
    chosen = choose_tuning(photos, axis, 3000)
    turned = choose_tuning(photos[::-1], axis, 3000)
    assert len(chosen.bit_weights) >= 64
    assert np.array_equal(turned.bit_weights, chosen.bit_weights)
    # A product with what is stored is exact, and so are the words.
    assert np.array_equal(chosen.bit_weights * 2**16, np.rint(chosen.bit_weights * 2**16))
    order = np.random.default_rng(0).permutation(dim)
    for query in queries:
        words, step = quantize_query(chosen.bit_weights, query)
        again, same_step = quantize_query(chosen.bit_weights[:, order], query[order])
        assert np.array_equal(again, words)
        assert same_step == step
