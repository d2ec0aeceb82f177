"""The engines of benchmarks/index.py: how to build, open, search and extend each in a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

K = 10
EXPANSIONS = (16, 32, 64, 128, 256, 512)
PROBES = (4, 8, 16, 32, 64, 128, 256)
_BATCH = 10_000


@dataclass(frozen=True)
class Engine:
    """`build(photos, folder)`, `open(folder)` -> handle, `search(handle, query, setting)` -> ids of
    the best ten, `add(handle, rows, folder)`, which returns once rows are in files. `libraries` are
    imported before memory is first measured. Settings trade time for recall, cheapest first."""

    label: str
    build: Callable[[F32, Path], None]
    open: Callable[[Path], Any]
    search: Callable[[Any, F32, int], Sequence[int]]
    add: Callable[[Any, F32, Path], None]
    libraries: tuple[str, ...] = ()
    settings: tuple[int, ...] = (0,)
    setting_name: str = ""


def camera_path(number: int) -> str:
    """Return a path as long as a phone's."""
    return f"/storage/emulated/0/DCIM/Camera/IMG_{number:08d}.jpg"


def ours(label: str, *, exact: bool = False) -> Engine:
    def index_at(folder: Path) -> Any:
        photo_index = importlib.import_module("mcad_mobile.engine.index").PhotoIndex
        return photo_index.open(folder / "index")

    def build(photos: F32, folder: Path) -> None:
        index = importlib.import_module("mcad_mobile.engine.index").PhotoIndex.create(
            folder / "index", dim=photos.shape[1], student_sha256="0" * 64, student="bench"
        )
        with index.writer() as writer:
            for start in range(0, len(photos), _BATCH):
                batch = np.array(photos[start : start + _BATCH])
                writer.add([camera_path(start + i) for i in range(len(batch))], batch)

    def search(index: Any, query: F32, setting: int) -> Sequence[int]:
        return [int(path[-12:-4]) for path in index.search(query, K, exact=exact).paths]

    def add(index: Any, rows: F32, folder: Path) -> None:
        with index.writer() as writer:
            writer.add([camera_path(90_000_000 + i) for i in range(len(rows))], rows)

    return Engine(
        f"mcad-mobile, {label}", build, index_at, search, add, ("mcad_mobile.engine.index",)
    )


def plain_numpy() -> Engine:
    """A float32 matrix in a file, searched by a matrix product."""

    def build(photos: F32, folder: Path) -> None:
        np.save(folder / "dim.npy", photos.shape[1])
        photos.tofile(folder / "photos.f32")

    def open_(folder: Path) -> Any:
        rows = np.memmap(folder / "photos.f32", np.float32, "r")
        return rows.reshape(-1, int(np.load(folder / "dim.npy")))

    def search(photos: Any, query: F32, setting: int) -> Sequence[int]:
        scores = photos @ query
        return [int(i) for i in np.argpartition(scores, len(scores) - K)[len(scores) - K :]]

    def add(photos: Any, rows: F32, folder: Path) -> None:
        with (folder / "photos.f32").open("ab") as file:
            file.write(rows.tobytes())

    return Engine("numpy float32", build, open_, search, add)


def with_faiss(
    label: str,
    spec: Callable[[int], str],
    settings: tuple[int, ...] = (0,),
    setting_name: str = "",
    refine: int = 0,
) -> Engine:
    """Make an engine from faiss's index_factory string for N photos, inner product."""

    def library() -> Any:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        return faiss

    def build(photos: F32, folder: Path) -> None:
        faiss = library()
        dim = photos.shape[1]
        index = faiss.index_factory(dim, spec(len(photos)), faiss.METRIC_INNER_PRODUCT)
        if "HNSW" in label:
            index.hnsw.efConstruction = 40
        index.train(np.array(photos[:100_000]))
        for start in range(0, len(photos), _BATCH):
            index.add(np.array(photos[start : start + _BATCH]))
        faiss.write_index(index, str(folder / "faiss.index"))

    def open_(folder: Path) -> Any:
        index = library().read_index(str(folder / "faiss.index"))
        if refine:
            index.k_factor = refine
        return index, {}

    def search(handle: Any, query: F32, setting: int) -> Sequence[int]:
        index, now = handle
        if setting_name and now.get(setting_name) != setting:
            library().ParameterSpace().set_index_parameter(index, setting_name, setting)
            now[setting_name] = setting
        return [int(i) for i in index.search(query[None], K)[1][0]]

    def add(handle: Any, rows: F32, folder: Path) -> None:
        index, _ = handle
        index.add(rows)
        library().write_index(index, str(folder / "faiss.index"))

    return Engine(f"faiss {label}", build, open_, search, add, ("faiss",), settings, setting_name)


def with_usearch(dtype: str) -> Engine:
    """Make a usearch HNSW engine that stores `dtype` ("f16", "i8")."""

    def empty(dim: int) -> Any:
        usearch = importlib.import_module("usearch.index")
        return usearch.Index(ndim=dim, metric="cos", dtype=dtype, connectivity=16, expansion_add=64)

    def build(photos: F32, folder: Path) -> None:
        index = empty(photos.shape[1])
        for start in range(0, len(photos), _BATCH):
            batch = np.array(photos[start : start + _BATCH])
            index.add(np.arange(start, start + len(batch)), batch, threads=1)
        index.save(str(folder / "usearch.index"))

    def open_(folder: Path) -> Any:
        usearch = importlib.import_module("usearch.index")
        return usearch.Index.restore(str(folder / "usearch.index"), view=True)

    def search(index: Any, query: F32, setting: int) -> Sequence[int]:
        index.expansion_search = setting
        return [int(i) for i in index.search(query, K, threads=1).keys]

    def add(index: Any, rows: F32, folder: Path) -> None:
        index = empty(rows.shape[1])  # a view is read-only
        index.load(str(folder / "usearch.index"))
        index.add(np.arange(len(index), len(index) + len(rows)), rows, threads=1)
        index.save(str(folder / "usearch.index"))

    return Engine(
        f"usearch HNSW {dtype}", build, open_, search, add, ("usearch.index",),
        EXPANSIONS, "expansion_search",
    )  # fmt: skip


def _connect(folder: Path, extension: str) -> Any:
    connection = importlib.import_module("apsw").Connection(str(folder / "photos.sqlite"))
    connection.enable_load_extension(True)
    connection.load_extension(extension)
    return connection


def _insert(connection: Any, first: int, rows: F32) -> None:
    with connection:
        connection.executemany(
            "insert into photos(rowid, embedding) values (?, ?)",
            ((first + i, row.tobytes()) for i, row in enumerate(rows)),
        )


def sqlite_vec() -> Engine:
    """A float32 vec0 table, searched exhaustively by L2, its default."""

    def connect(folder: Path) -> Any:
        return _connect(folder, importlib.import_module("sqlite_vec").loadable_path())

    def build(photos: F32, folder: Path) -> None:
        connection = connect(folder)
        connection.execute(
            f"create virtual table photos using vec0(embedding float[{photos.shape[1]}])"
        )
        for start in range(0, len(photos), _BATCH):
            _insert(connection, start, np.array(photos[start : start + _BATCH]))
        connection.close()

    def search(connection: Any, query: F32, setting: int) -> Sequence[int]:
        found = connection.execute(
            "select rowid from photos where embedding match ? and k = ?", (query.tobytes(), K)
        )
        return [int(row) for (row,) in found]

    def add(connection: Any, rows: F32, folder: Path) -> None:
        _insert(connection, 90_000_000, rows)

    return Engine("sqlite-vec float32", build, connect, search, add, ("apsw", "sqlite_vec"))


def sqlite_vector() -> Engine:
    """A float32 column, searched by its quantized copy in memory, by cosine (sqlite.ai)."""
    columns = "'photos', 'embedding'"

    def connect(folder: Path) -> Any:
        binaries = importlib.import_module("sqlite_vector.binaries")
        return _connect(folder, str(Path(binaries.__path__[0]) / "vector"))

    def open_(folder: Path) -> Any:
        connection = connect(folder)
        start(connection, int(np.load(folder / "dim.npy")))
        connection.execute(f"select vector_quantize_preload({columns})")
        return connection

    def start(connection: Any, dim: int) -> None:
        options = f"dimension={dim},type=FLOAT32,distance=COSINE"
        connection.execute(f"select vector_init({columns}, '{options}')")

    def insert(connection: Any, first: int, rows: F32) -> None:
        _insert(connection, first, rows)
        connection.execute(f"select vector_quantize({columns})")

    def build(photos: F32, folder: Path) -> None:
        np.save(folder / "dim.npy", photos.shape[1])
        connection = connect(folder)
        connection.execute("create table photos(id integer primary key, embedding blob)")
        start(connection, photos.shape[1])
        insert(connection, 0, photos)
        connection.close()

    def search(connection: Any, query: F32, setting: int) -> Sequence[int]:
        found = connection.execute(
            f"select rowid from vector_quantize_scan({columns}, ?, ?)", (query.tobytes(), K)
        )
        return [int(row) for (row,) in found]

    def add(connection: Any, rows: F32, folder: Path) -> None:
        insert(connection, 90_000_000, rows)

    libraries = ("apsw", "sqlite_vector.binaries")
    return Engine("sqlite-vector, 8 bits", build, open_, search, add, libraries)


def turbovec() -> Engine:
    """TurboQuant in 4 bits, calibrated. 4 bits alone do not reach the goal, so numpy scores the
    best candidates again, by float16 vectors in a file beside it, as tqdb does by itself."""

    def write(index: Any, rows: F32, folder: Path) -> None:
        index.add(np.ascontiguousarray(rows))
        with (folder / "photos.f16").open("ab") as file:
            file.write(rows.astype(np.float16).tobytes())

    def build(photos: F32, folder: Path) -> None:
        index = importlib.import_module("turbovec").TurboQuantIndex(photos.shape[1], bit_width=4)
        sample = np.random.default_rng(0).choice(len(photos), 1024, replace=False)
        index.calibrate(photos[np.sort(sample)])
        for start in range(0, len(photos), _BATCH):
            write(index, photos[start : start + _BATCH], folder)
        index.sync(str(folder / "turbovec.index"))

    def open_(folder: Path) -> Any:
        path = str(folder / "turbovec.index")
        index = importlib.import_module("turbovec").TurboQuantIndex.load(path)
        return index, np.memmap(folder / "photos.f16", np.float16, "r").reshape(-1, index.dim)

    def search(handle: Any, query: F32, setting: int) -> Sequence[int]:
        index, rows = handle
        ids = np.sort(index.search(query[None], setting)[1][0])
        scores = rows[ids].astype(np.float32) @ query
        return [int(i) for i in ids[np.argpartition(scores, -K)[-K:]]]

    def add(handle: Any, rows: F32, folder: Path) -> None:
        write(handle[0], rows, folder)
        handle[0].sync(str(folder / "turbovec.index"))

    return Engine(
        "turbovec 4 bits + float16 re-scoring", build, open_, search, add, ("turbovec",),
        (10, 20, 40, 80, 160, 320, 640), "candidates",
    )  # fmt: skip


def tqdb() -> Engine:
    """TurboQuant in 4 bits, re-scored by the library from float16 vectors."""

    def insert(database: Any, first: int, rows: F32) -> None:
        names = [str(first + i) for i in range(len(rows))]
        database.insert_batch(names, np.ascontiguousarray(rows))

    def build(photos: F32, folder: Path) -> None:
        with importlib.import_module("tqdb").Database.open(
            str(folder / "tqdb"), photos.shape[1], bits=4, rerank=True, rerank_precision="f16"
        ) as database:
            for start in range(0, len(photos), _BATCH):
                insert(database, start, photos[start : start + _BATCH])
            database.checkpoint()

    def open_(folder: Path) -> Any:
        return importlib.import_module("tqdb").open(str(folder / "tqdb"))

    def search(database: Any, query: F32, setting: int) -> Sequence[int]:
        found = database.search(query, K, include=["id"], rerank_factor=setting)
        return [int(row["id"]) for row in found]

    def add(database: Any, rows: F32, folder: Path) -> None:
        insert(database, 90_000_000, rows)
        database.checkpoint()

    return Engine(
        "tqdb 4 bits + float16 re-scoring", build, open_, search, add, ("tqdb",),
        (1, 2, 4, 8, 16, 32, 64), "rerank_factor",
    )  # fmt: skip


def lists(photos: int) -> int:
    """Return an inverted file's number of lists: by rule of thumb 4 * sqrt(N), up to 1024."""
    return min(int(4 * photos**0.5), 1024)


BUILT = (
    "faiss: HNSW with M 16 and efConstruction 40, IVF-PQ with min(4 sqrt(N), 1024) lists and "
    "64 codes of 4 bits, both trained on 100,000 photos. usearch: HNSW with connectivity 16 and "
    "expansion_add 64."
)
ENGINES: dict[str, Engine] = {
    "ours": ours("two passes"),
    "ours_exact": ours("exact", exact=True),
    "numpy": plain_numpy(),
    "faiss_flat": with_faiss("Flat", lambda n: "Flat"),
    "faiss_sq8": with_faiss("SQ8", lambda n: "SQ8"),
    "faiss_ivfpq_fs": with_faiss(
        "IVF-PQ fast-scan + float16 refinement",
        lambda n: f"IVF{lists(n)},PQ64x4fs,Refine(SQfp16)",
        PROBES,
        "nprobe",
        refine=200,
    ),
    "faiss_rabitq": with_faiss(
        "RaBitQ + float16 refinement",
        lambda n: "RaBitQ,Refine(SQfp16)",
        (10, 25, 50, 100, 200, 400, 800),
        "k_factor_rf",
    ),
    "turbovec": turbovec(),
    "tqdb": tqdb(),
    "sqlite_vec": sqlite_vec(),
    "sqlite_vector": sqlite_vector(),
    "usearch_i8": with_usearch("i8"),
    "usearch_f16": with_usearch("f16"),
    "faiss_hnsw": with_faiss("HNSW M=16", lambda n: "HNSW16", EXPANSIONS, "efSearch"),
}
