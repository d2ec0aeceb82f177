"""Fuzzing of the index in C, under AddressSanitizer and UndefinedBehaviorSanitizer: files of each
format, and sequences of calls beside a model.

    python -m tests.fuzz.core --seconds 3600 --out build/fuzz segment words

runs libFuzzer on these targets, or all, at once, each from the inputs that OUT has of earlier runs,
and keeps there those that end in a crash. OUT/runs.json counts what was run:
`FUZZ_RUNS=build/fuzz python -m benchmarks.fuzz` stores it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN = HERE.parent / "golden" / "index"
NATIVE = ROOT / "mcad_mobile" / "engine" / "native"
TARGETS = {"segment": 100_000, "words": 10_000, "places": 10_000, "calls": 300, "kernels": 10_000}
_CONTROL, _PARTS = 100, 11
_MEMORY = "-fsanitize=address,undefined,float-cast-overflow"
_CODES = re.findall(r"^    (MCAD_\w+),", (NATIVE / "mcad_index.h").read_text("utf-8"), re.MULTILINE)


def clang() -> str | None:
    """Return the newest clang that Debian installs, by its plain name or with its version."""
    return next(
        filter(None, map(shutil.which, ("clang", "clang-19", "clang-18", "clang-14"))), None
    )


def build(program: Path, compiler: str, *options: str, fails: bool = True) -> Path:
    """Compile the targets with the core; `fails`: with an allocator that can fail."""
    sources = [*HERE.glob("*.c"), *(c for c in NATIVE.glob("*.c") if c.name != "jni.c")]
    command = [compiler, "-std=gnu11", "-ffp-contract=off", f"-I{NATIVE}", *options]
    command += [f"-D{name}=fuzz_{name}" for name in ("malloc", "calloc", "realloc") if fails]
    command += ["-fno-sanitize-recover=all", *map(str, sorted(sources)), "-lm", "-pthread"]
    _run([*command, "-o", str(program)])
    return program


def build_by_chance(folder: Path, sanitizer: str = _MEMORY) -> Path:
    """Compile a program that changes its inputs by chance, by gcc: libFuzzer is clang's."""
    options = ("-Og", "-g1", "-DBY_CHANCE", sanitizer)
    return build(folder / "chance", "gcc", *options, fails=sanitizer == _MEMORY)


def run_by_chance(program: Path, target: str, runs: int) -> dict[str, int]:
    """Run inputs, those of the corpus first; return their number by outcome. AssertionError: one
    ended the run."""
    folder = program.parent
    if not (folder / "corpus").exists():
        make_corpus(program, folder / "corpus")
    counts, inputs = folder / "counts", sorted((folder / "corpus" / target).iterdir())
    known = {"FUZZ_TARGET": target, "FUZZ_COUNTS": str(counts)}
    _run([str(program), str(runs), *map(str, inputs)], **known)
    found = [map(int, line.split()) for line in counts.read_text().splitlines()]
    is_code = target in ("segment", "words")
    return {_CODES[code] if is_code else str(code): count for code, count in found}


def make_corpus(program: Path, folder: Path) -> None:
    """Write inputs to begin with: files that the core wrote, those in tests/golden, and chance."""
    chance = random.Random(1)
    for name in (*TARGETS, "threads", "files"):
        (folder / name).mkdir(parents=True)
    files = folder / "files"
    _run([str(program)], FUZZ_SEEDS=str(files))
    for i, file in enumerate(sorted([*files.glob("*.mcs"), *GOLDEN.glob("*.mcs")])):
        raw = file.read_bytes()
        for flags in (0, 1, 2, 5, 8, 17):
            start = bytes([flags]) + chance.randbytes(_CONTROL - 1)
            data = raw if flags & 1 else _parts_of(raw)
            (folder / "segment" / f"{i}-{flags}").write_bytes(start + data)
    for i in range(40):
        words = (files / "8.words").read_bytes()
        (folder / "kernels" / f"{i}").write_bytes(bytes([i]) + chance.randbytes(6000))
        (folder / "places" / f"{i}").write_bytes(chance.randbytes(300 + 20 * i))
        (folder / "calls" / f"{i}").write_bytes(chance.randbytes(20 + 7 * i))
        if (flags := i % 10) in (0, 1, 2, 8):
            start = bytes([flags]) + chance.randbytes(_CONTROL - 1)
            (folder / "words" / f"{i}").write_bytes(start + words)
    (folder / "threads" / "0").write_bytes(b"")


def _parts_of(raw: bytes) -> bytes:
    """Return the parts of a segment behind its numbers, as formats.c lays them out again."""
    dim, _, photos, axis, bits, cells = struct.unpack_from("<IIQQII", raw, 8)
    spans = [struct.unpack_from("<QQ", raw, 40 + 24 * part) for part in range(_PARTS)]
    head = struct.pack("<5H", dim // 8 - 1, bits // 64, cells, photos - 1, axis)
    return head + b"".join(raw[start : start + size] for start, size in spans)


def run_guided(out: Path, seconds: int, targets: list[str]) -> dict[str, Any]:
    """Run targets at once by libFuzzer; return what was run of each, and with what."""
    compiler = clang() or "clang"
    out.mkdir(parents=True, exist_ok=True)
    program = build(out / "fuzz", compiler, "-O1", "-g", _MEMORY, "-fsanitize=fuzzer")
    if not (out / "corpus").exists():
        make_corpus(program, out / "corpus")
    started, running = time.monotonic(), {}
    for target in targets:
        folder = out / target
        (folder / "found").mkdir(parents=True, exist_ok=True)
        # A run that stands still meanwhile, as while others measure, takes no longer for it.
        command = [str(program.absolute()), f"-max_total_time={seconds}", "-timeout=1200"]
        command += [f"-max_len={TARGETS[target]}", "-len_control=0", "-rss_limit_mb=3000"]
        command += ["found", str((out / "corpus" / target).absolute())]
        with (folder / "log").open("w") as log:
            known = {**os.environ, "FUZZ_TARGET": target}
            running[target] = subprocess.Popen(command, cwd=folder, env=known, stderr=log)
    counts: dict[str, Any] = {}
    for target, process in running.items():
        process.wait()
        counts[target] = _counts(out / target, round(time.monotonic() - started))
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    return {"compiler": version.stdout.split("\n")[0], "machine": platform.machine(), **counts}


def _counts(folder: Path, seconds: int) -> dict[str, int]:
    """Return what a run's log says: inputs, and the edges and features of the code they reached."""
    steps = re.findall(r"^#(\d+)\s.*? cov: (\d+) ft: (\d+)", (folder / "log").read_text(), re.M)
    inputs, edges, features = map(int, steps[-1] if steps else (0, 0, 0))
    crashes = sum(len([*folder.glob(f"{kind}-*")]) for kind in ("crash", "leak", "oom", "timeout"))
    found = {"executions": inputs, "seconds": seconds, "edges": edges, "features": features}
    return {**found, "crashes": crashes}


def measure(work: Path) -> dict[str, Any]:
    """Return the runs that `FUZZ_RUNS` names a folder of, or else make runs of a minute each."""
    if folder := os.environ.get("FUZZ_RUNS"):
        found: dict[str, Any] = json.loads((Path(folder) / "runs.json").read_text())
        return found
    return run_guided(work, 60, [*TARGETS])


def _run(command: list[str], **more: str) -> None:
    env = {**os.environ, **more}
    done = subprocess.run(command, env=env, check=False, capture_output=True, timeout=1800)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []])
    given = parser.parse_args()
    result = run_guided(given.out, given.seconds, given.targets or [*TARGETS])
    runs = given.out / "runs.json"
    before = json.loads(runs.read_text()) if runs.exists() else {}
    runs.write_text(json.dumps({**before, **result}, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(any(isinstance(of, dict) and of["crashes"] for of in result.values()))


if __name__ == "__main__":
    main()
