"""Tokenizers of libraries: a bundle's gives the ids that the library's own gives."""

from __future__ import annotations

import copy
import json
import struct
from functools import partial
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import open_clip.tokenizer
import pytest
from msgspec.structs import replace
from sentencepiece import SentencePieceNormalizer
from tokenizers import AddedToken, Regex, models, normalizers, processors
from tokenizers import Tokenizer as Reference

from mcad_mobile.engine.text.normalize import Charsmap, basic_clean
from mcad_mobile.engine.text.table import Table, write_table
from mcad_mobile.engine.text.tokenizer import Tokenizer, TokenizerSpec
from mcad_mobile.errors import StudentError
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.tokenizers.from_library import convert_tokenizer, read_sentencepiece
from mcad_mobile.students.tokenizers.tokenizer_json import charsmap_arrays, compile_tokenizer
from mcad_mobile.students.tokenizers.trained import WordPieceConfig, wordpiece_json
from tests.support.library_tokenizers import HOSTILE, VOCABULARY, libraries

NAMES = (
    "open_clip CLIP",
    "open_clip canonical",
    "open_clip SigLIP",
    "open_clip SigLIP 2",
    "transformers CLIP",
    "transformers SigLIP",
    "transformers SigLIP 2",
    "transformers Chinese-CLIP",
)
MOJIBAKE = "â€œschÃ¶nâ€\x9d"


@pytest.fixture(scope="module")
def captions(flickr8k) -> list[str]:
    """The first 10,000 of Flickr8k."""
    records = json.loads(next(flickr8k.glob("dataset_*.json")).read_text("utf-8"))["images"]
    return [sentence["raw"] for record in records for sentence in record["sentences"]][:10_000]


@pytest.fixture(scope="module")
def given(captions, tmp_path_factory):
    """Per library: its tokenizer, and the one that a bundle gets for it."""
    found = libraries(tmp_path_factory.mktemp("tokenizers"), captions)
    return {name: (library, bundled(library)) for name, library in found.items()}


def bundled(library, **changes) -> Tokenizer:
    spec, file = convert_tokenizer(
        library.tokenizer, length=library.length, pool="last", attends_to_padding=True
    )
    return Tokenizer(replace(spec, **changes), file)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_captions_get_the_ids_of_the_library(given, captions, name, count):
    library, ours = given[name]
    texts = captions[:count]
    assert len(texts) == count
    wrong = [text for text in texts if ours(text).ids.tolist() != library.ids(text)]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_hostile_texts_get_the_ids_of_the_library(given, name):
    library, ours = given[name]
    for text in HOSTILE[:-1]:  # a lone surrogate is refused: see test_tokenize.py
        assert ours(text).ids.tolist() == library.ids(text), text[:80]


def test_a_tokenizer_of_bytes_has_a_token_for_everything_but_no_word_of_another_script(given):
    _, ours = given["open_clip CLIP"]
    assert ours.unknown_words("a dog 🐶 собака Mädchen café") == ["собака"]


def test_only_a_text_that_is_too_long_says_so(given):
    for library, ours in given.values():
        assert ours("word " * 100).truncated
        assert not ours("word").truncated
        assert len(ours("word").ids) == library.length


def test_the_end_of_text_is_the_librarys(given):
    library, _ = given["open_clip CLIP"]
    spec, _ = convert_tokenizer(library.tokenizer, length=77, pool="eos", attends_to_padding=False)
    assert (spec.eos, spec.pad) == (49407, 0)
    library, _ = given["transformers CLIP"]
    spec, _ = convert_tokenizer(library.tokenizer, length=77, pool="eos", attends_to_padding=False)
    assert (spec.eos, spec.pad) == (49407, 49407)


@pytest.mark.parametrize(
    ("name", "words"),
    [("open_clip CLIP", "tom & amp ; jerry"), ("open_clip canonical", "tom amp jerry")],
)
def test_html_entities_are_searched_as_they_are_typed(given, name, words):
    """open_clip resolves them, which a search box has no use for."""
    library, ours = given[name]
    typed = ours("tom &amp; jerry").ids.tolist()
    assert typed == library.ids(words)
    assert typed != library.ids("tom &amp; jerry")


def test_cleaning_is_open_clips_but_for_entities_and_guesses_at_encodings():
    for text in HOSTILE[:-1]:  # lone surrogates are gone before
        assert basic_clean(text) == open_clip.tokenizer.basic_clean(text), text[:80]
    assert ftfy.fix_text(MOJIBAKE) != MOJIBAKE
    assert "schÃ¶n" in basic_clean(MOJIBAKE)


@pytest.mark.parametrize("way", ["clusters", "longest"])
def test_sentencepieces_table_is_applied_as_each_library_does(given, way):
    """By `tokenizers` to grapheme clusters, by sentencepiece to the longest key."""
    model = read_sentencepiece(given["transformers SigLIP"][0].tokenizer.vocab_file)
    names = ("prepare", "added", "normalize", "split", "before", "after")
    header: dict[str, Any] = {**{name: [] for name in names}, "model": {}}
    table = Table(write_table(header, charsmap_arrays(model.charsmap)), "charsmap")
    ours = Charsmap(table, way)
    library = normalizers.Precompiled(model.charsmap).normalize_str
    # The library trims and joins spaces besides.
    spm = SentencePieceNormalizer(rule_name="nmt_nfkc", escape_whitespaces=False)
    texts = [*HOSTILE[:-1], "か\u3099", "e\u0301\u0302", "\ufb01\u0301", "\r\n", "a\u200d\u0301"]
    for text in texts:
        if way == "clusters":
            assert ours(text) == library(text), text[:80]
        else:
            assert ours(text).split() == spm.normalize(text).split(), text[:80]


def test_a_text_of_the_table_without_an_end_is_read_to_where_the_table_ends():
    """A double array of one key, by hand: the byte 1 stands for the text at 0."""
    trie = np.zeros(512, np.uint32)
    trie[0] = 256 << 10  # children from 256 on
    trie[256 ^ 1] = 2 << 10 | 1 << 8 | 1  # the key's byte, a value two further
    trie[256 ^ 1 ^ 2] = 1 << 31
    header: dict[str, Any] = {name: [] for name in ("prepare", "added", "normalize", "split")}
    header |= {"before": [], "after": [], "model": {}}
    for text in (b"end", b"end\0"):
        blob = struct.pack("<I", trie.nbytes) + trie.tobytes() + text
        table = Table(write_table(header, charsmap_arrays(blob)), "charsmap")
        assert Charsmap(table, "longest")("a\x01b") == "aendb"


def test_a_clip_of_bert_may_have_its_separator_taken_out(given, tmp_path):
    """As open_clip's CLIPA models do."""
    library, _ = given["transformers Chinese-CLIP"]
    library.tokenizer.save_pretrained(tmp_path)
    theirs = open_clip.tokenizer.HFTokenizer(str(tmp_path), 32, strip_sep_token=True)
    spec, file = convert_tokenizer(theirs, length=32, pool="last", attends_to_padding=True)
    for text in ("a dog", "word " * 60):
        ids = theirs(text)[0].tolist()
        assert 102 not in ids
        assert Tokenizer(spec, file)(text).ids.tolist() == ids


def test_our_own_tokenizer_json_is_read_by_the_reference_library():
    data = wordpiece_json(default_config().tokenizer, VOCABULARY.parent)
    reference = Reference.from_str(json.dumps(data))
    ours = Tokenizer(TokenizerSpec(10_010, 0), compile_tokenizer(data))
    for text in HOSTILE[:-1]:
        expected = reference.encode(text).ids
        assert ours(text).ids.tolist()[: len(expected)] == expected


def test_a_vocabulary_of_capitals_keeps_them(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nDog\ndog\n")
    specials = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    for lowercase, dogs in ((True, [5, 5]), (False, [4, 5])):
        config = WordPieceConfig(
            file="vocab.txt", length=4, pad=0, specials=specials, lowercase=lowercase
        )
        tokens = Tokenizer(*config.compiled(tmp_path))("Dog dog")
        assert tokens.ids.tolist() == [2, *dogs, 3]


def test_a_tokenizer_that_phones_cannot_follow_is_refused_by_name(given):
    library, _ = given["transformers CLIP"]
    convert = partial(convert_tokenizer, length=77, pool="eos", attends_to_padding=False)
    for name, value, why in (
        ("truncation_side", "left", "truncation side .*'left'"),
        ("pad_token", None, "padding .*no token"),
    ):
        other = copy.deepcopy(library.tokenizer)
        setattr(other, name, value)
        with pytest.raises(StudentError, match=why):
            convert(other)
    data = wordpiece_json(default_config().tokenizer, VOCABULARY.parent)
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized"), False)
    data["added_tokens"] = [{"content": "[X]", "id": 5, "single_word": True, **flags}]
    with pytest.raises(StudentError, match=r"'\[X\]', which stands for a single word"):
        compile_tokenizer(data)


def test_added_tokens_are_found_as_the_reference_library_finds_them():
    """One as it is written, one in the normalized text, one that takes its spaces with it."""
    data = wordpiece_json(default_config().tokenizer, VOCABULARY.parent)
    reference = Reference.from_str(json.dumps(data))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokens = [
        AddedToken("[Ä]", **plain),
        AddedToken("Ärger Über", **plain | {"normalized": True}),
        AddedToken("<mask>", **plain | {"lstrip": True, "rstrip": True}),
    ]
    reference.add_tokens(tokens)
    ours = Tokenizer(TokenizerSpec(64, 0), compile_tokenizer(json.loads(reference.to_str())))
    for text in ("[Ä] dog", "[ä] dog", "an ÄRGER über all", "ärger  über", "a <mask> b<mask>  c"):
        expected = reference.encode(text).ids
        assert ours(text).ids.tolist()[: len(expected)] == expected, text


@pytest.mark.parametrize("kind", [models.BPE, models.Unigram])
def test_characters_without_a_token_are_spelled_in_bytes(kind):
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b"]
    if kind is models.BPE:
        vocab = {token: number for number, token in enumerate(tokens)}
        model = kind(vocab, [], unk_token="<unk>", byte_fallback=True)
    else:
        model = kind([(token, -1.0) for token in tokens], unk_id=0, byte_fallback=True)
    reference = Reference(model)
    ours = Tokenizer(TokenizerSpec(64, 0), compile_tokenizer(json.loads(reference.to_str())))
    for text in ("a\x01\x0ab", "c\x1fa", "né東🐶b"):
        expected = reference.encode(text).ids
        assert 0 not in expected
        assert ours(text).ids.tolist()[: len(expected)] == expected, text


@pytest.mark.parametrize("changed", [{"strip_accents": True}, {"lowercase": True}, {}])
def test_accents_go_as_berts_options_say(changed):
    """Where strip_accents is not said, with upper case."""
    for options in (changed, changed | {"strip_accents": False}):
        given = {"lowercase": False, "strip_accents": None} | options
        data = wordpiece_json(default_config().tokenizer, VOCABULARY.parent)
        data["normalizer"] |= given
        reference = Reference.from_str(json.dumps(data))
        ours = Tokenizer(TokenizerSpec(16, 0), compile_tokenizer(data))
        expected = reference.encode("Café naïve zürich").ids
        assert ours("Café naïve zürich").ids.tolist()[: len(expected)] == expected, given


def test_what_frames_a_text_may_be_one_of_several_steps(given):
    """As newer files tell it: bytes first, then a template. Of two that add tokens the library
    makes something that nobody wants."""
    library, _ = given["transformers CLIP"]
    reference = Reference.from_str(library.tokenizer.backend_tokenizer.to_str())
    reference.no_padding()  # which other tests' calls have left there
    frame = processors.TemplateProcessing("# $A !", special_tokens=[("#", 2), ("!", 0)])
    steps = [processors.ByteLevel(trim_offsets=False), frame]
    reference.post_processor = processors.Sequence(steps)
    file = compile_tokenizer(json.loads(reference.to_str()))
    expected = reference.encode("a dog").ids
    assert (expected[0], expected[-1]) == (2, 0)
    assert Tokenizer(TokenizerSpec(16, 0), file)("a dog").ids.tolist()[:4] == expected
    reference.post_processor = processors.Sequence([*steps, frame])
    with pytest.raises(StudentError, match="several that add tokens"):
        compile_tokenizer(json.loads(reference.to_str()))


@pytest.mark.parametrize(
    "changed",
    [{"dropout": 0.1}, {"continuing_subword_prefix": "##"}, {"ignore_merges": True}],
    ids=lambda changed: next(iter(changed)),
)
def test_what_a_phone_does_not_do_with_byte_pairs_is_refused_by_name(given, changed):
    library, _ = given["transformers CLIP"]
    data = json.loads(library.tokenizer.backend_tokenizer.to_str())
    compile_tokenizer(data)
    data["model"] |= changed
    with pytest.raises(StudentError, match=next(iter(changed))):
        compile_tokenizer(data)


@pytest.mark.parametrize("part", ["normalizer", "pre-tokenizer", "post-processor", "model"])
def test_a_part_that_phones_lack_is_refused_by_name(part):
    data = wordpiece_json(default_config().tokenizer, VOCABULARY.parent)
    data |= {
        "normalizer": {"normalizer": {"type": "Nmt"}},
        "pre-tokenizer": {"pre_tokenizer": {"type": "UnicodeScripts"}},
        "post-processor": {"post_processor": {"type": "Mystery"}},
        "model": {"model": {"type": "WordLevel"}},
    }[part]
    name = {"normalizer": "Nmt", "pre-tokenizer": "UnicodeScripts", "model": "WordLevel"}
    with pytest.raises(StudentError, match=f"{part} .*{name.get(part, 'Mystery')}"):
        compile_tokenizer(data)


def test_a_tokenizer_of_another_kind_is_refused_by_name():
    with pytest.raises(StudentError, match=r"class .*Path"):
        convert_tokenizer(Path(), length=77, pool="eos", attends_to_padding=False)


def test_an_expression_that_phones_lack_is_refused_by_name(given):
    library, _ = given["transformers CLIP"]
    backend = library.tokenizer.backend_tokenizer
    before = backend.normalizer
    backend.normalizer = normalizers.Replace(Regex("[0-9]{3}"), "#")
    try:
        with pytest.raises(StudentError, match=r"\[0-9\]\{3\}"):
            convert_tokenizer(library.tokenizer, length=77, pool="eos", attends_to_padding=False)
    finally:
        backend.normalizer = before


def test_a_file_that_is_no_sentencepiece_model_is_an_error_that_names_it(tmp_path):
    for contents in (b"", b"not a model", b"\xff" * 50):
        (tmp_path / "spiece.model").write_bytes(contents)
        with pytest.raises(StudentError, match=r"spiece\.model is not a SentencePiece model"):
            read_sentencepiece(str(tmp_path / "spiece.model"))
