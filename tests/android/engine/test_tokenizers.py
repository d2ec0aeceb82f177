"""Tokenizers of libraries in Java: the ids, masks and pooling weights that Python gives."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import transformers
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle, FileRecord, TableRecord
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.text.token_rows import TokenTable, write_token_table
from mcad_mobile.engine.text.tokenizer import Pool, Tokenizer
from mcad_mobile.students.tokenizers.from_library import convert_tokenizer
from tests.support.library_tokenizers import HOSTILE, Library, libraries
from tests.support.many_languages import reference_ids, texts, write_model
from tests.support.probe import EngineError, variant
from tests.support.tiny_bundle import make_tiny_bundle

# How each of them is used: which states are pooled, and whether the tower looks at padding.
USED: dict[str, tuple[Pool, bool]] = {
    "open_clip CLIP": ("eos", False),
    "open_clip canonical": ("eos", True),
    "open_clip SigLIP": ("last", True),
    "open_clip SigLIP 2": ("last", True),
    "transformers CLIP": ("eos", False),
    "transformers SigLIP": ("last", True),
    "transformers SigLIP 2": ("mean", False),
    "transformers Chinese-CLIP": ("first", False),
}


@pytest.fixture(scope="module")
def captions(flickr8k) -> list[str]:
    records = json.loads(next(flickr8k.glob("dataset_*.json")).read_text("utf-8"))["images"]
    return [sentence["raw"] for record in records for sentence in record["sentences"]][:10_000]


@pytest.fixture(scope="module")
def given(captions, tmp_path_factory) -> dict[str, tuple[Library, Bundle]]:
    folder = tmp_path_factory.mktemp("tokenizers")
    tiny = make_tiny_bundle(folder / "tiny")
    found = {}
    for name, library in libraries(folder, captions).items():
        pool, attends = USED[name]
        spec, file = convert_tokenizer(
            library.tokenizer, length=library.length, pool=pool, attends_to_padding=attends
        )
        directory = folder / name
        directory.mkdir()
        (directory / "tokenizer.bin").write_bytes(file)
        record = FileRecord.of(directory, directory / "tokenizer.bin")
        variant(tiny, directory, tokenizer=spec, tokenizer_file=record)
        found[name] = (library, Bundle.load(directory))
    return found


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", USED)
def test_captions_get_the_ids_of_the_library(probe, given, captions, name, count):
    library, bundle = given[name]
    answers = probe.ask("tokens", bundle=bundle.directory, texts=captions[:count])
    assert len(answers) == count
    found = zip(captions, answers, strict=False)
    wrong = [text for text, answer in found if answer["ids"] != library.ids(text)]
    assert wrong == []


@pytest.mark.parametrize("name", USED)
def test_hostile_texts_get_the_ids_of_the_library(probe, given, name):
    library, bundle = given[name]
    answers = probe.ask("tokens", bundle=bundle.directory, texts=list(HOSTILE))
    for text, answer in zip(HOSTILE, answers, strict=True):
        assert answer["ids"] == library.ids(text), text[:80]


@pytest.mark.parametrize("name", USED)
def test_masks_and_pooling_weights_are_pythons(probe, given, name):
    _, bundle = given[name]
    ours = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    most = next(n for n in range(1, 100) if ours("word " * (n + 1)).truncated)
    for text in ("a dog on the beach", "word " * most, "word " * (most + 1), "word " * 100):
        (answer,) = probe.ask("tokens", bundle=bundle.directory, texts=[text])
        expected = ours(text)
        assert answer["tokens"] == int(expected.mask.sum())
        assert answer["pooling"] == pytest.approx(expected.pooling.tolist())
        assert answer["truncated"] == expected.truncated


@pytest.mark.parametrize("name", [*USED, "many"])
def test_unknown_words_are_pythons(probe, given, many, captions, name):
    bundle = many if name == "many" else given[name][1]
    ours = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    foreign = "собака and a κόκκινο كلب dog straße Ångström köpek", "狗东西 ᱥᱮᱛᱟ \x1c я å 🐶 🐶"
    found = [*foreign, *HOSTILE[:-1], *captions[:200]]
    answers = probe.ask("tokens", bundle=bundle.directory, texts=found)
    expected = [ours.unknown_words(text) for text in found]
    assert [answer["unknown"] for answer in answers] == expected
    assert any(expected)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Bundle:
    """A bundle with the tokenizer of many languages."""
    folder = tmp_path_factory.mktemp("many")
    tiny = make_tiny_bundle(folder / "tiny")
    spec, file = write_model(folder, lowercase=True).compiled(folder)
    (folder / "tokenizer.bin").write_bytes(file)
    record = FileRecord.of(folder, folder / "tokenizer.bin")
    return Bundle.load(variant(tiny, folder, tokenizer=spec, tokenizer_file=record))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_texts_in_forty_languages_get_the_ids_of_sentencepiece(probe, many, count):
    found = [*texts(count), *HOSTILE[:-1]]
    answers = probe.ask("tokens", bundle=many.directory, texts=found)
    wrong = [
        text
        for text, answer in zip(found, answers, strict=True)
        if answer["ids"] != reference_ids(many.directory, text.lower())
    ]
    assert wrong == []


@pytest.mark.parametrize("name", USED)
def test_a_tokenizer_of_english_captions_is_english(probe, given, name):
    _, bundle = given[name]
    assert probe.ask("bundle", bundle=bundle.directory)["english"] is True


def test_a_tokenizer_of_many_languages_is_not_english(probe, many):
    assert probe.ask("bundle", bundle=many.directory)["english"] is False


def test_a_small_vocabulary_of_chinese_is_not_english(probe, given, tmp_path):
    # As large as Chinese-CLIP's, which is smaller than English BERT's.
    ideographs = map(chr, range(0x4E00, 0xA000))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ideographs]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    tokenizer = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"))
    spec, file = convert_tokenizer(tokenizer, length=52, pool="first", attends_to_padding=False)
    (tmp_path / "tokenizer.bin").write_bytes(file)
    _, bundle = given["transformers Chinese-CLIP"]
    record = FileRecord.of(tmp_path, tmp_path / "tokenizer.bin")
    variant(bundle, tmp_path, tokenizer=spec, tokenizer_file=record)
    assert probe.ask("bundle", bundle=tmp_path)["english"] is False


def test_rows_of_4_bits_are_read_as_python_reads_them(probe, tmp_path):
    tiny = make_tiny_bundle(tmp_path / "tiny")
    table = tiny.token_table
    every = np.arange(table.tokens, dtype=np.int32)
    rows = TokenTable(tiny.path(table.file), table.tokens, table.width, 16)(every)
    other = tmp_path / "other"
    other.mkdir()
    write_token_table(other / "rows.bin", rows, 4)
    record = TableRecord(FileRecord.of(other, other / "rows.bin"), table.tokens, table.width, 4)
    bundle = Bundle.load(variant(tiny, other, token_table=record))
    queries = ["a dog on the beach", "two red cars"]
    found = probe.arrays("embed_texts", bundle=bundle.directory, texts=queries)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    expected = np.stack([SearchEngine(bundle).embed_text(text) for text in queries])
    assert np.allclose(found, expected, atol=1e-5)
    of_16_bits = np.stack([SearchEngine(tiny).embed_text(text) for text in queries])
    assert not np.allclose(expected, of_16_bits, atol=1e-4)


def test_html_entities_are_searched_as_they_are_typed(probe, given):
    library, bundle = given["open_clip CLIP"]
    ours = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    texts = ["tom &amp; jerry", "&NTILDE; &#39; rose&thorn"]
    answers = probe.ask("tokens", bundle=bundle.directory, texts=texts)
    assert [answer["ids"] for answer in answers] == [ours(text).ids.tolist() for text in texts]
    assert answers[0]["ids"] == library.ids("tom & amp ; jerry")


@pytest.mark.parametrize("damage", ["missing", "foreign", "cut", "unknown step"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(probe, given, tmp_path, damage):
    _, bundle = given["open_clip CLIP"]
    copy = Bundle.load(variant(bundle, tmp_path / "copy"))
    path = copy.path(copy.tokenizer_file)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "foreign": b'{"version": "1.0"}',
                "cut": data[: len(data) // 2],
                "unknown step": data.replace(b'"basic_clean"', b'"rot13clean1"'),
            }[damage]
        )
        record = FileRecord.of(copy.directory, path)
        replace(copy, tokenizer_file=record).save()
    with pytest.raises(EngineError) as caught:
        probe.ask("tokens", bundle=copy.directory, texts=["a dog"])
    assert "xport the bundle again" in caught.value.args[1]


@pytest.mark.parametrize("slot", [b"\1\0\0\0", b"\xff\xff\xff\x7f"], ids=["none free", "beyond"])
def test_a_damaged_table_of_tokens_neither_hangs_nor_ends_the_app(probe, tmp_path, slot):
    bundle = make_tiny_bundle(tmp_path / "tiny")
    file = bundle.path(bundle.tokenizer_file)
    raw = bytearray(file.read_bytes())
    start = 12 + int.from_bytes(raw[8:12], "little")
    _, first, count = json.loads(raw[12:start])["arrays"]["string_slots"]
    raw[start + first : start + first + 4 * count] = slot * count
    file.write_bytes(raw)
    ask = partial(probe.ask, "tokens", bundle=bundle.directory, texts=["a dog"])
    if slot[0] == 1:
        assert ask()[0]["tokens"] > 2
    else:
        with pytest.raises(EngineError, match="is damaged"):
            ask()
