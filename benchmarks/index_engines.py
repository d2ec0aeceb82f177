"""The engines of index_vs_peers.py: how each is built in a folder, opened and searched."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Search = Callable[[F32], Sequence[int]]

K = 10
EXPANSIONS = (64, 128, 256, 512, 1024)
PROBES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Engine:
    """How to build an index in a folder, and how to open it at a setting (0: it has none)."""

    label: str
    build: Callable[[F32, Path], None]
    open: Callable[[Path, int], Search]
    settings: tuple[int, ...] = (0,)
    setting_name: str = ""


def ours(exact: bool) -> Engine:
    def build(photos: F32, folder: Path) -> None:
        from mcad_mobile.index import PhotoIndex

        index = PhotoIndex.create(
            folder / "index", dim=photos.shape[1], student_sha256="0" * 64, student="bench"
        )
        with index.writer() as writer:
            for start in range(0, len(photos), 1000):
                batch = np.array(photos[start : start + 1000])
                writer.add([f"{i}" for i in range(start, start + len(batch))], batch)

    def open_(folder: Path, setting: int) -> Search:
        from mcad_mobile.index import PhotoIndex

        index = PhotoIndex.open(folder / "index")
        return lambda query: [int(path) for path in index.search(query, K, exact=exact).paths]

    label = "exact, sign + 8 bits" if exact else "two passes"
    return Engine(f"mcad-mobile, {label}", build, open_)


def numpy_float() -> Engine:
    def build(photos: F32, folder: Path) -> None:
        np.save(folder / "photos.npy", photos)

    def open_(folder: Path, setting: int) -> Search:
        photos = np.load(folder / "photos.npy", mmap_mode="r")

        def search(query: F32) -> Sequence[int]:
            scores = photos @ query
            best = np.argpartition(scores, len(scores) - K)[len(scores) - K :]
            return [int(i) for i in best]

        return search

    return Engine("numpy float32, exact", build, open_)


def with_faiss(
    label: str, spec: str, settings: tuple[int, ...] = (0,), setting_name: str = ""
) -> Engine:
    """Make an engine of an index_factory string of faiss, inner product."""

    def library() -> Any:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        return faiss

    def build(photos: F32, folder: Path) -> None:
        faiss = library()
        index = faiss.index_factory(photos.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
        photos = np.ascontiguousarray(photos)
        index.train(photos)
        index.add(photos)
        faiss.write_index(index, str(folder / "faiss.index"))

    def open_(folder: Path, setting: int) -> Search:
        faiss = library()
        index = faiss.read_index(str(folder / "faiss.index"))
        if setting_name:
            faiss.ParameterSpace().set_index_parameter(index, setting_name, setting)
        return lambda query: [int(i) for i in index.search(query[None], K)[1][0]]

    return Engine(f"faiss {label}", build, open_, settings, setting_name)


def faiss_binary() -> Engine:
    """faiss.IndexBinaryFlat on the signs of x - mean, its best re-scored as int8 by numpy."""

    def build(photos: F32, folder: Path) -> None:
        faiss = importlib.import_module("faiss")
        signs = np.packbits(photos > photos.mean(axis=0), axis=1)
        index = faiss.IndexBinaryFlat(photos.shape[1])
        index.add(signs)
        faiss.write_index_binary(index, str(folder / "faiss.index"))
        scales = np.abs(photos).max(axis=1, keepdims=True) / 127
        np.save(folder / "scales.npy", scales[:, 0].astype(np.float32))
        np.save(folder / "int8.npy", np.rint(photos / scales).astype(np.int8))

    def open_(folder: Path, setting: int) -> Search:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        index = faiss.read_index_binary(str(folder / "faiss.index"))
        scales = np.load(folder / "scales.npy", mmap_mode="r")
        vectors = np.load(folder / "int8.npy", mmap_mode="r")

        def search(query: F32) -> Sequence[int]:
            _, found = index.search(np.packbits(query > 0)[None], setting)
            rows = np.sort(found[0])
            scores = vectors[rows].astype(np.float32) @ query * scales[rows]
            return [int(i) for i in rows[np.argpartition(scores, setting - K)[setting - K :]]]

        return search

    return Engine(
        "faiss BinaryFlat + int8 re-scoring",
        build,
        open_,
        (1000, 2000, 4000, 8000),
        "candidates",
    )


def with_usearch(dtype: str) -> Engine:
    def build(photos: F32, folder: Path) -> None:
        usearch = importlib.import_module("usearch.index")
        index = usearch.Index(ndim=photos.shape[1], metric="cos", dtype=dtype)
        index.add(np.arange(len(photos)), np.ascontiguousarray(photos), threads=1)
        index.save(str(folder / "usearch.index"))

    def open_(folder: Path, setting: int) -> Search:
        usearch = importlib.import_module("usearch.index")
        index = usearch.Index.restore(str(folder / "usearch.index"), view=True)
        index.expansion_search = setting
        return lambda query: [int(i) for i in index.search(query, K, threads=1).keys]

    return Engine(f"usearch HNSW {dtype}", build, open_, EXPANSIONS, "expansion_search")


ENGINES: dict[str, Engine] = {
    "ours": ours(exact=False),
    "ours_exact": ours(exact=True),
    "numpy": numpy_float(),
    "faiss_flat": with_faiss("IndexFlatIP", "Flat"),
    "faiss_sq8": with_faiss("IndexScalarQuantizer 8-bit", "SQ8"),
    "faiss_binary": faiss_binary(),
    "faiss_rabitq": with_faiss(
        "IndexRaBitQ + SQ8 refinement",
        "RaBitQ,Refine(SQ8)",
        (10, 25, 50, 100, 200),
        "k_factor_rf",
    ),
    "faiss_ivfpq": with_faiss("IndexIVFPQ 32 x 8 bits", "IVF316,PQ32", PROBES, "nprobe"),
    "faiss_ivfsq8": with_faiss("IndexIVF SQ8", "IVF316,SQ8", PROBES, "nprobe"),
    "faiss_hnsw": with_faiss("IndexHNSWFlat M=32", "HNSW32", EXPANSIONS, "efSearch"),
    "usearch_i8": with_usearch("i8"),
    "usearch_f32": with_usearch("f32"),
}
