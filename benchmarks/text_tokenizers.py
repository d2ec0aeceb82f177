"""What a tokenizer costs a search: memory, ms to load, ms a query.

    python -m benchmarks.text_tokenizers

Ours (mcad_mobile/text, mapped) beside Hugging Face's `tokenizers` on the same tokenizer.json, each
in a process of its own that has loaded numpy. BERT's and CLIP's vocabularies are the published
ones; Gemma's and SigLIP's come in no package, so vocabularies of their sizes are made up (random
letters), which tells memory and loading, and nothing of the ms of a query: most of its letters
stay alone. Writes results/tokenizers.json.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.index import machine
from mcad_mobile.bench.measure import memory
from mcad_mobile.bench.queries import QUERIES
from mcad_mobile.versions import tool_versions

RESULTS = Path(__file__).parent / "results/tokenizers.json"
REPEATS = 5
LENGTH = 64


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
        return
    from mcad_mobile.text.compile import compile_tokenizer

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in vocabularies().items():
            text, table = Path(folder) / "tokenizer.json", Path(folder) / "tokenizer.bin"
            text.write_text(json.dumps(data), "utf-8")
            table.write_bytes(compile_tokenizer(data))
            ways = {"ours": table, "tokenizers": text, "tokenizers, trimmed": text}
            if name == "BERT":
                ways["tokenizers, from vocab.txt"] = _vocabulary()
            found[name] = {
                "tokens": _tokens(data),
                **{way: _median(way, path) for way, path in ways.items()},
            }
            print(name, json.dumps(found[name], indent=1))
    document = {
        "schema": "mcad-tokenizers/1",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": tool_versions(("python", "numpy", "tokenizers")),
        "setup": {"processes": REPEATS, "queries": len(QUERIES), "figures": "median"},
        "tokenizers": found,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _median(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.text_tokenizers", way, str(path)]
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        runs.append(json.loads(done.stdout))
    median = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    return {**median, "file_bytes": path.stat().st_size}


def measure(way: str, path: Path) -> dict[str, float]:
    """PSS that a tokenizer adds (MiB), ms to import and load it, and p50 of a query (ms)."""
    import ctypes

    import numpy  # noqa: F401

    before, started = memory().pss, time.perf_counter()
    encode = _loaded(way, path)
    loaded = time.perf_counter()
    encode(QUERIES[0])
    if way == "tokenizers, trimmed":
        ctypes.CDLL(None).malloc_trim(0)
    after = memory().pss
    times = []
    for query in QUERIES:
        start = time.perf_counter()
        encode(query)
        times.append((time.perf_counter() - start) * 1e3)
    return {
        "pss_mib": after - before,
        "load_ms": (loaded - started) * 1e3,
        "query_ms": statistics.median(times),
        "pss_mib_after_queries": memory().pss - before,
    }


def _loaded(way: str, path: Path) -> Any:
    if way == "ours":
        from mcad_mobile.tokenize import Tokenizer, TokenizerSpec

        return Tokenizer(TokenizerSpec(LENGTH, 0), path)
    from tokenizers import Tokenizer as Library

    if path.suffix == ".json":
        return Library.from_file(str(path)).encode
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    library = Library(WordPiece.from_file(str(path), unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    return library.encode


def vocabularies() -> dict[str, dict[str, Any]]:
    return {
        "BERT": _bert(),
        "CLIP": _clip(),
        "as large as SigLIP's": _unigram(32_000),
        "as large as Gemma's": _byte_fallback(256_000),
    }


def _vocabulary() -> Path:
    return Path(__file__).parents[1] / "models" / "mcad-s" / "vocab.txt"


def _bert() -> dict[str, Any]:
    from mcad_mobile.students.mcad import default_config
    from mcad_mobile.students.wordpiece import wordpiece_json

    return wordpiece_json(default_config().tokenizer, _vocabulary().parent)


def _clip() -> dict[str, Any]:
    import open_clip.tokenizer
    from transformers import CLIPTokenizer

    ours = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(token, token): number for token, number in ours.encoder.items()}
    theirs = CLIPTokenizer(vocab=vocab, merges=list(ours.bpe_ranks))
    return json.loads(theirs.backend_tokenizer.to_str())  # type: ignore[no-any-return]


def _unigram(size: int) -> dict[str, Any]:
    drawn = random.Random(0)
    pieces: dict[str, float] = {"<unk>": 0.0}
    for letter in "▁abcdefghijklmnopqrstuvwxyz":
        pieces[letter] = -8.0
    while len(pieces) < size:
        word = "".join(drawn.choices("etaoinshrdlucmfwypvbgk", k=drawn.randint(2, 9)))
        pieces.setdefault(drawn.choice(("", "▁")) + word, -drawn.uniform(8, 14))
    metaspace = {"replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        **_empty(),
        "pre_tokenizer": {"type": "Metaspace", **metaspace},
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": [list(item) for item in pieces.items()],
            "byte_fallback": False,
        },
    }


def _byte_fallback(size: int) -> dict[str, Any]:
    drawn = random.Random(0)
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {name: number for number, name in enumerate(names)}
    letters = list("▁etaoinshrdlucmfwypvbgkjqxz") + [chr(code) for code in range(0x4E00, 0x6E00)]
    words, merges = list(letters), []
    vocab |= {letter: len(vocab) + number for number, letter in enumerate(letters)}
    while len(vocab) < size:
        left, right = drawn.choice(words), drawn.choice(letters[:27])
        if len(left) < 9 and left + right not in vocab:
            vocab[left + right] = len(vocab)
            merges.append([left, right])
            words.append(left + right)
    return {
        **_empty(),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": merges,
        },
    }


def _empty() -> dict[str, Any]:
    names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", **dict.fromkeys(names), "added_tokens": []}


def _tokens(data: dict[str, Any]) -> int:
    return len(data["model"]["vocab"])


if __name__ == "__main__":
    main()
