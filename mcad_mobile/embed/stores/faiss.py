"""FAISS: an index in one file, and the keys of its rows beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.disk import check_file, trouble
from mcad_mobile.embed.job import Manifest
from mcad_mobile.embed.stores.protocol import ANOTHER, other_student
from mcad_mobile.embed.table import Batch
from mcad_mobile.errors import StoreError, require

_META = b"mcad.job"
_TRAINED_ON = 100_000  # rows, at most: what k-means of a few thousand cells asks for
_CHUNK = 16_384


class Faiss:
    """An inner-product index at `path`, of a `factory` of FAISS ("Flat", "HNSW32", "IVF1024,Flat";
    faiss.index_factory), made anew from all shards; row N's key is row N of `path`.keys.parquet."""

    def __init__(self, path: str, factory: str) -> None:
        self._faiss = require("faiss", "faiss")
        self._path = Path(path)
        self._factory = factory
        self._keys_path = self._path.with_name(f"{self._path.name}.keys.parquet")
        check_file(self._path)
        self._rows: dict[str, int] = {}  # of a key given twice, the last
        self._count = 0
        self._job: Manifest
        self._spool: Any = None

    def begin(self, job: Manifest) -> None:
        self._job = job
        parquet = require("pyarrow.parquet", "embed")
        if self._keys_path.exists():
            held = (parquet.read_schema(self._keys_path).metadata or {}).get(_META, b"").decode()
            if held != job.job:
                raise StoreError(other_student(str(self._path), held or "unknown", job), ANOTHER)
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115  closed by finish
        try:
            self._index = self._faiss.index_factory(
                job.dim, self._factory, self._faiss.METRIC_INNER_PRODUCT
            )
        except RuntimeError as error:
            raise StoreError(
                f"FAISS has no index {self._factory!r} of {job.dim} dimensions.",
                "Give one of faiss.index_factory behind #: Flat, HNSW32, IVF1024,Flat ...",
            ) from error

    def add(self, batch: Batch) -> None:
        self._spool.write(np.ascontiguousarray(batch.embeddings).tobytes())
        for key in batch.keys:
            self._rows[key] = self._count
            self._count += 1

    def finish(self) -> int:
        self._spool.flush()
        rows = np.array(list(self._rows.values()), np.intp)
        if len(rows):
            every = np.memmap(self._spool, np.float32, "r", shape=(self._count, self._job.dim))
            if not self._index.is_trained:
                self._index.train(np.asarray(every[rows[:: -(-len(rows) // _TRAINED_ON)]]))
            for start in range(0, len(rows), _CHUNK):
                self._index.add(np.asarray(every[rows[start : start + _CHUNK]]))
        self._spool.close()
        arrow, parquet = require("pyarrow", "embed"), require("pyarrow.parquet", "embed")
        keys = arrow.table({"key": arrow.array(list(self._rows), arrow.string())})
        keys = keys.replace_schema_metadata({_META: self._job.job})
        partial = self._path.with_name(f".{self._path.name}.partial")
        try:
            # The keys first: an index without them is none.
            parquet.write_table(keys, partial)
            partial.replace(self._keys_path)
            self._faiss.write_index(self._index, str(partial))
            partial.replace(self._path)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise (
                trouble(self._path, error)
                or StoreError(f"{self._path} cannot be written: {error}.", "Give another place.")
            ) from error
        return len(rows)
