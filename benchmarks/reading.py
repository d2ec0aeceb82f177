"""Compare what a bundle's reader reads with what its float models read, on made pictures of text.

    python -m benchmarks.reading --bundle build/cpu --bundle build/snapdragon --scenes 20

Neither was calibrated on these. An NPU's simulator takes half a minute for a scene. Adds each
bundle to benchmarks/results/reading.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import provenance
from mcad_mobile.engine.bundle import Bundle, TowerName
from mcad_mobile.engine.towers import load_tower
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.export.reader.models import float_model, published_model
from tests.export.reader.reading import compared, read

RESULT = Path(__file__).parent / "results" / "reading.json"
LINES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--scenes", type=int, default=LINES)
    given = parser.parse_args()
    for directory in given.bundle:
        bundle = Bundle.load(directory)
        result: dict[str, Any] = {**provenance(bundle.tools), "target": bundle.target.id}
        assert bundle.reader is not None
        listed = bundle.path(bundle.reader.characters).read_text("utf-8").split("\n")
        counts: dict[TowerName, int] = {"recognizer": LINES, "detector": given.scenes}
        for name, count in counts.items():
            spec = bundle.tower(name).rungs[0]
            with tempfile.TemporaryDirectory() as folder:
                exact = Path(folder) / "float.onnx"
                inputs, output = spec.inputs[0], spec.outputs[0]
                float_model(published_model(name), inputs, output, exact, any_size=False)
                wanted = read(OnnxTower(exact), name, count, listed)
            rates = compared(name, wanted, read(load_tower(bundle, spec), name, count, listed))
            result[name] = {"rung": spec.name, "bytes": spec.bytes, "pictures": count, **rates}
        known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else []
        kept = [old for old in known if old["target"] != result["target"]]
        RESULT.write_text(json.dumps([*kept, result], indent=2) + "\n", "utf-8")
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
