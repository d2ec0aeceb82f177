"""Run one system over one folder, in its own process, started by indexing.py.

    PYTHON benchmarks/indexing_system.py SPEC.json      # prints a line of JSON

Other systems run as users run them, with their own reading, decoding and storage; each uses the
default student's tower, in float except for ours. In rclip and clip-retrieval it replaces their own
model. Models are loaded before the clock starts.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

Run = Callable[[], int]  # processes the folder; returns the number of photos
BATCH = 32  # PyTorch's; rclip keeps its own default
SMALL = 224


def ours(spec: dict[str, Any]) -> Run:
    from mcad_mobile.engine.engine import create_index
    from mcad_mobile.engine.sync import sync_folder

    engine = _engine(spec)
    _ = engine.folder_rung
    index = create_index(engine.bundle, Path(spec["scratch"]) / "index")
    return lambda: sync_folder(engine, index, Path(spec["folder"])).added


def decoding(spec: dict[str, Any]) -> Run:
    """Our reading, decoding and resizing alone, on all cores."""
    from mcad_mobile.engine.photos.decode import read_photo

    preprocess, pool = _engine(spec).preprocess, ThreadPoolExecutor(spec["cores"])
    paths = _paths(spec)
    return lambda: len(
        list(pool.map(lambda path: preprocess.decoded(read_photo(path).data, path)[0, 0, 0], paths))
    )


def tower(spec: dict[str, Any]) -> Run:
    """Our tower alone, on all cores, one photo per thread."""
    from mcad_mobile.engine.photos.decode import read_photo

    engine, pool = _engine(spec), ThreadPoolExecutor(spec["cores"])
    run, paths = engine.folder_rung.tower, _paths(spec)
    ready = [engine.preprocess.decoded(read_photo(path).data, path)[None] for path in paths[:8]]
    inputs = [{"pixels": ready[number % len(ready)]} for number in range(spec["tower_photos"])]
    return lambda: len(list(pool.map(run, inputs)))


def rclip(spec: dict[str, Any]) -> Run:
    from rclip import db, main, model, model_download
    from rclip.utils import preprocess

    model_download.download_onnx_model = lambda *given, **named: spec["onnx"]
    preprocess.IMAGE_SIZE = SMALL
    loaded = model.Model()
    _ = loaded._session_visual_index
    database = db.DB(Path(spec["scratch"]) / "db.sqlite3")
    system = main.RClip(loaded, database, 8, None)
    return lambda: system.ensure_index(spec["folder"]) or _rows(spec)


def _rows(spec: dict[str, Any]) -> int:
    import sqlite3

    with sqlite3.connect(Path(spec["scratch"]) / "db.sqlite3") as database:
        return int(database.execute("select count(vector) from images").fetchone()[0])


def clip_retrieval(spec: dict[str, Any]) -> Run:
    student, transform = _student()
    stand_in: Any = types.ModuleType("all_clip")
    stand_in.load_clip = lambda **named: (
        types.SimpleNamespace(encode_image=student, encode_text=None),
        transform,
        None,
    )
    texts: Any = types.ModuleType("sentence_transformers")
    texts.SentenceTransformer = None
    sys.modules.update(all_clip=stand_in, sentence_transformers=texts)
    # Its packages would import its server and cluster tools, which are not needed here.
    place = metadata.distribution("clip-retrieval").locate_file("clip_retrieval")
    for name, folder in (
        ("clip_retrieval", ""),
        ("clip_retrieval.clip_inference", "clip_inference"),
    ):
        package: Any = types.ModuleType(name)
        package.__path__ = [str(Path(str(place)) / folder)]
        sys.modules[name] = package
    from clip_retrieval.clip_inference.mapper import ClipMapper
    from clip_retrieval.clip_inference.reader import FilesReader
    from clip_retrieval.clip_inference.runner import Runner
    from clip_retrieval.clip_inference.writer import NumpyWriter

    done = 0

    class Counter:
        def start(self) -> None: ...

        def end(self) -> None: ...

        def __call__(self, facts: dict[str, Any]) -> None:
            nonlocal done
            done += facts["sample_count"]

    parts = {"enable_text": False, "enable_image": True, "enable_metadata": False}
    mapper = ClipMapper(
        **parts, use_mclip=False, clip_model="", use_jit=False, mclip_model="", warmup_batch_size=1
    )

    def run() -> int:
        Runner(
            reader_builder=lambda sampler: FilesReader(
                sampler, transform, None, spec["folder"], BATCH, spec["cores"], False, True, False
            ),
            mapper_builder=lambda: mapper,
            writer_builder=lambda number: NumpyWriter(
                number, spec["scratch"], False, True, False, 1
            ),
            logger_builder=lambda number: Counter(),
            output_partition_count=1,
        )(0)
        return done

    return run


def pytorch(spec: dict[str, Any]) -> Run:
    """A plain loop: open, transform, stack, embed."""
    import torch
    from PIL import Image
    from pillow_heif import register_heif_opener

    register_heif_opener()
    student, transform = _student()
    paths = _paths(spec)

    def run() -> int:
        rows = []
        for start in range(0, len(paths), BATCH):
            photos = [transform(Image.open(path)) for path in paths[start : start + BATCH]]
            with torch.inference_mode():
                features = student(torch.stack(photos))
            rows.append(features / features.norm(dim=-1, keepdim=True))
        return len(torch.cat(rows))

    return run


def _student() -> tuple[Any, Any]:
    import torch
    from torchvision import transforms

    from mcad_mobile.students.load import load_student

    student = load_student()
    preprocess = student.preprocess
    tower = student.tower("image")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return tower, transforms.Compose(
        [
            transforms.Lambda(lambda image: image.convert("RGB")),
            transforms.Resize((SMALL, SMALL)),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )


def _engine(spec: dict[str, Any]) -> Any:
    from mcad_mobile.engine.bundle import Bundle
    from mcad_mobile.engine.engine import SearchEngine

    bundle = Bundle.load(Path(spec["bundle"]), verify=False)
    return SearchEngine(bundle, threads=spec["cores"], fastest=True)


def _paths(spec: dict[str, Any]) -> list[str]:
    return sorted(str(path) for path in Path(spec["folder"]).iterdir())


SYSTEMS = {
    "decoding": decoding,
    "tower": tower,
    "ours": ours,
    "rclip": rclip,
    "clip-retrieval": clip_retrieval,
    "PyTorch": pytorch,
}


def processor_s() -> float:
    """Return the processor seconds of this process and its ended children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as scratch:
        run = SYSTEMS[spec["system"]]({**spec, "scratch": scratch})
        used, started = processor_s(), time.perf_counter()
        photos = run()
        seconds, used = time.perf_counter() - started, processor_s() - used
    # A DataLoader's process or a pool's thread may still run.
    print(json.dumps({"photos": photos, "seconds": seconds, "processor_s": used}), file=out)
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
