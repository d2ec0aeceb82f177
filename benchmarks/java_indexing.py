"""Where time goes as the app's engine indexes, on a JVM, stage by stage.

    python -m benchmarks.java_indexing --bundle build/cpu

An IndexRun over a folder of the photos of indexing.py, JPEGs alone: javax.imageio reads no HEIC. It
decodes at full size, too, where Android's decoder reduces as it decodes. "resize" has the checksum
in it, "write" the listing. Adds "java" to benchmarks/results/indexing.json. A server's JVM, not a
phone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.indexing import KINDS, RESULT, photos_of
from mcad_mobile.android.aar import libraries
from mcad_mobile.android.downloads import ONNXRUNTIME_JVM, fetch
from mcad_mobile.android.sources import main_sources
from mcad_mobile.android.toolchain import JAVA, compile_java, executable
from mcad_mobile.bench.measure import device_facts

STAGES = ("read", "decode", "resize", "tower", "write")
PHOTOS = 40  # of each kind, at most
HEAP_MIB = 512
THREADS = 1  # the app takes half of a phone's cores, for the tower alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--photos", type=Path, default=Path("build/indexing"), help="kept there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        jars = libraries(work, ["arm64-v8a"]).jars
        classes = compile_java(map(main_sources, ("engine", "desktop")), jars, work / "classes")
        command = [executable(JAVA), f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC"]
        command += ["-cp", f"{classes}:{fetch(ONNXRUNTIME_JVM)}", "mcad.engine.gallery.IndexStages"]
        rows = [
            measured(command, given.bundle, work, photos_of(given.photos, kind))
            for kind in KINDS
            if "JPEG" in kind
        ]
    java = {"date": time.strftime("%Y-%m-%d"), "device": device_facts(), "heap_mib": HEAP_MIB}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["java"] = {**java, "threads": THREADS, "kinds": rows}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def measured(command: list[str], bundle: Path, work: Path, folder: Path) -> dict[str, Any]:
    some = work / folder.name  # Numbers.java keeps 200 durations
    some.mkdir()
    for photo in sorted(folder.iterdir())[:PHOTOS]:
        (some / photo.name).write_bytes(photo.read_bytes())
    arguments = [str(bundle.resolve()), str(some), str(work / f"index {folder.name}"), str(THREADS)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=600, check=True
    )
    told = json.loads(done.stdout)
    photos = told["photos"]
    return {
        "kind": folder.name,
        "photos": photos,
        "photos_per_s": round(1e3 * photos / told["total"], 2),
        "opened_a_photo": told["opened"] / photos,
        "stages_ms": {stage: round(told[stage] / photos, 2) for stage in STAGES},
    }


if __name__ == "__main__":
    main()
