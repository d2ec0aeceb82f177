"""Recall@K against a plain loop, and against cases that are known."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from mcad_mobile.cli import evaluate
from mcad_mobile.cli.command import app
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.recall import evaluate_retrieval
from tests.support.tiny_bundle import two_text_towers


def unit(rng, rows, dim):
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def recall_by_loop(images, texts, owners, k):
    """Text-to-image and image-to-text Recall@k in percent, by sorting each row."""
    found_photos = [owners[i] in np.argsort(-(images @ text))[:k] for i, text in enumerate(texts)]
    found_captions = [
        any(owners[j] == i for j in np.argsort(-(texts @ image))[:k])
        for i, image in enumerate(images)
    ]
    return 100 * np.mean(found_photos), 100 * np.mean(found_captions)


def captioned(photos):
    """Embeddings of photos and of their captions, which lie near them, and whose those are."""
    rng = np.random.default_rng(0)
    images = unit(rng, photos, 8)
    owners = np.repeat(np.arange(photos), rng.integers(1, 6, photos))
    noisy = images[owners] + rng.normal(size=(len(owners), 8)).astype(np.float32)
    return images, noisy / np.linalg.norm(noisy, axis=1, keepdims=True), owners


@pytest.mark.parametrize("at_once", [60, 7 * 60 + 1])
def test_recall_does_not_depend_on_how_many_texts_are_ranked_at_once(at_once):
    pairs = captioned(60)
    together = evaluate_retrieval(*pairs)
    found = evaluate_retrieval(*pairs, numbers_at_once=at_once)
    assert found == together and np.array_equal(found.by_photo, together.by_photo)


def test_recall_is_what_a_plain_loop_finds():
    images, texts, owners = captioned(60)
    result = evaluate_retrieval(images, texts, owners)
    for k in (1, 5, 10):
        expected = recall_by_loop(images, texts, owners, k)
        assert getattr(result.text_to_image, f"r{k}") == pytest.approx(expected[0], abs=0.01)
        assert getattr(result.image_to_text, f"r{k}") == pytest.approx(expected[1], abs=0.01)
    document = result.to_json()
    six = [value for way in ("text_to_image", "image_to_text") for value in document[way].values()]
    assert document["image_to_text"]["r1"] == result.image_to_text.r1 != result.text_to_image.r1
    assert result.mean_recall == pytest.approx(np.mean(six))
    assert (document["photos"], document["captions"]) == (60, len(owners))


def test_perfect_embeddings_score_100_and_mr_is_the_mean_of_six():
    vectors = np.eye(20, dtype=np.float32)
    assert evaluate_retrieval(vectors, vectors, np.arange(20)).mean_recall == 100


def test_collapsed_embeddings_score_0_not_100():
    same = np.ones((30, 4), np.float32) / 2
    assert evaluate_retrieval(same, same, np.arange(30)).mean_recall == 0


def test_a_bundle_is_evaluated_in_the_language_and_by_the_threads_that_were_asked_for(
    packaged_pairs, monkeypatch, tmp_path
):
    engines = []

    class Recorded(SearchEngine):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            engines.append(self)

    monkeypatch.setattr(evaluate, "SearchEngine", Recorded)
    bundle = two_text_towers(tmp_path / "bundle").directory
    options = ["--data", packaged_pairs, "--split", "val", "--bundle", bundle]
    wanted = ["--threads", "3", "--language", "de"]
    done = CliRunner().invoke(app, ["eval", *map(str, options), *wanted])
    assert done.exit_code == 0, done.output
    assert [(engine.threads, engine.bundle.student.name) for engine in engines] == [(3, "tiny-m")]
