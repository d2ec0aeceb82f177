"""CLIP's byte-pair encoding in Java gives the ids of open_clip's own tokenizer."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import ftfy
import open_clip.tokenizer
import pytest
from probe import variant
from test_engine_parity import AWKWARD
from tiny_bundle import make_tiny_bundle

from mcad_mobile.bench.queries import QUERIES
from mcad_mobile.bundle import FileRecord

LENGTH = 77


@pytest.fixture(scope="module")
def clip_bundle(tmp_path_factory) -> Path:
    """A tiny bundle with the merges that open_clip ships for a tokenizer."""
    folder = tmp_path_factory.mktemp("clip")
    tiny = make_tiny_bundle(folder / "tiny")
    directory = folder / "bundle"
    directory.mkdir()
    packed = Path(open_clip.tokenizer.default_bpe())
    (directory / "merges.txt").write_bytes(gzip.decompress(packed.read_bytes()))
    spec = replace(
        tiny.tokenizer,
        kind="clip_bpe",
        file="merges.txt",
        length=LENGTH,
        specials={"<|startoftext|>": 49406, "<|endoftext|>": 49407},
    )
    record = FileRecord.of(directory, directory / "merges.txt")
    return variant(tiny, directory, tokenizer=spec, tokenizer_file=record)


def test_texts_get_the_ids_of_open_clip(probe, clip_bundle):
    reference = open_clip.tokenizer.SimpleTokenizer(context_length=LENGTH, clean="lower")
    # It takes its specials out of a text, and repairs mis-encoded text (ftfy); a phone does not.
    texts = [*QUERIES, *(t for t in AWKWARD if "<|" not in t and ftfy.fix_text(t) == t)]
    assert len(texts) > len(QUERIES) + 5
    answers = probe.ask("tokens", bundle=clip_bundle, texts=texts)
    for text, answer in zip(texts, answers, strict=True):
        assert answer["ids"] == reference(text)[0].tolist(), text
