"""Convert a library's tokenizer to a bundle's tokenizer file that gives the same ids."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mcad_mobile.engine.text.normalize import ASCII_PUNCTUATION
from mcad_mobile.engine.text.tokenizer import Pool, TokenizerSpec
from mcad_mobile.errors import StudentError
from mcad_mobile.students.tokenizers.tokenizer_json import (
    CLIP,
    MARK,
    Json,
    Step,
    compile_tokenizer,
    refuse,
)

UNIGRAM, BPE = 1, 2  # kinds of SentencePiece models

_CANONICAL: list[Step] = [["lower_text"], ["remove", ASCII_PUNCTUATION], ["join_words"]]
# open_clip's three text cleaners, by function name.
_CLEAN: dict[str, list[Step]] = {
    "_clean_lower": [["basic_clean"], ["join_words"], ["lower_text"]],
    "_clean_whitespace": [["basic_clean"], ["join_words"]],
    "_clean_canonicalize": [["basic_clean"], ["replace", "_", " "], *_CANONICAL],
}


@dataclass(frozen=True)
class _Parts:
    """A tokenizer.json, how rows are padded, and options of `compile_tokenizer`."""

    data: Json
    pad: int
    eos: int | None
    pad_left: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def convert_tokenizer(
    tokenizer: Any, *, length: int, pool: Pool, attends_to_padding: bool
) -> tuple[TokenizerSpec, bytes]:
    """Convert a library's tokenizer to a bundle's spec and file."""
    parts = _parts(tokenizer)
    spec = TokenizerSpec(
        length=length,
        pad=parts.pad,
        pad_left=parts.pad_left,
        attends_to_padding=attends_to_padding,
        pool=pool,
        eos=parts.eos if pool == "eos" else None,
    )
    return spec, compile_tokenizer(parts.data, **parts.options)


def _parts(tokenizer: Any) -> _Parts:
    kind = type(tokenizer).__name__
    if kind == "SimpleTokenizer":
        return _open_clip(tokenizer)
    if kind == "HFTokenizer":
        return _open_clip_of_transformers(tokenizer)
    if kind == "SigLipTokenizer":
        steps = {"prepare": _CLEAN["_clean_canonicalize"]}
        return replace(_transformers(tokenizer.tokenizer), options=steps)
    if kind == "SiglipTokenizer":
        return _siglip(tokenizer)
    if hasattr(tokenizer, "backend_tokenizer"):
        return _transformers(tokenizer)
    raise refuse("class", kind)


def _open_clip(tokenizer: Any) -> _Parts:
    """Convert open_clip's own byte-pair encoding, whose regular expression lists the specials."""
    if tokenizer.reduction_fn is not None:
        raise refuse("way to cut a text", "a reduction mask, which is for training")
    encoder, start, end = tokenizer.encoder, tokenizer.sot_token_id, tokenizer.eot_token_id
    names = {number: token for token, number in encoder.items()}
    split = {"type": "Split", "pattern": {"Regex": CLIP}, "behavior": "Removed", "invert": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    data: Json = {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": {
            "type": "RobertaProcessing",
            "cls": [names[start], start],
            "sep": [names[end], end],
        },
        "model": {
            "type": "BPE",
            "vocab": encoder,
            "merges": list(tokenizer.bpe_ranks),
            "end_of_word_suffix": "</w>",
        },
    }
    whole = {names[number]: number for number in tokenizer.all_special_ids}
    return _Parts(data, pad=0, eos=end, options={"prepare": _clean(tokenizer), "whole": whole})


def _open_clip_of_transformers(tokenizer: Any) -> _Parts:
    if tokenizer.tokenizer_mode:
        raise refuse("mode", repr(tokenizer.tokenizer_mode))
    parts = _parts(tokenizer.tokenizer)
    steps = [*_clean(tokenizer), *parts.options.get("prepare", ())]
    parts = replace(parts, options={**parts.options, "prepare": steps})
    if not tokenizer.strip_sep_token:
        return parts
    # CLIPA replaces the separator with a zero.
    data, separator = json.loads(json.dumps(parts.data)), tokenizer.tokenizer.sep_token_id
    if data["post_processor"]["type"] != "TemplateProcessing":
        raise refuse("post-processor", f"{data['post_processor']['type']} without its separator")
    for special in data["post_processor"]["special_tokens"].values():
        special["ids"] = [0 if number == separator else number for number in special["ids"]]
    return replace(parts, data=data)


def _clean(tokenizer: Any) -> list[Step]:
    name = getattr(tokenizer.clean_fn, "__name__", repr(tokenizer.clean_fn))
    if name not in _CLEAN:
        raise refuse("way to clean a text", name)
    return _CLEAN[name]


def _transformers(tokenizer: Any) -> _Parts:
    if tokenizer.truncation_side != "right":
        raise refuse("truncation side", repr(tokenizer.truncation_side))
    if tokenizer.pad_token_id is None:
        raise refuse("padding", "no token for it")
    return _Parts(
        json.loads(tokenizer.backend_tokenizer.to_str()),
        pad=tokenizer.pad_token_id,
        eos=tokenizer.eos_token_id,
        pad_left=tokenizer.padding_side == "left",
    )


def _siglip(tokenizer: Any) -> _Parts:
    """Convert transformers' SigLIP: canonicalize the parts between specials, then apply
    SentencePiece's character table; every space starts a word."""
    model = read_sentencepiece(tokenizer.vocab_file)
    if model.kind != UNIGRAM:
        raise refuse("model", "SentencePiece of another kind than unigram")
    if not tokenizer.do_lower_case:
        raise refuse("normalizer", "SigLIP without lower case")
    eos = tokenizer.eos_token
    data: Json = {
        "added_tokens": [_added(token, n) for n, token in tokenizer.added_tokens_decoder.items()],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": eos}}],
            "special_tokens": {eos: {"ids": [tokenizer.eos_token_id]}},
        },
        "model": {"type": "Unigram", "vocab": model.pieces, "unk_id": model.unk_id},
    }
    normalize = [
        ["lower"],
        ["remove", ASCII_PUNCTUATION],
        ["join_words"],
        *([["charsmap", "longest"]] if model.charsmap else []),
        ["join_blanks", " "],
        ["replace", " ", MARK],
        ["trim_end", MARK],
    ]
    prepare = [["replace", MARK, " "], ["prepend", MARK]]
    options = {"prepare": prepare, "normalize": normalize, "charsmap": model.charsmap}
    return _Parts(
        data,
        pad=tokenizer.pad_token_id,
        eos=tokenizer.eos_token_id,
        pad_left=tokenizer.padding_side == "left",
        options=options,
    )


def _added(token: Any, number: int) -> Json:
    names = ("content", "single_word", "lstrip", "rstrip", "normalized")
    return {**{name: getattr(token, name) for name in names}, "id": number}


@dataclass(frozen=True)
class SentencePieceModel:
    """A SentencePiece model: `kind`, strings and scores by id, and its character table."""

    kind: int
    pieces: list[tuple[str, float]]
    unk_id: int
    charsmap: bytes


def read_sentencepiece(path: str) -> SentencePieceModel:
    """Read a model. StudentError if the file is missing or not a SentencePiece model."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            fields = list(_fields(file.read()))
        trainer = dict(_fields(next(value for number, value in fields if number == 2)))
        normalizer = dict(_fields(next(value for number, value in fields if number == 3)))
        pieces = [_piece(value) for number, value in fields if number == 1]
    except (OSError, ValueError, IndexError, StopIteration, struct.error, TypeError) as error:
        raise StudentError(
            f"{path} is not a SentencePiece model: {type(error).__name__} {error}.",
            "Give the student's folder as it was published, with its tokenizer's files.",
        ) from error
    return SentencePieceModel(
        trainer.get(3, UNIGRAM), pieces, trainer.get(40, 0), normalizer.get(2, b"")
    )


def _piece(data: bytes) -> tuple[str, float]:
    fields = dict(_fields(data))
    return fields[1].decode(), struct.unpack("<f", fields.get(2, bytes(4)))[0]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Parse protobuf's wire format: yield field numbers and their integers or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            if wire != 2:
                raise ValueError(f"wire type {wire}")
            size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("it is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
