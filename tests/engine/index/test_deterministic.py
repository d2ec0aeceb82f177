"""Numbers of photos and scores do not depend on the order in which a kernel adds: the same whether
a row comes alone or with others, and whichever way its dimensions or the photos are ordered."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.codes import (
    Query,
    decode,
    encode,
    error_feedback,
    prepare,
    rotate,
    split_query,
)
from mcad_mobile.engine.index.deterministic import dot, lengths
from mcad_mobile.engine.index.tuning import assign_cells
from mcad_mobile.engine.native import load_kernel
from tests.support import codes_oracle
from tests.support.index_embeddings import (
    ORACLE,
    coding_by,
    create,
    kernels,
    levels,
    names,
    photos_and_queries,
    searching_by,
    unit,
)
from tests.support.kernel_oracle import scores as scores_by

DIMS = (8, 96, 256, 768)
ZEROS = np.zeros(4096, np.float32)


def feedback_of(photos: np.ndarray) -> np.ndarray | None:
    return error_feedback([photos[:700], photos[700:]], unit(photos.sum(axis=0)))


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
def test_photos_are_encoded_as_by_numpy_alone_or_among_others_at_every_level(dim: int) -> None:
    photos, _ = photos_and_queries(600, 1, dim=dim)
    axis, feedback = unit(photos.sum(axis=0)), feedback_of(photos)
    for shares in (None, feedback):
        expected = codes_oracle.encode(photos, axis, shares)
        assert np.array_equal(encode(photos, axis, shares), expected)
        for row in range(0, 600, 7):
            assert np.array_equal(encode(photos[[row]], axis, shares)[0], expected[row])
        for kernel in levels():
            with coding_by(kernel):
                assert np.array_equal(encode(photos, axis, shares), expected)
    step = np.abs(photos).max(axis=1, keepdims=True) / 256
    assert (np.abs(decode(expected, axis) - photos) <= 8 * step).all()


def test_embeddings_are_scaled_to_length_1_and_rotated() -> None:
    photos, _ = photos_and_queries(9, 1, dim=136)
    rows, found = prepare(photos * np.float32(1.009))
    assert found == pytest.approx(1.009, abs=1e-6)
    assert np.allclose(rows, rotate(photos), atol=1e-6)
    assert np.array_equal(prepare(photos[3:4])[0][0], prepare(photos)[0][3])


def test_shares_of_errors_are_those_of_numpy_in_any_order_at_every_level() -> None:
    photos, _ = photos_and_queries(3000, 1, dim=256)
    axis, shares = unit(photos.sum(axis=0)), feedback_of(photos)
    assert shares is not None
    expected = codes_oracle.error_feedback(photos, axis)
    assert np.abs(shares - expected).max() <= 1 / 256
    assert np.mean(shares == expected) > 0.999
    assert np.array_equal(shares * 256, np.rint(shares * 256))
    assert np.count_nonzero(shares) > 10_000
    for kernel in levels():
        with coding_by(kernel):
            again = error_feedback([photos[::-1].copy()], axis)
            assert again is not None and np.array_equal(again, shares)


def test_photos_that_lie_everywhere_alike_are_rounded_one_by_one() -> None:
    """What a sample of them says of one coordinate by the others is noise."""
    even = unit(np.random.default_rng(0).normal(size=(3000, 256)))
    assert feedback_of(even) is None
    assert error_feedback([np.zeros((300, 64), np.float32)], ZEROS[:64]) is None


def reordered(query: Query, records: np.ndarray, order: np.ndarray) -> tuple[Query, np.ndarray]:
    dim = len(order)
    bits = np.unpackbits(records[:, dim:-4], axis=1, bitorder="little")[:, order]
    codes = np.packbits(bits, axis=1, bitorder="little")
    turned = Query(query.projection_step, query.residual[order])
    return turned, np.concatenate([records[:, :dim][:, order], codes, records[:, -4:]], axis=1)


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
    tiny = np.full((1, 256 + 32 + 4), 255, np.uint8)
    tiny[0, -4:] = [0, 0, 1, 0]
    for kernel in kernels():
        found = scores_by(kernel, split_query(query, ZEROS[:256]), tiny)
        assert found[0] == 511 * 2.0**-36 * 2.0**-24


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


@pytest.mark.parametrize("dim", [64, 200, 768])
def test_queries_are_quantized_and_cells_ordered_as_by_numpy(dim: int) -> None:
    random, queries = np.random.default_rng(dim), photos_and_queries(1, 20, dim=dim)[1]
    # Multiples of 2^-16, as a tuning's are, so that no product is rounded.
    bit_weights = np.rint(random.normal(size=(dim // 64 * 64, dim)) * 2**12) / 2**16
    bit_weights = bit_weights.astype(np.float32)
    centroids = random.integers(-300, 300, (70, dim)).astype(np.int16)
    centroids[40:] = centroids[:30]  # ties
    kernel = load_kernel()
    for query in queries:
        words, step = kernel.quantize(bit_weights, query)
        expected, expected_step = ORACLE.quantize(bit_weights, query)
        assert np.array_equal(words, expected)
        assert step == pytest.approx(expected_step, rel=1e-12)
        order = kernel.order_cells(query, centroids)
        assert np.array_equal(order, ORACLE.order_cells(query, centroids))
    words, step = kernel.quantize(np.zeros_like(bit_weights), query)
    assert not words.any() and step == 0


def test_of_two_cells_as_near_the_first_is_taken() -> None:
    rows, centroids = np.zeros((5, 8), np.float32), np.zeros((3, 8), np.int16)
    rows[:, :2] = np.array([[9, 1], [5, 5], [-5, 5], [0, 0], [-3, 2]]) / 2048
    centroids[:, :2] = [[4, 0], [0, 4], [-4, 0]]
    for kernel in levels():
        with coding_by(kernel):
            assert assign_cells(rows, ZEROS[:8], centroids).tolist() == [0, 0, 1, 0, 2]
