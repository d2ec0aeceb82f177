"""What each step of the default student's quantization is worth: cosines with it and without.

    python benchmarks/quantization.py    # writes benchmarks/results/quantization.json

Bundles for a Snapdragon and a Dimensity as they ship, and with one step of the recipe taken out.
Snapdragon's towers run in the HTP simulator, Dimensity's in LiteRT on this CPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ai_edge_quantizer.utils import qsv_utils
from distill_rows import AllEightBits
from msgspec import structs

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.export import workshop
from mcad_mobile.export.pipeline import Order, export
from mcad_mobile.quantize import qdq
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import Target, find_target
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "quantization.json"
TOOLS = ("torch", "onnxruntime", "onnxruntime-qnn", "litert-torch", "ai-edge-quantizer")

SNAPDRAGON, DIMENSITY = find_target("snapdragon"), find_target("dimensity")


def _no_matrices(model: Any) -> Any:
    """Overrides of quantize/qdq.py without those of MatMul weights."""
    kept = _overrides(model)
    return {name: of for name, of in kept.items() if of[0]["quant_type"] != qdq.QuantType.QInt8}


_overrides = qdq._overrides
Way = tuple[str, tuple[Target, ...], AbstractContextManager[Any]]
WAYS: tuple[Way, ...] = (
    ("as it ships", (SNAPDRAGON, DIMENSITY), nullcontext()),
    (
        "without bias correction",
        (SNAPDRAGON, DIMENSITY),
        patch.object(workshop, "corrected", lambda tower, pixels: tower),
    ),
    ("MatMul weights per tensor", (SNAPDRAGON,), patch.object(qdq, "_overrides", _no_matrices)),
    (
        "the quantizer's own ranges",
        (DIMENSITY,),
        patch.object(qsv_utils, "min_max_update", qsv_utils.moving_average_update),
    ),
    ("8-bit activations", (AllEightBits(**structs.asdict(DIMENSITY)),), nullcontext()),
)


def main() -> None:
    student = load_student()
    rows = []
    for way, targets, changed in WAYS:
        print(way, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder, changed:
            orders = [Order(target, Path(folder) / target.family) for target in targets]
            for made in export(student, orders, allow_low_parity=True):
                for name in ("image", "text"):
                    rung = made.bundle.tower(name).rungs[0]
                    row = {"way": way, "tower": name, "runtime": rung.runtime}
                    row |= {"precision": rung.precision, **structs.asdict(rung.parity)}
                    rows.append(row)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
