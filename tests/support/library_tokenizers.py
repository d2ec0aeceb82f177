"""Tokenizers of open_clip and transformers, and texts that expose wrong ones.

CLIP's merges (from open_clip) and BERT's vocabulary are the published ones. No package ships
SigLIP's and Gemma's models: small SentencePiece models with the same settings are trained here, and
read by the libraries' own classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip.tokenizer
import sentencepiece
import transformers
from transformers.tokenization_utils_base import generate_merges

from mcad_mobile.students.tokenizers.from_library import read_sentencepiece
from mcad_mobile.students.transformers import load_tokenizer
from tests.support.paths import ROOT

VOCABULARY = ROOT / "models" / "mcad-s" / "vocab.txt"

HOSTILE = (
    "a dog on the beach",
    "Café Müller's naïve façade",
    "İstanbul'da ΟΔΥΣΣΕΥΣ Straße ﬁne ΑΣ. ΑΣΑ σς",
    "東京タワー and 北京 at night",
    "Zürich: 3,50€ (100%)!",
    "tabs\tand\nlines\u00a0and\u3000wide spaces",
    "zero\u200bwidth soft\u00adhyphen\ufeff bom \x07bell",
    "👩‍👩‍👧 family 🇩🇪 flag 🏳️‍🌈 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👍🏽 a🏽",
    "[CLS] is not [SEP] special <|endoftext|>",
    "a" * 101 + " end",
    "word " * 60,
    "word " * 10_000,
    "supercalifragilisticexpialidocious" * 20,
    "한국어 हिन्दी ภาษาไทย עִבְרִית العربية क्षि ক্ষ",
    "\u202eright to left\u202c مرحبا \u0600١ ۝",
    "e\u0301 combining \u0345 iota \u1e9e sharp a\u0301\u0302\u0303\u0304",
    "don't can't 'll ½ ² №5 … — “quotes” don’t ‘x’ 'S it'S he'ſ",
    "AT&T & R&D; <3 &&c # ; &;",
    "x < y & z\nline \u2019 two",
    "\x1b[31mred\x1b[0m tag <table><br>",
    "ＦＵＬＬ width ﾊﾝｶｸ ｶﾞ か\u3099 が",
    "\x00nul\x00inside",
    "\x01start",
    "foo_bar___baz",
    "!!!",
    "a!!!<end_of_text> b <end_of_text>c <start_of_text>",
    "<|ENDOFTEXT|>!! x <|startoftext|> y",
    "</s> in <unk> text<pad>",
    "  leading and   multiple    spaces  ",
    "▁under ▁▁score",
    "line\n\nbreaks\r\n\r\nmore\n\n\n",
    "<start_of_turn>user<eos><bos>",
    "\x85 next \u2028 line \u2029 para \x1c fs \x1f us \x9f",
    "ﷺ ㍿ ① ㎏ ½ 𝒜𝓑 𝟘𝟙 𝔘𝔫𝔦 ǆ Ǆ ŉ ĳ ﬅ ﬆ ﬃ",
    "ሰላም ᏣᎳᎩ ⴰⵣⵓⵍ 𐍈 𒀀",
    "a\u200db c\u200c ©\u200d® ™\ufe0f",
    "1234567890 12.5 ٣٤",
    "\ufffd replaced",
    "\u1100\u1161\u11a8 jamo 각",
    "lone \ud83d surrogate \udc36",
)


@dataclass(frozen=True)
class Library:
    """A library's tokenizer, its row length, and its ids [L] of a text."""

    tokenizer: Any
    length: int
    ids: Callable[[str], list[int]]


def _open_clip(tokenizer: Any, length: int) -> Library:
    return Library(tokenizer, length, lambda text: tokenizer(text)[0].tolist())


def _transformers(tokenizer: Any, length: int) -> Library:
    def ids(text: str) -> list[int]:
        # The libraries reject lone surrogates; ftfy replaces them by U+FFFD.
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        return tokenizer(text, padding="max_length", max_length=length, truncation=True)[
            "input_ids"
        ]

    return Library(tokenizer, length, ids)


def libraries(folder: Path, captions: list[str]) -> dict[str, Library]:
    """Return libraries by name. Trains SentencePiece models on `captions`, in `folder`."""
    unigram, bpe = _train(folder, captions)
    t5 = transformers.T5Tokenizer(
        vocab=unigram.pieces, _spm_precompiled_charsmap=unigram.charsmap, extra_ids=0
    )
    t5.save_pretrained(folder / "t5")
    gemma = _gemma(bpe)
    gemma.padding_side, gemma.add_bos_token, gemma.add_eos_token = "right", False, True
    gemma.save_pretrained(folder / "gemma")
    simple, wrapped = open_clip.tokenizer.SimpleTokenizer, open_clip.tokenizer.HFTokenizer
    return {
        "open_clip CLIP": _open_clip(simple(), 77),
        "open_clip canonical": _open_clip(simple(clean="canonicalize"), 77),
        "open_clip SigLIP": _open_clip(
            wrapped(str(folder / "t5"), context_length=64, clean="canonicalize"), 64
        ),
        "open_clip SigLIP 2": _open_clip(
            wrapped(str(folder / "gemma"), context_length=64, clean="canonicalize"), 64
        ),
        "transformers CLIP": _transformers(_clip(), 77),
        "transformers SigLIP": _transformers(
            transformers.SiglipTokenizer(str(folder / "unigram.model")), 64
        ),
        "transformers SigLIP 2": _transformers(_siglip_2(folder / "siglip2", bpe), 64),
        "transformers Chinese-CLIP": _transformers(
            transformers.BertTokenizer(vocab=str(VOCABULARY)), 52
        ),
    }


def _clip() -> Any:
    ours = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(token, token): number for token, number in ours.encoder.items()}
    return transformers.CLIPTokenizer(vocab=vocab, merges=list(ours.bpe_ranks))


def _gemma(model: Any, **options: Any) -> Any:
    vocab = {piece: number for number, (piece, _) in enumerate(model.pieces)}
    merges = generate_merges(vocab, dict(model.pieces))
    return transformers.GemmaTokenizer(vocab=vocab, merges=merges, **options)


def _siglip_2(folder: Path, model: Any) -> Any:
    """Load what the published checkpoints declare (transformers' convert_siglip_to_hf.py)."""
    options = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    _gemma(model, **options, do_lower_case=True).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "siglip"}')
    return load_tokenizer(folder, "siglip")


def _train(folder: Path, captions: list[str]) -> tuple[Any, Any]:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([caption.lower() for caption in captions]),
        model_prefix=str(folder / "unigram"),
        vocab_size=4000,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_prefix=str(folder / "bpe"),
        vocab_size=4000,
        model_type="bpe",
        normalization_rule_name="identity",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["\t", "\n", "\n\n", "▁▁", "▁▁▁", "<start_of_turn>"],
        minloglevel=2,
    )
    unigram, bpe = (str(folder / f"{name}.model") for name in ("unigram", "bpe"))
    return read_sentencepiece(unigram), read_sentencepiece(bpe)
