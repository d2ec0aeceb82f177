"""What outputs of a tower are compared by: few numbers, which change where the output does."""

from __future__ import annotations

import numpy as np

from mcad_mobile.engine.bundle import READER_SHAPES
from mcad_mobile.engine.towers.ladder import repeated
from mcad_mobile.engine.towers.protocol import summary


def test_embeddings_are_their_own_summary():
    embeddings = np.eye(3, 8, dtype=np.float32)
    assert summary(embeddings) is embeddings


def test_a_map_is_summarized_by_the_means_of_its_squares():
    text_map = np.zeros((2, 1, 64, 32), np.float32)
    text_map[1, 0, 16:32, 16:32] = 0.5
    found = summary(text_map)
    assert found.shape == (2, 8)
    assert found[1].tolist() == [0, 0, 0, 0.5, 0, 0, 0, 0]


def test_characters_are_summarized_by_step_and_remainder():
    steps = np.zeros((1, 3, 18_710), np.float32)
    steps[0, 0, 0], steps[0, 1, 130], steps[0, 1, 2], steps[0, 2, 18_709] = 1, 0.5, 0.25, 1
    found = summary(steps).reshape(3, 64)
    assert found.sum(1).tolist() == [1, 0.75, 1]
    assert (found[0, 0], found[1, 2], found[2, 18_709 % 64]) == (1, 0.75, 1)


def test_golden_pixels_are_repeated_to_fill_the_shape_of_a_tower():
    shape = READER_SHAPES["recognizer"]
    small = np.random.default_rng(0).random((2, 3, 48, 160), np.float32)
    filled = repeated(small, shape)
    assert filled.shape == (2, *shape[1:])
    assert np.array_equal(filled[..., :160], small)
    assert np.array_equal(filled[..., 160:], small)
