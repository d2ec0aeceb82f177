"""Tokenizer: the same ids as Hugging Face's own configuration of the same vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Reference

from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.errors import BundleError, QueryError
from mcad_mobile.students.mcad import default_config
from mcad_mobile.tokenize import Tokenizer

MODEL = Path(__file__).parents[2] / "models" / "mcad-s"
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
    return Tokenizer(default_config().tokenizer, MODEL)


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


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_query_is_an_error(ours, text):
    with pytest.raises(QueryError, match="empty"):
        ours(text)


def test_an_unknown_kind_of_tokenizer_is_an_error_that_names_it():
    from dataclasses import replace

    spec = replace(default_config().tokenizer, kind="sentencepiece")
    with pytest.raises(BundleError, match="sentencepiece"):
        Tokenizer(spec, MODEL)


def test_bytes_that_are_no_text_are_refused(ours):
    with pytest.raises(QueryError, match="no text") as caught:
        ours("a d\udcf6g")
    assert "UTF-8" in caught.value.hint
