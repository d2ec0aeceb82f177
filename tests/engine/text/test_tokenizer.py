"""Tokenizer: the same ids as Hugging Face's own configuration of the same vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from tokenizers import Tokenizer as Reference

from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.engine.text.table import write_table
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import BundleError, QueryError
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.tokenizers.wordpiece import wordpiece_file, wordpiece_tokenizer
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
    return wordpiece_tokenizer(default_config().tokenizer, MODEL)


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
    spec, file = wordpiece_file(replace(default_config().tokenizer, length=6), MODEL)
    tokens = Tokenizer(replace(spec, pool=pool), file)("a dog")
    assert tokens.pooling.tolist() == expected
    assert tokens.pooling.dtype == np.float32


def test_bytes_that_are_no_text_are_refused(ours):
    with pytest.raises(QueryError, match="no text") as caught:
        ours("a d\udcf6g")
    assert "UTF-8" in caught.value.hint


def test_the_end_of_text_is_pooled_at_its_first_token():
    spec, file = wordpiece_file(replace(default_config().tokenizer, length=6, pad=102), MODEL)
    tokens = Tokenizer(replace(spec, pool="eos", eos=102), file)("a dog")
    assert tokens.ids.tolist() == [101, 1037, 3899, 102, 102, 102]
    assert tokens.pooling.tolist() == [0, 0, 0, 1, 0, 0]


def test_a_tower_that_attends_to_padding_gets_a_mask_of_ones():
    spec, file = wordpiece_file(default_config().tokenizer, MODEL)
    tokens = Tokenizer(replace(spec, attends_to_padding=True), file)("a dog")
    assert tokens.mask.tolist() == [1.0] * 32


def test_padding_may_come_before_the_text():
    spec, file = wordpiece_file(replace(default_config().tokenizer, length=6), MODEL)
    tokens = Tokenizer(replace(spec, pad_left=True), file)("a dog")
    assert tokens.ids.tolist() == [0, 0, 101, 1037, 3899, 102]
    assert tokens.mask.tolist() == [0, 0, 1, 1, 1, 1]


def test_a_file_that_is_mapped_gives_the_same_ids(ours, tmp_path):
    spec, file = wordpiece_file(default_config().tokenizer, MODEL)
    (tmp_path / "tokenizer.bin").write_bytes(file)
    mapped = Tokenizer(spec, tmp_path / "tokenizer.bin")
    for text in TEXTS:
        assert np.array_equal(mapped(text).ids, ours(text).ids)


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "foreign", "of another kind", "cut", "short", "unknown step"]
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path, damage):
    spec, file = wordpiece_file(default_config().tokenizer, MODEL)
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
