"""Compare what a bundle's reader reads with what its float models read, on made pictures of text.

    python -m benchmarks.reading --bundle build/cpu --bundle build/dimensity
    python -m benchmarks.reading --bundle build/snapdragon --lines 120 --scenes 24

Neither was calibrated on these. An NPU's simulator takes some 5 s for a line, and 20 s for a scene.
A CPU's reader also reads a phone's screenshot and a photo without text, in processes of their own,
whose time and memory are told; so does the Java engine the screenshot, on a JVM. Adds each bundle
to benchmarks/results/reading.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.jvm import run_java
from benchmarks.main_job import provenance
from benchmarks.text_reader import measured
from mcad_mobile.bench.samples import page_of_text
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle, TowerName
from mcad_mobile.engine.towers import load_tower
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.export.reader.models import float_model, published_model
from tests.export.reader.reading import compared, read

RESULT = Path(__file__).parent / "results" / "reading.json"
TIMES = 11


def costs(bundle: Path) -> dict[str, dict[str, Any]]:
    """Return what it costs to read a screenshot, and a photo of 12 megapixels without text."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        photo = Image.open(packaged_photos()[0]).resize((4000, 3000), Image.Resampling.BICUBIC)
        pictures = {"screenshot": Image.open(page_of_text(Path(folder))), "photo": photo}
        for name, picture in pictures.items():
            own = Path(folder) / name
            own.mkdir()
            for number in range(TIMES):
                picture.convert("RGB").save(own / f"{number}.jpg", quality=90)
            found[name] = measured("mcad-mobile", bundle, own)
            texts = found[name].pop("texts").values()
            found[name]["lines"] = sum(map(len, texts)) / TIMES
        asked = ["read", bundle, Path(folder) / "screenshot" / "0.jpg"]
        found["java"] = run_java("WordsBenchmark", asked, Path(folder), "-Xmx128m")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=200)
    given = parser.parse_args()
    for directory in given.bundle:
        bundle = Bundle.load(directory)
        result: dict[str, Any] = {**provenance(bundle.tools), "target": bundle.target.id}
        assert bundle.reader is not None
        listed = bundle.path(bundle.reader.characters).read_text("utf-8").split("\n")
        counts: dict[TowerName, int] = {"recognizer": given.lines, "detector": given.scenes}
        for name, count in counts.items():
            spec = bundle.tower(name).rungs[0]
            with tempfile.TemporaryDirectory() as folder:
                exact = Path(folder) / "float.onnx"
                last = bundle.tower(name).rungs[-1]  # ONNX's layout
                inputs, output = last.inputs[0], last.outputs[0]
                float_model(published_model(name), inputs, output, exact, any_size=False)
                wanted = read(OnnxTower(exact), name, count, listed)
            rates = compared(name, wanted, read(load_tower(bundle, spec), name, count, listed))
            result[name] = {"rung": spec.name, "bytes": spec.bytes, "pictures": count, **rates}
        if bundle.target.id == "cpu":
            result["costs"] = costs(directory)
        known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else []
        kept = [old for old in known if old["target"] != result["target"]]
        RESULT.write_text(json.dumps([*kept, result], indent=2) + "\n", "utf-8")
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
