"""The Java engine gives what the Python reference gives: ids, pixels, embeddings."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index, open_index
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.engine.towers import choose_rung, normalize
from tests.support.probe import EngineError, variant

COUNT = 200
LEVEL = 1 / 255
ODD_SIZES = ((500, 333), (333, 501), (301, 300), (97, 640), (50, 61), (225, 224))
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
def pngs(tmp_path_factory) -> dict[Path, Image.Image]:
    """Photos by their files, which decode to the same bytes on both sides."""
    folder = tmp_path_factory.mktemp("pngs")
    photos = [open_photo(photo) for photo in packaged_photos()]
    photos += [photos[0].resize(size) for size in ODD_SIZES]
    made = {folder / f"{number}.png": photo for number, photo in enumerate(photos)}
    for path, photo in made.items():
        photo.save(path, compress_level=1)
    return made


@pytest.fixture(scope="module")
def captions(flickr8k) -> list[str]:
    records = json.loads(next(flickr8k.glob("dataset_*.json")).read_text("utf-8"))["images"]
    held_out = [record for record in records if record["split"] == "test"]
    return [record["sentences"][0]["raw"] for record in held_out][:COUNT]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (normalize(a) * normalize(b)).sum(axis=1)


def assert_same_ids(probe, bundle: Bundle, texts: list[str]) -> None:
    tokenizer = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
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


@pytest.mark.slow
def test_every_character_gets_the_same_token_ids(probe, bundle):
    """Python knows the categories of Unicode 14 or later, a JVM those of 13 or later: marks and
    punctuation that were added since may differ, letters may not."""
    tokenizer = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
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
    assert all(
        character > "\u061b" for character in different
    )  # after Latin, Greek, Cyrillic and Hebrew
    assert {unicodedata.category(character)[0] for character in different} <= set("MPC") | {"S"}


def test_an_empty_query_is_refused_in_the_same_words(probe, bundle):
    with pytest.raises(EngineError, match="is empty"):
        probe.ask("tokens", bundle=bundle.directory, texts=[" \t\u3000"])


@pytest.mark.parametrize(
    "changes",
    [
        {"resize": "squash"},
        {"resize": "squash", "resize_to": 256},
        {"resize": "shortest"},
        {"resize": "shortest", "centre": "round"},
        {"resize": "shortest", "resize_to": 257, "centre": "round"},
        {"resize": "longest", "fill": (127, 0, 255)},
    ],
    ids=str,
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_decoded_photo_becomes_the_same_pixels(
    probe, bundle, pngs, tmp_path, changes, interpolation
):
    preprocess = replace(bundle.preprocess, interpolation=interpolation, **changes)
    other = variant(bundle, tmp_path / "bundle", preprocess=preprocess)
    assert len(pngs) > 10
    found = probe.arrays("pixels", bundle=other, photos=[str(path) for path in pngs])
    expected = [preprocess.pixels(photo).ravel() for photo in pngs.values()]
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
    tower = choose_rung(bundle, "image").tower
    assert cosines(found, tower({"pixels": pixels})).min() >= 0.9999


@pytest.fixture(scope="module")
def float_bundle(bundle, tmp_path_factory) -> Bundle:
    """With the float text tower: 8-bit dynamic quantization rounds by the last bit of a float,
    which two ONNX Runtimes need not share."""
    float_text = replace(bundle.text, rungs=bundle.text.rungs[-1:])
    folder = tmp_path_factory.mktemp("float") / "bundle"
    return Bundle.load(variant(bundle, folder, text=float_text))


@pytest.fixture(scope="module")
def images(bundle, photos) -> np.ndarray:
    engine = SearchEngine(bundle)
    return np.stack([engine.embed_photo(photo) for photo in photos])


@pytest.fixture(scope="module")
def java_images(probe, bundle, photos) -> np.ndarray:
    return normalize(probe.embed_photos(bundle.directory, photos))


def test_photos_get_the_same_embeddings(images, java_images):
    """From JPEG files, each side with its own decoder."""
    assert len(java_images) == COUNT
    assert cosines(java_images, images).min() >= 0.998


def test_captions_get_the_same_embeddings(probe, bundle, float_bundle, captions):
    for made, least, mean in ((float_bundle, 0.9999, 0.9999), (bundle, 0.99, 0.9998)):
        engine = SearchEngine(made)
        texts = np.stack([engine.embed_text(caption) for caption in captions])
        java_texts = probe.arrays("embed_texts", bundle=made.directory, texts=captions)
        assert cosines(java_texts, texts).min() >= least
        assert cosines(java_texts, texts).mean() >= mean


@pytest.fixture(scope="module")
def indexes(bundle, photos, images, java_images, tmp_path_factory) -> Path:
    """Two of the same photos: as Python decodes and embeds them, and as Java does."""
    folder = tmp_path_factory.mktemp("indexes")
    for name, embeddings in (("python", images), ("java", java_images)):
        with create_index(bundle, folder / name).writer() as writer:
            writer.add([str(photo) for photo in photos], embeddings)
    return folder


@pytest.mark.parametrize("of", ["python", "java"])
def test_both_search_to_the_same_top_10(probe, float_bundle, captions, indexes, of):
    """From the words to the photos, Java in its own index and in Python's."""
    python, java = searches(probe, float_bundle, captions, indexes / "python", indexes / of)
    same = [{*ours} == {*theirs} for ours, theirs in zip(python, java, strict=True)]
    assert np.mean(same) >= 0.99
    for ours, theirs in zip(python, java, strict=True):
        for path in {*ours} ^ {*theirs}:  # only a tie may fall either way
            score = ours[path] if path in ours else theirs[path]
            assert abs(score - min(ours.values())) < 1e-3


def test_with_8_bit_text_nearly_the_same_top_10(probe, bundle, captions, indexes):
    python, java = searches(probe, bundle, captions, indexes / "python", indexes / "java")
    shared = [len({*ours} & {*theirs}) for ours, theirs in zip(python, java, strict=True)]
    assert np.mean(shared) >= 9.9


def searches(probe, bundle: Bundle, captions, python_index: Path, java_index: Path):
    """Of each caption the ten best photos and their scores, by Python and by Java."""
    engine = SearchEngine(bundle)
    index = open_index(bundle, python_index)
    found = [engine.search(index, caption, k=10).results for caption in captions]
    python = [{result.path: result.score for result in results} for results in found]
    answers = probe.ask("search", bundle=bundle.directory, index=java_index, queries=captions, k=10)
    java = [dict(zip(answer["paths"], answer["scores"], strict=True)) for answer in answers]
    assert {len(results) for results in (*python, *java)} == {10}
    return python, java
