"""Students of open_clip and transformers, from export to search: Java finds what Python finds."""

from __future__ import annotations

import numpy as np
import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.exported import mcad_json
from tests.support.tiny_students import OPEN_CLIP, write_hf, write_open_clip

TEXTS = ["a dog", "Two children playing football in the park, in the rain", "the sea at night 🌊"]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["vit", "siglip", "chinese_clip"])
def bundle(request, tmp_path_factory) -> Bundle:
    """Of random weights: what is found means nothing, but is the same everywhere."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in OPEN_CLIP:
        spec = f"open_clip:local-dir:{write_open_clip(folder / 'student', request.param)}"
    else:
        spec = f"hf:{write_hf(folder / 'student', request.param)}"
    request = BundleRequest(find_target("cpu"), folder / "bundle")
    return export(load_student(spec), [request], ExportOptions(samples=4))[0].bundle


def test_text_and_photos_have_the_same_embeddings_in_java(probe, bundle):
    engine = SearchEngine(bundle)
    texts = probe.arrays("embed_texts", bundle=bundle.directory, texts=TEXTS)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    expected = np.stack([engine.embed_text(text) for text in TEXTS])
    assert (texts * expected).sum(1).min() > 0.999
    photos = packaged_photos()[:3]
    found = probe.embed_photos(bundle.directory, photos)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert (found * np.stack([engine.embed_photo(p) for p in photos])).sum(1).min() > 0.99


def test_it_indexes_and_searches_like_ours(bundle, tmp_path):
    engine = SearchEngine(bundle)
    index = create_index(bundle, tmp_path / "index")
    photos = packaged_photos()[:8]
    assert engine.index_photos(index, photos).added == 8
    found = engine.search(index, "a dog", k=8)
    query = engine.embed_text("a dog")
    exact = {str(photo): float(engine.embed_photo(photo) @ query) for photo in photos}
    assert {r.path: r.score for r in found.results} == pytest.approx(exact, abs=0.01)


def test_the_multilingual_text_tower_runs_in_8_bits(probe, tmp_path):
    """Its twelve layers amplify how another version of ONNX Runtime rounds."""
    both = tmp_path / "both"
    document = mcad_json("export", "--text", "default,multilingual", "-t", "cpu", "--out", both)
    assert document["towers"].keys() == {"image", "text", "multilingual"}
    for language, tower in (("en", "text"), ("de", "multilingual")):
        request = {"bundle": both, "language": language, "tower": tower}
        assert probe.ask("choose_rung", **request)["rung"] == "int8"
    engine = SearchEngine(Bundle.load(both).for_language("de"))
    dog, hund, car = map(engine.embed_text, ("a dog", "ein Hund", "ein Auto"))
    assert dog @ hund > 0.8 > dog @ car
