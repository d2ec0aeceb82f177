"""Mutation sweep: python mutations.py GOLDEN WORK SEED ROUNDS

Changes bytes of an index, updates the checksums of header and manifest so that they do not catch
it, and calls all that a reader can. Only PhotoIndexError may be raised. Prints how many mutants
could be opened, and how many uses of them succeeded.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.errors import PhotoIndexError

STRETCH = 64

ODD_VALUES = [None, -1, 2**63, 2**80, "x", [], {}, 1.5, True, 8]


def mutated(good: bytes) -> bytes:
    raw = bytearray(good)
    parts = struct.unpack_from("<I", raw, 12)[0]
    for _ in range(random.choice([0, 1, 1, 2, 8])):
        part = 40 + 24 * random.randrange(parts)
        at = random.choice(
            [
                random.randrange(8, 40 + 24 * parts),
                random.randrange(len(raw)),
                random.randrange(len(raw) - 2000, len(raw)),
                struct.unpack_from("<Q", good, part)[0] + random.randrange(64),
            ]
        )
        if at < len(raw):
            flipped = raw[at] ^ 1 << random.randrange(8)
            raw[at] = random.choice([0, 255, flipped, random.randrange(256)])
    if random.random() < 0.1:
        del raw[random.randrange(len(raw)) :]
    if len(raw) >= 4096:
        for part in range(4):  # those that are compared with their checksums on opening
            offset, length = struct.unpack_from("<QQ", raw, 40 + 24 * part)
            crc = zlib.crc32(raw[offset : offset + length])
            struct.pack_into("<I", raw, 40 + 24 * part + 16, crc)
        struct.pack_into("<I", raw, 4092, zlib.crc32(raw[:4092]))
    return bytes(raw)


def mutant(manifest: dict[str, Any], good: dict[str, bytes], work: Path) -> None:
    """Write a mutant of the index to `work`."""
    document = json.loads(json.dumps(manifest))
    for entry in document["segments"]:
        file, raw = entry["file"], mutated(good[entry["file"]])
        (work / file).write_bytes(raw)
        entry["header_crc32"] = zlib.crc32(raw[:4092])
        # Twice as many as are asked for: a search of the golden index scans it.
        entry["candidates"] = {"factor": 0.0, "exponent": 0.0, "growth": 0.0}
        if random.random() < 0.1:
            entry["deleted"] = sorted(random.sample(range(400), random.randrange(9)))
        elif random.random() < 0.2:
            start = STRETCH * random.randrange(4)
            entry["deleted"] = [*range(start, start + STRETCH)]
        if random.random() < 0.05:
            entry[random.choice(list(entry))] = random.choice(ODD_VALUES)
    if random.random() < 0.1:
        document[random.choice(list(document))] = random.choice(ODD_VALUES)
    document["crc32"] = "0" * 8
    blank = json.dumps({"crc32": document.pop("crc32"), **document}).encode()
    crc = f"{zlib.crc32(blank):08x}".encode()
    (work / "manifest.json").write_bytes(blank[:11] + crc + blank[19:])


def main() -> None:
    golden, work = Path(sys.argv[1]), Path(sys.argv[2])
    random.seed(int(sys.argv[3]))
    warnings.simplefilter("ignore")  # overflowing numbers are no crash
    good = {file.name: file.read_bytes() for file in golden.glob("*.mcs")}
    manifest = json.loads((golden / "manifest.json").read_text())
    query = np.eye(1, manifest["dim"], dtype=np.float32)[0]
    work.mkdir()
    opened = used = 0
    camera = RowFilter(("DCIM/Camera",), after=28_050_000, before=28_250_000)
    some = [f"DCIM/Camera/{number:06d}.jpg" for number in range(5, 40, 3)]
    for _ in range(int(sys.argv[4])):
        mutant(manifest, good, work)
        try:
            index = PhotoIndex.open(work)
        except PhotoIndexError:
            continue
        opened += 1
        for use in (
            lambda index=index: index.search(query, 5),
            lambda index=index: index.search(query, 500, exact=True),
            index.paths,
            index.dates,
            index.verify,
            lambda index=index: index.near_duplicates(0.9),
            lambda index=index: index.search(query, 5, rows=camera),
            lambda index=index: index.count(camera),
            lambda index=index: index.embeddings(some),
            lambda index=index: index.cosines(query, some),
            lambda index=index: index.count_files(),
            lambda index=index: [*index.membership().missing("DCIM/")],
        ):
            try:
                use()
                used += 1
            except PhotoIndexError:
                pass
    print(opened, used)


if __name__ == "__main__":
    main()
