"""Compile Hugging Face's tokenizer.json to a bundle's tokenizer file. A step that phones do not
support is an error here, by name, not on the phone."""

from __future__ import annotations

import base64
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from mcad_mobile.engine.text.models import NONE
from mcad_mobile.engine.text.table import Kind, string_arrays, write_table
from mcad_mobile.errors import StudentError

Json = dict[str, Any]
Arrays = dict[str, tuple[Kind, bytes]]
Step = list[Any]

MARK = "▁"  # SentencePiece's space

CLIP = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"
_CLIP_SPECIALS = ("<|startoftext|>", "<|endoftext|>")
_SIMPLE = {"Lowercase": "lower", "StripAccents": "drop_marks"}
_CLIP_NAMED = "<\\|startoftext\\|>|<\\|endoftext\\|>|" + CLIP


def compile_tokenizer(
    data: Json,
    *,
    prepare: Sequence[Step] = (),
    normalize: Sequence[Step] | None = None,
    charsmap: bytes = b"",
    whole: dict[str, int] | None = None,
) -> bytes:
    """Return the file for a tokenizer.json. `prepare` steps run before its own; `normalize`, with
    the table `charsmap`, replaces its normalizer; `whole` maps words of open_clip's regular
    expression to ids of their own."""
    arrays: Arrays = charsmap_arrays(charsmap) if charsmap else {}
    steps = _normalizer(data["normalizer"], arrays) if normalize is None else [*normalize]
    before, after = _frame(data["post_processor"])
    split = _pre_tokenizer(data["pre_tokenizer"], steps, whole)
    of_bytes = any(step[0] == "clip" for step in split)
    header = {
        "prepare": list(prepare),
        "added": [_added(token) for token in data["added_tokens"]],
        "normalize": steps,
        "split": split,
        "model": _model(data["model"], arrays, of_bytes, whole or {}),
        "before": before,
        "after": after,
    }
    return write_table(header, arrays)


def refuse(part: str, value: object) -> StudentError:
    return StudentError(
        f"The student's tokenizer has a {part} that phones do not read: {value}.",
        "Use a student whose tokenizer is one of CLIP's, SigLIP's, SigLIP 2's or BERT's.",
    )


def _normalizer(data: Json | None, arrays: Arrays) -> list[Step]:
    if data is None:
        return []
    kind = data["type"]
    if kind == "Sequence":
        return [step for part in data["normalizers"] for step in _normalizer(part, arrays)]
    if kind == "BertNormalizer":
        lowercase = data["lowercase"]
        marks = lowercase if data["strip_accents"] is None else data["strip_accents"]
        wanted = {
            "bert_clean": data["clean_text"],
            "space_ideographs": data["handle_chinese_chars"],
            "strip_marks": marks,
            "lower": lowercase,
        }
        return [[name] for name, there in wanted.items() if there]
    if kind in ("NFC", "NFD", "NFKC", "NFKD"):
        return [["form", kind]]
    if kind in _SIMPLE:
        return [[_SIMPLE[kind]]]
    if kind == "Strip":
        return [["strip", data["strip_left"], data["strip_right"]]]
    if kind == "Prepend":
        return [["prepend", data["prepend"]]]
    if kind == "Replace":
        return [_replacement(data["pattern"], data["content"])]
    if kind == "Precompiled":
        blob = base64.b64decode(data["precompiled_charsmap"])
        arrays |= charsmap_arrays(blob) if blob else {}
        return [["charsmap", "clusters"]] if blob else []
    raise refuse("normalizer", kind)


def _replacement(pattern: Json, content: str) -> Step:
    if "String" in pattern:
        return ["replace", pattern["String"], content]
    if pattern["Regex"] == "\\s+":
        return ["join_spaces", content]
    if pattern["Regex"] == " {2,}":
        return ["join_blanks", content]
    raise refuse("normalizer", f"Replace of the expression {pattern['Regex']!r}")


def charsmap_arrays(blob: bytes) -> Arrays:
    """Split SentencePiece's precompiled table into its trie and the text that it points into."""
    (size,) = struct.unpack_from("<I", blob)
    return {"charsmap_trie": ("I", blob[4 : 4 + size]), "charsmap_text": ("B", blob[4 + size :])}


def _pre_tokenizer(
    data: Json | None, normalize: list[Step], whole: dict[str, int] | None
) -> list[Step]:
    parts = _flat(data)
    kinds = [part["type"] for part in parts]
    if kinds == ["Split", "ByteLevel"] and not parts[1]["add_prefix_space"]:
        pattern, (split, level) = parts[0]["pattern"].get("Regex"), parts
        removed = split["behavior"] == "Removed" and split["invert"]
        if removed and pattern in (CLIP, _CLIP_NAMED):
            specials = _CLIP_SPECIALS if pattern == _CLIP_NAMED else ()
            named = [*(specials if whole is None else whole)]
            return [["clip", named, level.get("use_regex", True), whole is not None]]
        raise refuse("pre-tokenizer", f"Split by {split['pattern']}")
    steps: list[Step] = []
    no_blanks = ["replace", " ", MARK] in normalize[-1:]
    for part in parts:
        kind = part["type"]
        if kind == "BertPreTokenizer":
            steps.append(["bert"])
        elif kind == "WhitespaceSplit":
            steps.append(["spaces"])
        elif kind == "Metaspace":
            steps.append(["metaspace", part["replacement"], part["prepend_scheme"], part["split"]])
        elif kind == "Split" and part["pattern"] == {"String": " "} and no_blanks:
            continue  # Gemma's: its normalizer has replaced every space
        else:
            raise refuse("pre-tokenizer", kind)
    return steps


def _flat(data: Json | None) -> list[Json]:
    if data is None:
        return []
    if data["type"] != "Sequence":
        return [data]
    return [inner for part in data["pretokenizers"] for inner in _flat(part)]


def _frame(data: Json | None) -> tuple[list[int], list[int]]:
    """Return the ids to add before and after a text."""
    kind = None if data is None else data["type"]
    if data is None or kind == "ByteLevel":
        return [], []
    if kind == "Sequence":
        frames = [frame for frame in map(_frame, data["processors"]) if any(frame)]
        if len(frames) > 1:
            raise refuse("post-processor", "Sequence of several that add tokens")
        return frames[0] if frames else ([], [])
    if kind in ("RobertaProcessing", "BertProcessing"):
        return [data["cls"][1]], [data["sep"][1]]
    if kind != "TemplateProcessing":
        raise refuse("post-processor", kind)
    sides: tuple[list[int], list[int]] = ([], [])
    side = 0
    for part in data["single"]:
        if "Sequence" in part:
            side = 1
        else:
            sides[side].extend(data["special_tokens"][part["SpecialToken"]["id"]]["ids"])
    return sides


def _added(token: Json) -> Step:
    if token["single_word"]:
        raise refuse("token", f"{token['content']!r}, which stands for a single word")
    flags = [token[name] for name in ("normalized", "lstrip", "rstrip")]
    return [token["content"], token["id"], *flags]


def _model(data: Json, arrays: Arrays, of_bytes: bool, whole: dict[str, int]) -> Json:
    # Files written by versions before 0.20 of the library omit the type of WordPiece and BPE.
    kind = data.get("type") or ("BPE" if "merges" in data else "WordPiece")
    if kind == "WordPiece":
        strings = [b""] * (max(data["vocab"].values()) + 1)
        for string, number in data["vocab"].items():
            strings[number] = string.encode()
        arrays |= string_arrays(strings)
        return {
            "kind": "wordpiece",
            "unk": data["vocab"][data["unk_token"]],
            "continued": data["continuing_subword_prefix"],
            "longest": data["max_input_chars_per_word"],
        }
    if kind == "Unigram":
        return _unigram(data, arrays)
    if kind == "BPE":
        return _bpe(data, arrays, of_bytes, whole)
    raise refuse("model", kind)


def _unigram(data: Json, arrays: Arrays) -> Json:
    scores = [score for _, score in data["vocab"]]
    numbers = {piece: number for number, (piece, _) in enumerate(data["vocab"])}
    if data["unk_id"] is None:
        raise refuse("model", "Unigram without an unknown token")
    pieces = [b""] * len(scores)  # of duplicate pieces, the last wins
    for piece, number in numbers.items():
        pieces[number] = piece.encode()
    starts = {piece[:end]: None for piece in numbers for end in range(1, len(piece))}
    arrays |= string_arrays(
        [*pieces, *(start.encode() for start in starts if start not in numbers)]
    )
    arrays["scores"] = ("d", array("d", scores).tobytes())
    if data.get("byte_fallback"):
        arrays["byte_ids"] = _byte_tokens(numbers)
    # The cost of an unknown character: kUnkPenalty in SentencePiece's unigram_model.cc.
    unknown = {"unk": data["unk_id"], "unk_score": min(scores) - 10.0}
    return {"kind": "unigram", **unknown, "many_scripts": data.get("many_scripts", False)}


def _byte_tokens(numbers: dict[str, int]) -> tuple[Kind, bytes]:
    """Return the ids of tokens <0x00> to <0xFF>."""
    return _uint32(numbers.get(f"<0x{byte:02X}>", NONE) for byte in range(256))


def _uint32(values: Iterable[int]) -> tuple[Kind, bytes]:
    return "I", array("I", values).tobytes()


def _bpe(data: Json, arrays: Arrays, of_bytes: bool, whole: dict[str, int]) -> Json:
    vocab: dict[str, int] = data["vocab"]
    suffix = data.get("end_of_word_suffix") or ""
    for name in ("dropout", "continuing_subword_prefix", "ignore_merges"):
        if data.get(name):
            raise refuse("model", f"BPE with {name} {data[name]!r}")
    if of_bytes:
        letters = _byte_letters()
        for name, end in (("byte_ids", ""), ("byte_last_ids", suffix)):
            arrays[name] = _uint32(vocab.get(letter + end, NONE) for letter in letters)
    elif suffix:
        raise refuse("model", f"BPE of characters with the suffix {suffix!r}")
    else:
        single = sorted((ord(token), number) for token, number in vocab.items() if len(token) == 1)
        arrays["chars"] = _uint32(code for code, _ in single)
        arrays["char_ids"] = _uint32(number for _, number in single)
        if data.get("byte_fallback"):
            arrays["byte_ids"] = _byte_tokens(vocab)
    arrays |= _merges(data["merges"], vocab)
    unknown = data.get("unk_token")
    return {
        "kind": "bpe",
        "of_bytes": of_bytes,
        "unk": vocab.get(unknown) if unknown is not None else None,
        "fuse_unk": bool(data.get("fuse_unk")),
        "whole": whole,
    }


def _merges(merges: list[Any], vocab: dict[str, int]) -> Arrays:
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for rank, merge in enumerate(merges):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        found[vocab[left], vocab[right]] = (rank, vocab[left + right])
    pairs = sorted(found)
    count = Counter(left for left, _ in pairs)
    return {
        # Where the pairs of each left token begin, and behind the last one's, where they end.
        "merge_rows": _uint32(accumulate(count[n] for n in range(-1, max(vocab.values()) + 1))),
        "merge_right": _uint32(right for _, right in pairs),
        "merge_rank": _uint32(found[pair][0] for pair in pairs),
        "merge_into": _uint32(found[pair][1] for pair in pairs),
    }


def _byte_letters() -> list[str]:
    """Return the printable character for each byte in a GPT-2 vocabulary."""
    letters, spare = [], 256
    for byte in range(256):
        printable = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE
        letters.append(chr(byte if printable else spare))
        spare += not printable
    return letters
