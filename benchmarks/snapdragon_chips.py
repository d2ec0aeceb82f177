"""The default student's towers, compiled for every Snapdragon of the table.

    python benchmarks/snapdragon_chips.py    # writes benchmarks/results/snapdragon_chips.json

Compiled only, which takes a second a tower; what a chip of each architecture computes is tested on
the simulator (tests/e2e/test_snapdragon_chips.py). Nothing here ran on a phone.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import TOWERS
from mcad_mobile.errors import ExportError
from mcad_mobile.export.onnx import export_onnx
from mcad_mobile.export.qnn import compile_context
from mcad_mobile.export.workshop import tower_specs
from mcad_mobile.quantize.bias_correction import corrected
from mcad_mobile.quantize.calibrate import load_samples
from mcad_mobile.quantize.htp import quantize_w8a16, w8a16_form
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import Target, all_targets
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "snapdragon_chips.json"
TOOLS = ("torch", "onnx", "onnxruntime", "onnxruntime-qnn")
FORMS = sorted({w8a16_form(chip.htp_arch) for chip in all_targets() if chip.htp_arch})
_SAMPLES = 32


def main() -> None:
    device = device_facts()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = quantized(folder)
        chips = {}
        for target in all_targets():
            if target.family == "snapdragon":
                print(target.id, file=sys.stderr, flush=True)
                chips[target.id] = compiled(models, target, folder)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device,
        "versions": tool_versions(TOOLS),
        "chips": chips,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print("\n".join(verdict(result)))


def quantized(folder: Path) -> dict[str, dict[int, Path]]:
    """The default student's towers, w8a16, as `export` makes them; in both forms."""
    student = load_student()
    calibrate, _ = load_samples(student, None, _SAMPLES)
    modules = {
        "image": corrected(student.image, torch.from_numpy(calibrate.pixels)),
        "text": student.tower("text"),
    }
    models = {}
    for name in TOWERS:
        exported = folder / f"{name}.onnx"
        export_onnx(modules[name], exported, *tower_specs(student, name))
        models[name] = {form: folder / f"{name}_v{form}.onnx" for form in FORMS}
        for form, path in models[name].items():
            quantize_w8a16(exported, path, calibrate.inputs(name), form)
    return models


def compiled(models: dict[str, dict[int, Path]], target: Target, folder: Path) -> dict[str, Any]:
    """What the compiler made of each tower, or why it did not."""
    found: dict[str, Any] = {"chip": target.chip, "htp_arch": target.htp_arch}
    for name, forms in models.items():
        model = forms[w8a16_form(target.htp_arch or 0)]
        out = folder / target.id / f"{name}.onnx"
        out.parent.mkdir(exist_ok=True)
        found[name] = _timed(lambda model=model, out=out: _facts(model, out, target))
    return found


def _facts(model: Path, out: Path, target: Target) -> dict[str, Any]:
    try:
        (binary,), nodes = compile_context(model, out, target)
    except ExportError as error:
        return {"error": str(error)}
    said = re.search(rb"min_arch=(\d+).*?soc_type=(\w+)", binary.read_bytes())
    assert said is not None
    arch, chip = said.groups()
    return {
        "npu_nodes": nodes,
        "bytes": binary.stat().st_size,
        "binary_says": {"min_arch": int(arch), "chip": chip.decode()},
    }


def _timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    wall, processor = time.perf_counter(), time.process_time()
    found = work()
    return {
        **found,
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
    }


def verdict(result: dict[str, Any]) -> list[str]:
    """A sentence, and one for each tower that a chip's compiler did not take."""
    chips = result["chips"].values()
    towers = [(chip["chip"], name, chip[name]) for chip in chips for name in TOWERS]
    made = [tower for _, _, tower in towers if "error" not in tower]
    seconds = [tower["processor_seconds"] for tower in made]
    return [
        f"{len(made)} of {len(towers)} towers of the default student, two for each of {len(chips)}",
        "chips, were compiled with every node on the NPU, not simulated, in "
        f"{min(seconds):.1f} to {max(seconds):.1f} s of",
        "the processor each.",
        *(
            f"- {chip}, {name}: {tower['error']}"
            for chip, name, tower in towers
            if "error" in tower
        ),
    ]


if __name__ == "__main__":
    main()
