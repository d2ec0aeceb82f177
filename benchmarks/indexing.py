"""Compare the rate of `index` with its parts alone and with other systems on the same tower.

    python -m benchmarks.indexing --bundle build/cpu --rclip PYTHON --clip-retrieval PYTHON
    python -m benchmarks.indexing --bundle build/cpu --memory      # 1,000 to 100,000 photos

Photos come from packages, scaled to 12 megapixels (JPEG quality 90; HEIC 50) with a camera's grain,
and to 640 x 480 (JPEG 90); all files differ, so that none is skipped as a copy. PYTHON is the
interpreter of an environment with rclip, and of one with clip-retrieval and this package. Systems
take turns, each in its own process; figures are medians over rounds. Processor time covers all
threads and processes: other load affects it less than wall time. Folders are large and bytecode is
cached, so that one-time costs weigh no more than in a real gallery.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from benchmarks.main_job import commit, processor_of
from mcad_mobile.base.machine import allowed_cores, process_memory
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.devices.host_facts import device_facts
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle

RESULT = Path(__file__).parent / "results" / "indexing.json"
SYSTEM = Path(__file__).with_name("indexing_system.py")
TOOLS = ("pillow", "pillow-heif", "onnxruntime", "numpy", "torch", "torchvision")
# Kind: suffix, pixels, quality, photos.
KINDS = {
    "12-megapixel JPEG": (".jpg", (4000, 3000), 90, 240),
    "12-megapixel HEIC": (".heic", (4000, 3000), 50, 48),
    "640-pixel JPEG": (".jpg", (640, 480), 90, 1280),
}
ROUNDS = 3
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
STAGES = ("read", "stamp", "decode", "resize", "tower", "write")
MEMORY_PHOTOS = (1_000, 10_000, 100_000)
SOURCES = 8
GRAIN = 12  # makes a 12-megapixel JPEG three to four MB
LINKS = 10_000  # per file: file systems allow about 65,000
LONGEST_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rclip", type=Path, metavar="PYTHON")
    parser.add_argument("--clip-retrieval", type=Path, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--photos", type=Path, default=Path("build/indexing"), help="kept there")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="not all kinds")
    parser.add_argument("--memory", action="store_true", help="memory alone; the rest is kept")
    parser.add_argument("--grow", type=Path, help="index this folder, and tell memory")
    given = parser.parse_args()
    if given.grow:
        print(json.dumps(grow(given.bundle, given.grow)))
        return
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    facts = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "device": device_facts()}
    with tempfile.TemporaryDirectory() as scratch:
        if given.memory:
            rows = [grown(given.bundle, Path(scratch), photos) for photos in MEMORY_PHOTOS]
            result["memory"] = {**facts, "rows": rows}
        else:
            pythons = {"rclip": given.rclip, "clip-retrieval": given.clip_retrieval}
            rows = {
                (row["kind"], processor_of(row["device"])): row for row in result.get("kinds", [])
            }
            here = processor_of(facts["device"])
            folders = {kind: photos_of(given.photos, kind) for kind in given.kind or KINDS}
            for kind, folder in folders.items():
                rows[kind, here] = facts | rates(
                    folder, given.bundle, pythons, given.rounds, Path(scratch)
                )
            order = list(KINDS)
            result["kinds"] = [rows[key] for key in sorted(rows, key=lambda k: order.index(k[0]))]
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def rates(
    folder: Path, bundle: Path, pythons: dict[str, Path | None], rounds: int, scratch: Path
) -> dict[str, Any]:
    onnx = scratch / "float.onnx"
    if not onnx.exists():
        export_float(onnx)
    given = {name: python for name, python in pythons.items() if python}
    systems = {"decoding": None, "tower": None, "ours": None, **given, "PyTorch": None}
    photos = [path.stat().st_size for path in folder.iterdir()]
    spec = {
        "folder": str(folder.resolve()),
        "bundle": str(bundle.resolve()),
        "onnx": str(onnx),
        "cores": allowed_cores(),
        "tower_photos": 256,
    }
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for _, (name, python) in product(range(rounds), systems.items()):
        taken[name].append(run(python, spec | {"system": name}, scratch))
        print(folder.name, name, taken[name][-1], file=sys.stderr, flush=True)
    return with_bound(
        {
            "kind": folder.name,
            "photos": len(photos),
            "bytes_a_photo": round(statistics.mean(photos)),
            "student": Bundle.load(bundle, verify=False).student.name,
            "cores": allowed_cores(),
            "rounds": rounds,
            "versions": tool_versions(TOOLS)
            | {name: version(python, name) for name, python in given.items()},
            "systems": {name: summary(runs) for name, runs in taken.items()},
            "stages_ms": stages(bundle, folder, scratch),
        }
    )


def photos_of(photos: Path, kind: str) -> Path:
    """Return a folder of different files of a kind; create it if needed."""
    import pillow_heif

    folder = photos / kind
    suffix, size, quality, count = KINDS[kind]
    if folder.is_dir() and len(list(folder.iterdir())) == count:
        return folder
    pillow_heif.register_heif_opener()
    folder.mkdir(parents=True, exist_ok=True)
    encoded = []
    for source in packaged_photos()[:SOURCES]:
        out = io.BytesIO()
        with Image.open(source) as image:
            scaled = image.convert("RGB").resize(size)
        if size[0] > 640:  # without grain it decodes two to three times too fast
            grain = Image.effect_noise(size, GRAIN)
            scaled = ImageChops.overlay(scaled, Image.merge("RGB", [grain] * 3))
        scaled.save(out, "JPEG" if suffix == ".jpg" else "HEIF", quality=quality)
        encoded.append(out.getvalue())
    for number in range(count):
        # Anything may follow a JPEG's end; HEIC allows a "free" box (ISO/IEC 14496-12).
        more = struct.pack(">I4sQ", 16, b"free", number)
        (folder / f"{number:05d}{suffix}").write_bytes(encoded[number % len(encoded)] + more)
    return folder


def run(python: Path | None, spec: dict[str, Any], scratch: Path) -> dict[str, Any]:
    file = scratch / "spec.json"
    file.write_text(json.dumps(spec))
    root = str(Path(__file__).parents[1])
    cached = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
    done = subprocess.run(
        [str(python or sys.executable), str(SYSTEM), str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        env=cached | {"PYTHONPATH": root},
    )
    if done.returncode:
        raise SystemExit(f"{spec['system']} failed:\n{done.stderr[-3000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def version(python: Path, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians and each run's rate; None if the system cannot read this kind of photo."""
    if not all(run["photos"] for run in runs):
        return {"photos_per_s": None, "processor_ms": None}
    rates = [round(run["photos"] / run["seconds"], 2) for run in runs]
    return {
        "photos_per_s": round(statistics.median(rates), 2),
        "runs": rates,
        "processor_ms": round(
            statistics.median(1e3 * r["processor_s"] / r["photos"] for r in runs), 2
        ),
    }


def with_bound(kind: dict[str, Any]) -> dict[str, Any]:
    """Add `bound`: the rate if only decoding and the tower took time, each on all cores."""
    systems = kind["systems"]
    parts = [systems[name] for name in ("decoding", "tower")]
    bound = 1 / sum(1 / part["photos_per_s"] for part in parts)
    processor = sum(part["processor_ms"] for part in parts)
    mine = systems["ours"]
    return {
        **kind,
        "bound_photos_per_s": round(bound, 2),
        "of_bound": round(mine["photos_per_s"] / bound, 3),
        "of_bound_processor": round(processor / mine["processor_ms"], 3),
    }


def stages(bundle: Path, folder: Path, scratch: Path) -> dict[str, float]:
    """Return processor milliseconds per photo and stage, on one thread, except for HEIC, whose
    decoder uses several."""
    import numpy as np

    from mcad_mobile.engine.engine import SearchEngine, create_index
    from mcad_mobile.engine.photos.decode import open_bytes, read_photo

    engine = SearchEngine(Bundle.load(bundle, verify=False))
    preprocess, tower = engine.preprocess, engine.folder_rung.tower
    side = preprocess.resize_to or preprocess.size
    paths = [str(path) for path in sorted(folder.iterdir())[:48]]
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, function: Any, *given: Any) -> Any:
        started = time.process_time()
        made = function(*given)
        spent[stage] += time.process_time() - started
        return made

    rows = []
    for path in [paths[0], *paths]:  # the first one warms up
        if path == paths[0]:
            spent = dict.fromkeys(STAGES, 0.0)
        file = timed("read", read_photo, path)
        timed("stamp", file.stamp)
        image = timed("decode", lambda data=file.data: open_bytes(data, "", at_least=side))
        pixels = timed("resize", preprocess.pixels, image)
        rows.append(timed("tower", tower, {"pixels": pixels[None]})[0])
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        index = create_index(engine.bundle, Path(place) / "index")
        names = [f"{folder}/{number}.jpg" for number in range(1000)]  # as many as a commit takes
        many = np.resize(np.stack(rows), (1000, len(rows[0])))
        many /= np.linalg.norm(many, axis=1, keepdims=True)
        started = time.process_time()
        with index.writer() as writer:
            writer.add(names, many, np.zeros((1000, 2), np.uint32))
        write = (time.process_time() - started) / len(names)
    return {
        **{stage: round(1e3 * spent[stage] / len(paths), 3) for stage in STAGES},
        "write": round(1e3 * write, 3),
    }


def export_float(path: Path) -> None:
    """Export the student's float image tower as ONNX, for batches, with rclip's names."""
    import torch

    from mcad_mobile.students.load import load_student

    tower = load_student().tower("image")
    pixels = torch.zeros(2, 3, 224, 224)
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        tower,
        (pixels,),
        path,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=(batch,),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def grown(bundle: Path, scratch: Path, photos: int) -> dict[str, Any]:
    """Run a process that indexes this many small photos, which are hard links to a few files."""
    folder = scratch / str(photos)
    folder.mkdir()
    for number in range(photos):
        path = folder / f"IMG_{number:08d}.jpg"
        if number % LINKS == 0:
            first = path
            with Image.open(packaged_photos()[0]) as image:
                image.convert("RGB").resize((64, 64)).save(path)
        else:
            path.hardlink_to(first)
    command = [
        sys.executable,
        "-m",
        "benchmarks.indexing",
        "--bundle",
        str(bundle),
        "--grow",
        str(folder),
    ]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=4 * LONGEST_S
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    report: dict[str, Any] = json.loads(done.stdout)
    print(report, file=sys.stderr, flush=True)
    return report


def grow(bundle: Path, folder: Path) -> dict[str, Any]:
    """Index in this process; return its peak PSS in MiB, sampled ten times a second."""
    from mcad_mobile.engine.engine import SearchEngine, create_index
    from mcad_mobile.engine.sync import sync_folder

    engine = SearchEngine(Bundle.load(bundle, verify=False), threads=allowed_cores(), fastest=True)
    _ = engine.folder_rung
    seen = [process_memory().pss]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.append(process_memory().pss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory() as place:
        index = create_index(engine.bundle, Path(place) / "index")
        started = time.perf_counter()
        photos = sync_folder(engine, index, folder).added
        seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    return {
        "photos": photos,
        "before_mib": round(seen[0], 1),
        "peak_pss_mib": round(max(seen), 1),
        "photos_per_s": round(photos / seconds, 1),
    }


if __name__ == "__main__":
    main()
