"""Run the search kernels on emulated Arm processors, for tests and benchmarks: a driver in C, its
inputs, and its instructions, counted by a QEMU plugin."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import TuningLimits
from mcad_mobile.engine.native import LIBRARY
from tests.support.index_oracle import (
    Task,
    candidates,
    places_to_scan,
    quantize,
    read_index,
    rescore,
    rotate,
    split_query,
)

SCAN, RESCORE = 1, 2
HERE = Path(__file__).parent
LEVELS = ("plain C", "NEON", "NEON with dot product")
# A model: clock rate, instructions per cycle in loops of mostly NEON (Arm's optimization guides:
# two 128-bit pipes in an A76, one in an A55), and an assumed cost of reading a cached record.
PHONES = {"Cortex-A76": (2.6e9, 2.0, 1.5e-6), "Cortex-A55": (2.0e9, 1.0, 4e-6)}
Array = npt.NDArray[Any]


def compile_driver(folder: Path) -> Path:
    """Compile kernel_driver.c and the kernels for Arm with Zig into a static program."""
    program, native = folder / "driver", LIBRARY.parent
    sources = [path for path in native.glob("*.c") if path.name != "jni.c"]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static"]
    command += ["-O3", "-std=gnu11", "-ffp-contract=off", f"-I{native}", "-o", program]
    _run([*command, *sources, HERE / "kernel_driver.c"])
    return program


def whole(*numbers: int) -> bytes:
    return np.array(numbers, "<i8").tobytes()


def scan_input(
    columns: Array, query: Array, spans: Sequence[range], wanted: int, allowed: Array | None = None
) -> bytes:
    """Return the arguments of `mcad_scan` in the driver's format."""
    most = min(wanted, sum(map(len, spans)))
    ends = [number for span in spans for number in (span.start, span.stop)]
    head = whole(*columns.shape, len(spans), most, allowed is not None)
    bits = b"" if allowed is None else allowed.tobytes()
    return head + columns.tobytes() + query.tobytes() + whole(*ends) + bits


def rescore_input(
    columns: Array,
    records: Array,
    residual: Array,
    rows: Array,
    distances: Array | None,
    *,
    at_least: int,
    k: int,
    factors: tuple[float, float, float],
) -> bytes:
    """Return a segment for `mcad_rescore` with all its records [N, R] in the driver's format;
    `factors` are the projection step, the step and how much may be missed per result."""
    count = at_least if distances is None else len(rows)
    head = whole(len(residual), len(columns), len(records), count, at_least, k)
    head += whole(distances is not None) + np.array(factors, "<f8").tobytes()
    near = b"" if distances is None else distances.astype("<u2").tobytes()
    parts = [residual.tobytes(), columns.tobytes(), rows.astype("<u4").tobytes(), near]
    return head + b"".join(parts) + records.tobytes()


def write_cases(path: Path, cases: Sequence[tuple[int, bytes]], level: int) -> Path:
    """Write inputs, each with its kind, to run at an instruction level."""
    with path.open("wb") as file:
        for kind, given in cases:
            file.write(whole(kind, level) + given)
        file.write(whole(0))
    return path


def instructions(driver: Path, case: tuple[int, bytes], level: int, folder: Path) -> float:
    """Count the instructions of one run of a case, on a processor that supports every level."""
    plugin = folder / "instructions.so"
    if not plugin.exists():
        _run(["gcc", "-shared", "-fPIC", "-O2", HERE / "instructions.c", "-o", plugin])
    inputs = write_cases(folder / "inputs", [case], level)
    counts = []
    for repeats in (1, 3):
        command = ["qemu-aarch64", "-cpu", "cortex-a76", "-plugin", plugin, driver, inputs]
        printed = _run([*command, folder / "results", repeats])
        counts.append(int(re.findall(r"instructions: (\d+)", printed)[0]))
    return (counts[1] - counts[0]) / 2


def count_arm(directory: Path, query: Array, k: int, work: Path) -> dict[str, Any]:
    """Count the instructions of a real search per scanned and per re-scored photo, by level."""
    segment, rotated = max(read_index(directory), key=lambda s: s.photos), rotate(query)
    everything = np.flatnonzero(segment.is_live[segment.rows])
    words, _ = quantize(segment.bit_weights, rotated)
    prescan = segment.entry["prescan"]
    bits = prescan["bits"] // 64 if prescan else words.shape[1]
    places = everything[places_to_scan(segment, rotated, k, everything)]
    kept, distances, step = candidates(segment, rotated, k, everything)
    scan = scan_input(
        np.ascontiguousarray(segment.columns[:bits, places]),
        np.ascontiguousarray(words[:, :bits]),
        [range(len(places))],
        len(kept),
    )
    cosines = segment.cosines(rotated)[everything[kept]]
    task = Task(cosines, distances, step, segment.photos)
    (is_scored,) = rescore([task], k, TuningLimits())
    scored, scanned = everything[kept][is_scored], len(places)
    residual, projection_step = split_query(rotated, segment.axis)
    records = segment.part("records", "u1").reshape(segment.photos, -1)[scored]
    again = rescore_input(
        np.ascontiguousarray(segment.columns[:, scored]),
        records,
        residual,
        np.arange(len(scored)),
        None,
        at_least=len(scored),
        k=k,
        factors=(projection_step, 0.0, 0.0),
    )
    driver = compile_driver(work)
    per_photo = {
        name: [instructions(driver, case, level, work) / count for level in range(len(LEVELS))]
        for name, case, count in (
            ("scan", (SCAN, scan), scanned),
            ("rescore", (RESCORE, again), len(scored)),
        )
    }
    counts = {name: dict(zip(LEVELS, each, strict=True)) for name, each in per_photo.items()}
    model = {
        phone: {
            level: 1e3
            * model_s(phone, scanned * per_photo["scan"][at], per_photo["rescore"][at], len(scored))
            for at, level in enumerate(LEVELS)
        }
        for phone in PHONES
    }
    return {
        "scanned": scanned,
        "scored": len(scored),
        "words": bits,
        "instructions_per_photo": counts,
        "model_ms": model,
    }


def model_s(phone: str, scan: float, per_record: float, records: int) -> float:
    clock, per_cycle, read_s = PHONES[phone]
    return (scan + records * per_record) / (clock * per_cycle) + records * read_s


def arm_table(arm: dict[str, Any]) -> str:
    counts, model = arm["instructions_per_photo"], arm["model_ms"]
    lines = [
        "| on Arm | instructions a scanned photo | a scored photo | "
        + " | ".join(f"{phone}, model, ms" for phone in model)
        + " |",
        "|---|---|---|" + "---|" * len(model),
    ]
    lines += [
        f"| {level} | {counts['scan'][level]:.1f} | {counts['rescore'][level]:.0f} | "
        + " | ".join(f"{model[phone][level]:.2f}" for phone in model)
        + " |"
        for level in LEVELS
    ]
    return "\n".join(lines)


def _run(command: Sequence[object]) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=600, check=True
    )
    return done.stderr
