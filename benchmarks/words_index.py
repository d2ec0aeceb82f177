"""Measure an index of words: bytes, processor time of a search, and the memory that it needs.

    python -m benchmarks.words_index --texts captions.txt

Photos have twelve words of a text in three lines, and names that are no words; the index has few
dimensions. Each size is searched by a process of its own, whose peak memory over that after opening
is told; then by the Java engine on a JVM, whose heap is touched before and not counted: what a
search allocates on it is told apart. The index lies in memory, whose pages a kernel maps sixteen at
a time, as phones' kernels do; then on the disk, of which newer kernels map up to 2 MiB at once.
Writes benchmarks/results/words_index.json.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jvm import FREED_AT_ONCE, run_java
from benchmarks.main_job import provenance, store
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.words.photo_words import Line, PhotoWords
from tests.support.index_embeddings import create, photos_and_queries

RESULT = Path(__file__).parent / "results" / "words_index.json"
SIZES, WORDS = (100_000, 1_000_000), 12
SIGNS = str.maketrans("01234567", "!#$%&+=@")
SEARCHES = 11
# Compilers work before searches go on, and the second, which takes much memory, does not.
ON_JVM = ("-XX:+AlwaysPreTouch", "-XX:TieredStopAtLevel=1", "-Xbatch")
QUERIES = (
    *("man", "dog", "boarding", "frisbe", "train stasion", "red umbrella", "zebra"),
    *("woman bicycle street", "young boy tennis racket", "skateboard"),
)


def made(words: list[str], number: int, chance: random.Random) -> PhotoWords:
    height, x, y = chance.randrange(100, 500), chance.randrange(200, 5000), chance.randrange(7000)
    lines, first = [], WORDS * number % (len(words) - WORDS)
    for at in range(first, first + WORDS, 4):
        text = " ".join(words[at : at + 4])
        right, bottom = min(x + int(len(text) * height * 0.45), 9900), y + height
        lines.append(Line(text, box=(x, y, right, y, right, bottom, x, bottom)))
        x, y = max(0, x + chance.randrange(-30, 30)), min(y + int(height * 1.4), 9400)
        y = min(y + chance.randrange(40), 9400)
    return PhotoWords(tuple(lines), (), True)


def write(photos: int, texts: Path, folder: Path) -> PhotoIndex:
    words, chance, index = texts.read_text("utf-8").split(), random.Random(0), create(folder, 16)
    batch = min(photos, 50_000)
    for first in range(0, photos, batch):
        numbers = range(first, first + batch)
        own = {f"/{n:07o}".translate(SIGNS): made(words, n, chance) for n in numbers}
        with index.writer() as writer:
            writer.add([*own], photos_and_queries(batch, 1, 16)[0])
            writer.set_words(own)
    return index


def kib(name: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0])


def search(texts: Path, folder: Path) -> dict[str, object]:
    small = write(100, texts, folder.with_name("small"))  # loads code
    small.search_words(QUERIES[0], 10)
    index, ms = PhotoIndex.open(folder), dict[str, float]()
    before = kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    for query in QUERIES:
        times = []
        for _ in range(SEARCHES):
            started = time.thread_time()
            index.search_words(query, 10)
            times.append((time.thread_time() - started) * 1e3)
        ms[query] = float(np.median(times))
    size = sum(file.stat().st_size for file in folder.glob("*.mcw"))
    found = {"photos": index.photos, "bytes": size, "processor_ms": ms}
    return {**found, "mean_ms": sum(ms.values()) / len(ms), "mib": (kib("VmHWM") - before) / 1024}


def measure(folder: Path, texts: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.words_index", "--index"]
    command += [f"{folder}/index", "--texts", str(texts)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=600, check=True)
    asked = ["search", f"{folder}/index", *QUERIES]
    java = run_java("WordsBenchmark", asked, folder, *ON_JVM, **FREED_AT_ONCE)
    return {**json.loads(done.stdout), "java": java}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--index", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.index:
        print(json.dumps(search(given.texts, given.index)))
        return
    found = []
    for photos in SIZES:
        with (
            tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
            tempfile.TemporaryDirectory() as disk,
        ):
            write(photos, given.texts, Path(memory) / "index")
            shutil.copytree(f"{memory}/index", f"{disk}/index")
            found.append(measure(Path(memory), given.texts))
            on_disk = measure(Path(disk), given.texts)
            found[-1]["on_disk"] = {"mib": on_disk["mib"], "java_mib": on_disk["java"]["mib"]}
    store({**provenance(tool_versions(("numpy",))), "sizes": found}, RESULT)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
