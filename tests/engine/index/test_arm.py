"""The search kernels on Arm give what numpy gives, bit for bit: plain C, NEON and dot product, each
on emulated processors that have it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm import (
    RESCORE,
    SCAN,
    compile_driver,
    rescore_input,
    scan_input,
    whole,
    write_cases,
)
from mcad_mobile.engine.index import TuningLimits
from tests.support.index_oracle import Task, nearest, rescore, scores
from tests.support.variants import first_of

# The level of each: NEON alone, or with dot product.
PROCESSORS = {"cortex-a53": 1, "cortex-a76": 2, "neoverse-n2": 2, "max": 2}
OLDER = {"neoverse-n2": "neoverse-n1"}  # in an emulator before 8.1
UNIT = 2.0**-36


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("CI") != "true":
        pytest.importorskip("ziglang")
    return compile_driver(tmp_path_factory.mktemp("driver"))


def emulator(processor: str) -> list[str]:
    qemu = shutil.which("qemu-aarch64")
    if qemu is None:
        if os.environ.get("CI") == "true":
            pytest.fail("qemu-user is missing; scripts/setup-system.sh tests installs it")
        pytest.skip("qemu-user is not installed")
    command = [qemu, "-cpu", "help"]  # which some versions end with 1
    known = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if processor not in known.stdout.split():
        processor = OLDER[processor]
    return [qemu, "-cpu", processor]


@dataclass(frozen=True)
class Case:
    """What the driver reads, but for the level, and what it should write."""

    kind: int
    given: bytes
    expected: bytes


def scan_case(random: np.random.Generator, words: int, photos: int, wanted: int) -> Case:
    columns = random.integers(0, 2**64, (words, photos), np.uint64)
    query = random.integers(0, 2**64, (3, words), np.uint64)
    if random.random() < 0.3:
        query[1:] |= np.uint64(2**64 - 1) * random.integers(0, 2, (2, words), np.uint64)
    if random.random() < 0.3:
        columns[:, ::3] = query[0][:, None]  # at distance 0, and, inverted, as far as it goes
        columns[:, 1::3] = ~query[0][:, None]
    cuts = np.unique(random.integers(0, photos + 1, 6))
    spans = [range(a, b) for a, b in zip(cuts[:-1:2], cuts[1::2], strict=False)] or [range(photos)]
    if random.random() < 0.5:
        spans = [range(photos)]
    allowed = None
    if random.random() < 0.5:
        bits = random.random(-(-photos // 64) * 64) < random.choice([0.02, 0.5])
        allowed = np.packbits(bits, bitorder="little")
    among = np.concatenate([np.array(span) for span in spans])
    if allowed is not None:
        among = among[np.unpackbits(allowed, bitorder="little")[among] == 1]
    rows, distances = nearest(columns[:, among], query, wanted)
    rows = among[rows]
    expected = whole(len(rows)) + rows.astype("<u4").tobytes() + distances.tobytes()
    return Case(SCAN, scan_input(columns, query, spans, wanted, allowed), expected)


def residual_of(random: np.random.Generator, dim: int, size: float) -> np.ndarray:
    """Whole numbers of 2^-36, up to 2^36 `size`; some are the outermost that digits hold."""
    whole = np.rint(random.uniform(-1, 1, dim) * size * 2.0**36)
    edges = np.array([0, 1, -1, 127, 128, -128, -129, 4095, 4096, -4096, -4097, 2**36, -(2**36)])
    chosen = random.random(dim) < 0.1
    whole[chosen] = np.clip(
        edges[random.integers(0, len(edges), chosen.sum())], -size * 2**36, size * 2**36
    )
    return np.rint(whole) * UNIT


def rescore_case(
    random: np.random.Generator,
    dim: int,
    words: int,
    size: float,
    *,
    near: bool,
    shift: float = 0.0,
) -> Case:
    photos = int(random.integers(1, 900))
    count = int(random.integers(1, photos + 1))
    residual = residual_of(random, dim, size) + shift
    columns = random.integers(0, 2**64, (words, photos), np.uint64)
    rows = np.sort(random.choice(photos, count, replace=False)).astype(np.uint32)
    record = dim + dim // 8 - 8 * words + 4
    records = random.integers(0, 256, (photos, record), np.uint8)
    if random.random() < 0.3:
        records[:, : dim // 2] = random.choice([0, 255])
    distances = random.integers(0, 3 * 64 * max(words, 1), count).astype(np.uint16)
    least = int(random.integers(1, count + 1)) if near else count
    k = int(random.integers(1, 20))
    # Fractions would vanish beside a projection.
    projection, step = 0.0 if shift else random.normal() * 1e-5, 0.0005
    limits = TuningLimits(
        at_least=least, per_result=1, part=2**63, missed=0.05, missed_of_many=0.05
    )
    signs = np.ascontiguousarray(columns.T).view(np.uint8).reshape(photos, -1)
    everything = np.concatenate([records[:, :dim], signs, records[:, dim:]], axis=1)
    cosines = scores(everything[rows], residual, projection)
    task = Task(cosines, distances if near else None, step, photos)
    cosines[~rescore([task], k, limits)[0]] = np.nan
    given = rescore_input(
        columns,
        records,
        residual,
        rows,
        distances if near else None,
        at_least=least,
        k=k,
        factors=(projection, step, 0.05),
    )
    return Case(RESCORE, given, whole(0) + cosines.tobytes())


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    random = np.random.default_rng(45)
    made = []
    for words in (1, 2, 3, 4, 7, 8, 9, 16, 64):
        for photos in (1, 15, 16, 17, 300, 2048, 5001):
            made.append(scan_case(random, words, photos, int(random.integers(1, photos + 1))))
    made += [scan_case(random, 4, 30_000, wanted) for wanted in (1, 10, 500, 29_000)]
    for dim in (8, 16, 24, 40, 64, 128, 200, 256, 512, 520, 1024, 4096):
        for words in {0, dim // 128, dim // 64}:
            # Sums of doubles stay exact up to 2^16 for the sum of sizes times 511.
            size = min(1.0, 2**16 / 511 / dim)
            made.append(rescore_case(random, dim, words, size, near=False))
            made.append(rescore_case(random, dim, words, size, near=True))
    made.append(rescore_case(random, 8, 0, 8.0, near=False))  # of more than the digits hold
    made.append(rescore_case(random, 8, 0, 0.0, near=False, shift=UNIT / 4))  # and of fractions
    return made


@pytest.mark.parametrize("processor", first_of(PROCESSORS, run=2))
def test_every_level_gives_what_numpy_gives(
    driver: Path, cases: list[Case], tmp_path: Path, processor: str
) -> None:
    emulated = emulator(processor)
    level = PROCESSORS[processor]
    inputs, results = tmp_path / "inputs", tmp_path / "results"
    for tried in range(level + 1):
        write_cases(inputs, [(case.kind, case.given) for case in cases], tried)
        command = [*emulated, str(driver), str(inputs), str(results), "1"]
        subprocess.run(command, check=True, timeout=600)
        written = results.read_bytes()
        assert written[:8] == whole(level)
        at = 8
        for number, case in enumerate(cases):
            end = at + len(case.expected)
            assert written[at:end] == case.expected, f"case {number} by level {tried}"
            at = end
        assert at == len(written)
