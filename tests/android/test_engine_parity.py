"""The Java engine gives what the Python reference gives: ids, pixels, embeddings."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from probe import EngineError, variant

from mcad_mobile.bundle import Bundle
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import SearchEngine
from mcad_mobile.preprocess import open_photo
from mcad_mobile.runtimes import choose_rung, load_rung, normalize
from mcad_mobile.tokenize import Tokenizer

COUNT = 200
LEVEL = 1 / 255
AWKWARD = (
    "Café Müller's naïve façade",
    "İstanbul'da ΟΔΥΣΣΕΥΣ Straße ﬁne",
    "東京タワー and 北京 at night",
    "Zürich: 3,50€ (100%)!",
    "tabs\tand\nlines\u00a0and\u3000wide spaces",
    "zero\u200bwidth soft\u00adhyphen\ufeff bom \x07bell",
    "👩‍👩‍👧 family 🇩🇪 flag",
    "[CLS] is not [SEP] special <|endoftext|>",
    "a" * 101 + " end",
    "word " * 60,
    "한국어 हिन्दी ภาษาไทย עִבְרִית العربية",
    "e\u0301 combining \u0345 iota \u1e9e sharp",
    "don't can't 'll ½ ² №5 … — “quotes”",
)


@pytest.fixture(scope="module")
def bundle(cpu) -> Bundle:
    return Bundle.load(cpu.directory)


@pytest.fixture(scope="module")
def photos(flickr8k) -> list[Path]:
    return sorted((flickr8k / "images").glob("*.jpg"))[:COUNT]


@pytest.fixture(scope="module")
def captions(flickr8k) -> list[str]:
    records = json.loads(next(flickr8k.glob("dataset_*.json")).read_text("utf-8"))["images"]
    held_out = [record for record in records if record["split"] == "test"]
    return [record["sentences"][0]["raw"] for record in held_out][:COUNT]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (normalize(a) * normalize(b)).sum(axis=1)


def assert_same_ids(probe, bundle: Bundle, texts: list[str]) -> None:
    tokenizer = Tokenizer(bundle.tokenizer, bundle.directory)
    answers = probe.ask("tokens", bundle=bundle.directory, texts=texts)
    assert len(answers) == len(texts)
    for text, answer in zip(texts, answers, strict=True):
        expected = tokenizer(text)
        assert answer["ids"] == expected.ids.tolist(), text
        assert answer["tokens"] == int(expected.mask.sum()), text
        assert answer["truncated"] == expected.truncated, text


def test_captions_get_the_same_token_ids(probe, bundle, captions):
    assert len(captions) == COUNT
    assert_same_ids(probe, bundle, captions)


def test_awkward_texts_get_the_same_token_ids(probe, bundle):
    assert_same_ids(probe, bundle, list(AWKWARD))


def test_every_character_gets_the_same_token_ids(probe, bundle):
    """The reference knows the categories of Unicode 8, a JVM those of 13 or later: marks and
    punctuation of scripts that were added since may differ, letters may not."""
    tokenizer = Tokenizer(bundle.tokenizer, bundle.directory)
    texts = [
        f"x{character}y"
        for character in map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x2FA20)])
        if unicodedata.category(character) != "Cn"
    ]
    answers = probe.ask("tokens", bundle=bundle.directory, texts=texts)
    different = [
        text[1]
        for text, answer in zip(texts, answers, strict=True)
        if answer["ids"] != tokenizer(text).ids.tolist()
    ]
    assert len(different) < 400
    assert min(different) > "\u07f9"  # after Latin, Greek, Cyrillic, Hebrew and Arabic
    assert {unicodedata.category(character)[0] for character in different} <= set("MPC") | {"S"}


def test_an_empty_query_is_refused_in_the_same_words(probe, bundle):
    with pytest.raises(EngineError, match="is empty"):
        probe.ask("tokens", bundle=bundle.directory, texts=[" \t\u3000"])


@pytest.mark.parametrize("resize", ["squash", "shortest"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_decoded_photo_becomes_the_same_pixels(probe, bundle, tmp_path, resize, interpolation):
    """From PNG files, which decode to the same bytes on both sides."""
    preprocess = replace(bundle.preprocess, resize=resize, interpolation=interpolation)
    other = variant(bundle, tmp_path / "bundle", preprocess=preprocess)
    pngs, expected = [], []
    for number, photo in enumerate(packaged_photos()):
        image = open_photo(photo)
        pngs.append(tmp_path / f"{number}.png")
        image.save(pngs[-1])
        expected.append(preprocess.pixels(image).ravel())
    assert len(pngs) > 10
    found = probe.arrays("pixels", bundle=other, photos=[str(p) for p in pngs])
    assert np.array_equal(found, np.stack(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_turned_photo_stands_upright(probe, bundle, tmp_path, orientation, suffix):
    source = Image.open(packaged_photos()[0]).convert("RGB").resize((300, 200))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = tmp_path / f"turned.{suffix}"
    source.save(photo, exif=exif, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    found = probe.arrays("pixels", bundle=bundle.directory, photos=[str(photo)])[0]
    expected = bundle.preprocess(photo).ravel()
    levels = np.abs(found - expected) * bundle.preprocess.std[0] / LEVEL
    assert levels.max() <= (1.01 if suffix == "png" else 4)
    assert levels.mean() < 0.2


def test_transparent_parts_are_white(probe, bundle, tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (64, 48, 4), np.uint8)
    photo = tmp_path / "transparent.png"
    Image.fromarray(colours, "RGBA").save(photo)
    found = probe.arrays("pixels", bundle=bundle.directory, photos=[str(photo)])[0]
    assert np.array_equal(found, bundle.preprocess(photo).ravel())


def test_grey_photos_keep_their_brightness(probe, bundle, tmp_path):
    photo = tmp_path / "grey.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60), np.uint8)).save(photo)
    found = probe.arrays("pixels", bundle=bundle.directory, photos=[str(photo)])[0]
    assert np.array_equal(found, bundle.preprocess(photo).ravel())


def test_the_same_pixels_get_the_same_embedding(probe, bundle, photos, tmp_path):
    pixels = np.stack([bundle.preprocess(photo) for photo in photos[:50]])
    (tmp_path / "pixels.f32").write_bytes(pixels.tobytes())
    found = probe.arrays("embed_pixels", bundle=bundle.directory, pixels=tmp_path / "pixels.f32")
    tower = load_rung(bundle, choose_rung(bundle, "image"))
    assert cosines(found, tower({"pixels": pixels})).min() >= 0.9999


def test_photos_and_captions_get_the_same_embeddings_and_top_10(
    probe, bundle, photos, captions, tmp_path
):
    """From JPEG files, each side with its own decoder. The float text tower: 8-bit dynamic
    quantization rounds by the last bit of a float, which two ONNX Runtimes need not share."""
    float_text = replace(bundle.text, rungs=bundle.text.rungs[-1:])
    float_bundle = variant(bundle, tmp_path / "float", text=float_text)
    engine = SearchEngine(bundle)
    images = np.stack([engine.embed_photo(photo) for photo in photos])
    java_images = normalize(probe.embed_photos(bundle.directory, photos))
    assert len(java_images) == COUNT
    assert cosines(java_images, images).min() >= 0.998

    texts = embed_texts(float_bundle, captions)
    java_texts = normalize(probe.arrays("embed_texts", bundle=float_bundle, texts=captions))
    assert cosines(java_texts, texts).min() >= 0.9999
    both = list(ranked(java_texts, java_images, texts, images))
    assert np.mean([set(a) == set(b) for a, b in both]) >= 0.99
    for text, (java, ours) in zip(texts, both, strict=True):
        scores = images @ text
        for photo in set(java) ^ set(ours):  # only a tie may fall either way
            assert abs(scores[photo] - scores[ours].min()) < 1e-3

    texts = embed_texts(bundle.directory, captions)
    java_texts = normalize(probe.arrays("embed_texts", bundle=bundle.directory, texts=captions))
    assert cosines(java_texts, texts).mean() >= 0.9999
    assert cosines(java_texts, texts).min() >= 0.99
    shared = [len(set(a) & set(b)) for a, b in ranked(java_texts, java_images, texts, images)]
    assert np.mean(shared) >= 9.9


def embed_texts(directory: Path, captions: list[str]) -> np.ndarray:
    engine = SearchEngine(Bundle.load(directory))
    return np.stack([engine.embed_text(caption) for caption in captions])


def ranked(java_texts, java_images, texts, images):
    return zip(top10(java_texts, java_images), top10(texts, images), strict=True)


def top10(texts: np.ndarray, images: np.ndarray) -> np.ndarray:
    return np.argsort(-(texts @ images.T), axis=1, kind="stable")[:, :10]
