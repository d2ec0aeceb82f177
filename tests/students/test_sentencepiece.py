"""The tokenizer of many languages: the ids of the `sentencepiece` library."""

from __future__ import annotations

import pytest

from mcad_mobile.engine.text.tokenizer import Tokenizer
from tests.support.library_tokenizers import HOSTILE
from tests.support.many_languages import FORTY, reference_ids, texts, write_model

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sentencepiece")


@pytest.fixture(scope="module")
def ours(folder) -> Tokenizer:
    return Tokenizer(*write_model(folder).compiled(folder))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_texts_in_forty_languages_get_the_ids_of_the_library(folder, ours, count):
    assert len(set(FORTY)) == 40
    found = texts(count)
    assert len(set(found)) > 0.9 * count
    wrong = [text for text in found if ours(text).ids.tolist() != reference_ids(folder, text)]
    assert wrong == []


def test_a_tokenizer_that_lowercases_gives_the_ids_of_the_lowercased_text(folder):
    lowering = Tokenizer(*write_model(folder, lowercase=True).compiled(folder))
    found = [*texts(1000), "A Beagle in İstanbul", "ΣΚΥΛΟΣ", *HOSTILE[:-1]]
    wrong = [
        text for text in found if lowering(text).ids.tolist() != reference_ids(folder, text.lower())
    ]
    assert wrong == []


def test_hostile_texts_get_the_ids_of_the_library(folder, ours):
    for text in HOSTILE[:-1]:  # a lone surrogate is refused
        assert ours(text).ids.tolist() == reference_ids(folder, text), text[:80]


def test_what_frames_a_text_is_not_found_in_it(ours):
    for special in ("<s>", "</s>", "<pad>", "<unk>"):
        ids = ours(f"a {special} b").ids.tolist()
        assert ids[0] == 0
        assert ids.count(0) == ids.count(2) == 1


def test_words_of_its_languages_are_known_and_those_of_others_are_not(ours):
    known = "собака на пляже 犬 שלום 무언가를 물고 ಬೆಕ್ಕು ძაღლი ᱥᱮᱛᱟ"
    assert ours.unknown_words(f"{known} ᏣᎳᎩ") == ["ᱥᱮᱛᱟ", "ᏣᎳᎩ"]
