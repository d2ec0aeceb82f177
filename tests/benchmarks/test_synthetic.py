"""Blends: many embeddings made from few real ones; and photos like a phone's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.blends import blend, blend_batches
from mcad_mobile.bench.samples import cloud_batches, sample_photos
from tests.support.index_embeddings import photos_and_queries
from tests.support.tiny_bundle import make_tiny_bundle


def test_sample_photos_hold_as_much_as_a_phones(tmp_path: Path) -> None:
    """A 12-megapixel photo of a phone is a JPEG of three to five megabytes."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    for photo in sample_photos(bundle, tmp_path, 2, (800, 600)):
        assert 0.25 < photo.stat().st_size / (800 * 600) < 0.45


def test_blends_are_unit_vectors_with_the_mean_and_the_spread_of_the_real_ones() -> None:
    real = photos_and_queries(2000, 1)[0]
    many = blend(real, 20_000)
    assert many.shape == (20_000, 64)
    assert many.dtype == np.float32
    assert np.allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(many.mean(axis=0) - real.mean(axis=0)) < 0.03
    spectra = [np.linalg.eigvalsh(np.cov(rows.T))[::-1] for rows in (real, many)]
    assert np.allclose(spectra[1][:20] / spectra[0][:20], 1, atol=0.15)
    assert len(np.unique(many, axis=0)) == 20_000


def test_a_seed_gives_the_same_rows_whatever_the_number() -> None:
    real = photos_and_queries(100, 1)[0]
    assert np.array_equal(blend(real, 6000, seed=3)[:4500], blend(real, 4500, seed=3))
    assert not np.array_equal(blend(real, 100, seed=3), blend(real, 100, seed=4))
    assert np.array_equal(np.concatenate([*blend_batches(real, 5000)]), blend(real, 5000))


def test_one_real_embedding_blends_into_itself() -> None:
    real = photos_and_queries(1, 1)[0]
    assert np.allclose(blend(real, 10), real, atol=1e-6)


def test_nothing_to_blend_is_an_error() -> None:
    with pytest.raises(ValueError, match="real must be"):
        blend(np.empty((0, 64), np.float32), 5)
    with pytest.raises(ValueError, match="n must be"):
        next(blend_batches(np.ones((1, 8), np.float32), -1))


def test_a_cloud_lies_where_its_sample_does_and_in_more_directions() -> None:
    """Of a few photos blends would fill a few directions alone."""
    sample = photos_and_queries(12, 1)[0]
    cloud = np.concatenate([*cloud_batches(sample, 10_000)])
    assert cloud.shape == (10_000, 64)
    assert cloud.dtype == np.float32
    assert np.allclose(np.linalg.norm(cloud, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(cloud.mean(axis=0) - sample.mean(axis=0)) < 0.05
    total = np.trace(np.cov(cloud.T)) / np.trace(np.cov(sample.T))
    assert 0.7 < total < 1.2
    for rows, least, most in ((blend(sample, 10_000), 0, 12), (cloud, 20, 40)):
        values = np.linalg.eigvalsh(np.cov(rows.T))
        assert least < values.sum() ** 2 / np.square(values).sum() < most
    along = np.linalg.svd(sample - sample.mean(axis=0))[2][0]
    assert np.var(cloud @ along) > 3 * np.median(np.var(cloud, axis=0))


def test_the_first_directions_of_a_cloud_hold_what_those_of_photos_do() -> None:
    sample = photos_and_queries(12, 1, dim=256)[0]
    cloud = np.concatenate([*cloud_batches(sample, 20_000)])
    variances = np.linalg.eigvalsh(np.cov(cloud.T))[::-1]
    held = [variances[:first].sum() / variances.sum() for first in (16, 32, 64)]
    assert held == pytest.approx([0.63, 0.86, 0.98], abs=0.01)


def test_clouds_of_a_seed_are_the_same_rows() -> None:
    sample = photos_and_queries(12, 1)[0]
    few, many = ([*cloud_batches(sample, n)] for n in (100, 5000))
    assert np.array_equal(few[0], many[0][:100])
    assert [len(batch) for batch in many] == [4096, 904]
