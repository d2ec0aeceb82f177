"""Instructions of an arm64 processor for one photo, by each rung of the image tower.

    python benchmarks/arm64_instructions.py     # writes benchmarks/results/arm64_instructions.json

An emulator executes them and logs each block of the runtime's library. A phone's time is something
else: instructions wait for memory and for each other, and run several at once. Needs what
scripts/setup-root.sh arm64 makes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from mcad_mobile.bench.devices.emulator import EmulatorDevice
from mcad_mobile.bundle import Bundle
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "arm64_instructions.json"
# Without dot product, with it, with products of 8-bit matrices too.
PROCESSORS = ("cortex-a53", "cortex-a76", "neoverse-n2")
TOOLS = ("onnxruntime", "ai-edge-litert")
_PACKAGES = {"onnx": "onnxruntime", "litert": "ai_edge_litert"}
_TRIES = 8
# Between two looks for a file of this name, which the log shows, one photo is embedded.
_MARK = b"one photo"
_ONE_PHOTO = """
import os, sys
from mcad_mobile.bundle import Bundle
from mcad_mobile.runtimes.agreement import golden_inputs
from mcad_mobile.runtimes.load import load_rung

bundle = Bundle.load(sys.argv[1])
rung = bundle.image.rungs[int(sys.argv[2])]
tower = load_rung(bundle, rung)
inputs = {key: value[:1] for key, value in golden_inputs(bundle, "image").items()}
for _ in range(2):
    tower(inputs)
os.path.exists("one photo")
tower(inputs)
os.path.exists("one photo")
print(open("/proc/self/maps").read())
"""


def main() -> None:
    from mcad_mobile.export.pipeline import export_bundle

    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_bundle("cpu-litert", str(Path(folder) / "bundle"))
        rows = [
            {
                "processor": processor,
                "runtime": rung.runtime,
                "precision": rung.precision,
                "instructions": instructions(bundle, number, processor),
            }
            for processor in PROCESSORS
            for number, rung in enumerate(bundle.image.rungs)
            if rung.precision != "fp32"  # the emulator computes floats in software, for an hour
        ]
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "emulator": _version(),
        "versions": tool_versions(TOOLS),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """A line a processor, in millions."""
    lines = [
        "| processor | ONNX int8, millions | LiteRT int8, millions | ratio |",
        "|---|---:|---:|---:|",
    ]
    for processor in dict.fromkeys(row["processor"] for row in result["rows"]):
        by = {
            row["runtime"]: row["instructions"]
            for row in result["rows"]
            if row["processor"] == processor
        }
        share = by["litert"] / by["onnx"]
        lines.append(
            f"| {processor} | {by['onnx'] / 1e6:.0f} | {by['litert'] / 1e6:.0f} | {share:.2f}x |"
        )
    return "\n".join(lines)


def instructions(bundle: Bundle, number: int, processor: str) -> int:
    """Of one photo through a rung of the image tower, after two others."""
    given = ("-c", _ONE_PHOTO, str(bundle.directory.resolve()), str(number))
    qemu, *others = EmulatorDevice(processor=processor).command(*given)
    package = _PACKAGES[bundle.image.rungs[number].runtime]
    # All that Python executes as it starts would take an hour to log. What a run logs is where its
    # libraries lay in the one before: mostly, they lie there again.
    libraries = ["0x0..0x0"]
    for _ in range(_TRIES):
        counted, out = _logged(qemu, libraries, others)
        found = _libraries(out, package)
        if found == libraries:
            return counted
        libraries = found
    raise SystemExit(f"{package} lies elsewhere each time: run this again")


def _logged(qemu: str, libraries: list[str], others: list[str]) -> tuple[int, str]:
    """Instructions of one photo in these parts of the memory, and what was printed."""
    reading, writing = os.pipe()
    what = ["-d", "exec,nochain,in_asm,strace", "-dfilter", ",".join(libraries)]
    fixed = ["setarch", "--addr-no-randomize", qemu]
    process = subprocess.Popen(
        [*fixed, *what, "-D", f"/proc/self/fd/{writing}", *others],
        pass_fds=[writing],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as log:
        counted = count(log)
    out, _ = process.communicate(timeout=60)
    if process.returncode:
        raise SystemExit(f"{others} exits with {process.returncode}")
    return counted, out


def _libraries(maps: str, package: str) -> list[str]:
    """Where the code of a package lies, as qemu takes it: "start..end"."""
    lines = [line.split() for line in maps.splitlines() if f"/{package}/" in line]
    ends = [line[0].split("-") for line in lines if line[1].startswith("r-x")]
    return [f"0x{start}..0x{end}" for start, end in ends]


def count(log: Any) -> int:
    """Instructions executed between two marks in qemu's log of blocks."""
    sizes: dict[bytes, int] = {}
    start, size, counting, total = b"", 0, False, 0
    for line in log:
        if line.startswith(b"Trace"):
            if counting:
                total += sizes[_address(line)]
        elif line.startswith(b"0x"):
            start = start or line[2 : line.index(b":")].lstrip(b"0")
            size += 1
            sizes[start] = size
        elif line.startswith(b"IN:"):
            start, size = b"", 0
        elif _MARK in line:
            counting = not counting
    return total


def _address(line: bytes) -> bytes:
    """Of "Trace 0: 0x7f [00000000/00000055/00000000/ff000000]": the second number in brackets."""
    return line[line.index(b"[") :].split(b"/", 2)[1].lstrip(b"0")


def _version() -> str:
    told = subprocess.check_output(["qemu-aarch64", "--version"], text=True, timeout=60)
    return told.splitlines()[0]


if __name__ == "__main__":
    main()
