"""Tokenizer: the same ids as Hugging Face's own configuration of the same vocabulary."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tokenizers import Tokenizer as Reference

from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.engine.text.table import Table, write_table
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.engine.text.words import split_of
from mcad_mobile.errors import BundleError, QueryError
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.tokenizers.trained import (
    WordPieceConfig,
    wordpiece_json,
)
from tests.support.paths import ROOT

pytestmark = pytest.mark.long


MODEL = ROOT / "models" / "mcad-s"
TEXTS = [
    "a dog on the beach",
    "Ein Mädchen, das (leise) singt!",
    "CAFÉ naïve — Ångström's résumé",
    "東京の夜景 and 京都",
    "emoji 😀🐶 in a caption",
    "snowboarding 360° @ 3,000m... #winter",
    "tab\tand\nnewline\u00a0and\u200bzero width",
    "antidisestablishmentarianism " * 3,
    "x" * 150,
    "مرحبا بالعالم",
]


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return Tokenizer(*default_config().tokenizer.compiled(MODEL))


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_reference_configuration(ours, text):
    reference = Reference.from_file(str(minilm_directory() / "tokenizer.json"))
    reference.enable_truncation(32)
    reference.enable_padding(length=32)
    expected = reference.encode(text)
    tokens = ours(text)
    assert tokens.ids.tolist() == expected.ids
    assert tokens.mask.tolist() == expected.attention_mask


def test_ids_and_mask_have_the_types_that_towers_take(ours):
    tokens = ours("a dog")
    assert (tokens.ids.dtype, tokens.ids.shape) == (np.int32, (32,))
    assert (tokens.mask.dtype, tokens.mask.sum()) == (np.float32, 4)


def test_a_text_that_is_too_long_is_cut_and_says_so(ours):
    tokens = ours("dog " * 40)
    assert tokens.truncated
    assert tokens.ids[-1] == 102
    assert not ours("dog " * 30).truncated


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a dog 🐶 on the beach 🐶", ["🐶"]),
        ("собака and a κόκκινο كلب dog", ["собака", "κόκκινο", "كلب"]),  # known, letter by letter
        ("straße Ångström köpek", []),
        ("the dog 狗东西 runs", ["狗东西"]),
        ("Mädchen café naïve résumé", []),
        ("antidisestablishmentarianism 3,000m x", []),
        ("å я", []),  # a letter is spelled by itself
    ],
)
def test_words_that_no_tower_can_have_learned_are_named(ours, text, unknown):
    assert ours.unknown_words(text) == unknown


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_query_is_an_error(ours, text):
    with pytest.raises(QueryError, match="empty"):
        ours(text)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [("first", [1, 0, 0, 0, 0, 0]), ("last", [0, 0, 0, 0, 0, 1]), ("mean", [0.25] * 4 + [0, 0])],
)
def test_pooling_weights_tell_which_states_become_the_embedding(pool, expected):
    spec, file = replace(default_config().tokenizer, length=6).compiled(MODEL)
    tokens = Tokenizer(replace(spec, pool=pool), file)("a dog")
    assert tokens.pooling.tolist() == expected
    assert tokens.pooling.dtype == np.float32


def test_bytes_that_are_no_text_are_refused(ours):
    with pytest.raises(QueryError, match="not text") as caught:
        ours("a d\udcf6g")
    assert "UTF-8" in caught.value.hint


def test_the_end_of_text_is_pooled_at_its_first_token():
    spec, file = replace(default_config().tokenizer, length=6, pad=102).compiled(MODEL)
    tokens = Tokenizer(replace(spec, pool="eos", eos=102), file)("a dog")
    assert tokens.ids.tolist() == [101, 1037, 3899, 102, 102, 102]
    assert tokens.pooling.tolist() == [0, 0, 0, 1, 0, 0]


def test_a_tower_that_attends_to_padding_gets_a_mask_of_ones():
    spec, file = default_config().tokenizer.compiled(MODEL)
    tokens = Tokenizer(replace(spec, attends_to_padding=True), file)("a dog")
    assert tokens.mask.tolist() == [1.0] * 32


def test_padding_may_come_before_the_text():
    spec, file = replace(default_config().tokenizer, length=6).compiled(MODEL)
    tokens = Tokenizer(replace(spec, pad_left=True), file)("a dog")
    assert tokens.ids.tolist() == [0, 0, 101, 1037, 3899, 102]
    assert tokens.mask.tolist() == [0, 0, 1, 1, 1, 1]


def test_a_file_that_is_mapped_gives_the_same_ids(ours, tmp_path):
    spec, file = default_config().tokenizer.compiled(MODEL)
    (tmp_path / "tokenizer.bin").write_bytes(file)
    mapped = Tokenizer(spec, tmp_path / "tokenizer.bin")
    for text in TEXTS:
        assert np.array_equal(mapped(text).ids, ours(text).ids)


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "foreign", "of another kind", "cut", "short", "unknown step"]
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path, damage):
    spec, file = default_config().tokenizer.compiled(MODEL)
    header = {"before": [], "after": [], "prepare": [["rot13"]], "normalize": [], "added": []}
    contents = {
        "empty": b"",
        "foreign": b'{"version": "1.0", "truncation": null}',
        "of another kind": b"MCADROWS" + file[8:],
        "cut": file[: len(file) // 2],
        "short": file[:10],
        "unknown step": write_table({**header, "split": [], "model": {}}, {}),
    }
    path = tmp_path / "tokenizer.bin"
    if damage in contents:
        path.write_bytes(contents[damage])
    with pytest.raises(BundleError, match=r"(?s)tokenizer.*[Ee]xport the bundle again"):
        Tokenizer(spec, path)


def test_a_file_that_ends_within_an_array_is_refused_when_it_is_opened(tmp_path):
    spec, file = default_config().tokenizer.compiled(MODEL)
    (tmp_path / "tokenizer.bin").write_bytes(file[:-8])
    with pytest.raises(BundleError, match="is cut off in its array"):
        Tokenizer(spec, tmp_path / "tokenizer.bin")


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """A loop without end is a failure, and no hang."""

    def fail(number: int, frame: object) -> None:
        raise AssertionError("it takes too long")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def with_header(file: bytes, fields: dict[str, Any]) -> bytes:
    """A tokenizer's file with other fields in its header."""
    end = 12 + int.from_bytes(file[8:12], "little")
    header = json.loads(file[12:end])
    model = {**header["model"], **fields.get("model", {})}
    text = json.dumps({**header, **fields, "model": model}).encode()
    text += b" " * (-(12 + len(text)) % 8)
    return file[:8] + len(text).to_bytes(4, "little") + text + file[end:]


HEADERS: dict[str, dict[str, Any]] = {
    "an empty word": {"split": [["clip", [""], False, False]]},
    "an empty mark": {"split": [["metaspace", "", "always", True]]},
    "doubled and doubled": {"prepare": [["replace", "a", "aa"]] * 60},
    "from nothing": {"normalize": [["replace", "", "xx"]] * 60},
    "no form": {"normalize": [["form", "NFX"]]},
    "an empty step": {"prepare": [[]]},
    "a step with more": {"prepare": [["strip", 1, 1, 1]]},
    "a step with less": {"prepare": [["replace"]]},
    "a number": {"prepare": [["join_spaces", 5]]},
    "no table": {"prepare": [["charsmap", "longest"]]},
    "a token below zero": {"model": {"unk": -1}},
    "a token beyond": {"model": {"unk": 2**40}},
    "a length in words": {"model": {"longest": "long"}},
    "no model": {"model": {"kind": ["bpe"]}},
    "another model": {"model": {"kind": "bpe"}},
    "an empty token": {"added": [["", 5, False, True, True], ["a", 7, False, True, True]]},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_cannot_be_is_refused_and_does_not_hang(kind: str) -> None:
    spec, file = default_config().tokenizer.compiled(MODEL)
    text = "a dog \u00e9 on qz\U0001f436 <the> a beach"
    with within(10):
        try:
            made = Tokenizer(spec, with_header(file, HEADERS[kind]))
            made.unknown_words(text)
            tokens = made(text)
        except BundleError as error:
            assert error.hint
        else:
            assert kind == "an empty token"
            assert tokens.ids.tolist()[:2] == [101, 7]


def test_strings_without_an_empty_slot_are_looked_for_in_bounded_time() -> None:
    spec, file = default_config().tokenizer.compiled(MODEL)
    table = Table(file, "good")
    start, slots = table.starts["string_slots"], table.array("string_slots")
    raw = bytearray(file)
    raw[start : start + 4 * len(slots)] = b"".join(
        (number or 1).to_bytes(4, "little") for number in slots
    )
    with within(10):
        assert len(Tokenizer(spec, bytes(raw))("x" * 60).ids) == 32


@pytest.mark.parametrize("length", [99, 100, 101])
def test_a_word_has_a_hundred_characters_at_most_however_they_are_stored(
    tmp_path: Path, length: int
) -> None:
    """Letters that take two UTF-16 units, or four bytes, are one each."""
    letter = "\U0001d4b3"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", letter, f"##{letter}"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    config = WordPieceConfig(
        file="vocab.txt",
        length=200,
        pad=0,
        lowercase=True,
        specials={word: number for number, word in enumerate(words[:4])},
    )
    reference = Reference.from_str(json.dumps(wordpiece_json(config, tmp_path)))
    text = letter * length
    ids = Tokenizer(*config.compiled(tmp_path))(text).ids.tolist()
    expected = reference.encode(text).ids
    assert ids[: len(expected)] == expected
    assert (1 in expected) == (length > 100)


@pytest.mark.parametrize("text", [["a", "b"], None, 3, b"a dog"])
def test_what_is_no_text_is_an_error(ours: Tokenizer, text: Any) -> None:
    with pytest.raises(QueryError, match="text is expected") as caught:
        ours(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("prepend", "split", "first", "text", "words"),
    [
        ("always", True, False, "a dog", ["_a", "_dog"]),
        ("first", True, True, "a  dog", ["_a", "_", "_dog"]),
        ("first", True, False, "a dog", ["a", "_dog"]),
        ("never", True, True, " a dog", ["_a", "_dog"]),
        ("always", True, True, " a", ["_a"]),
        ("always", False, True, "a dog", ["_a_dog"]),
        ("never", False, True, "", []),
    ],
)
def test_a_mark_stands_for_each_space_and_starts_a_text(prepend, split, first, text, words):
    assert split_of(["metaspace", "_", prepend, split])(text, first) == words
