"""LanceDB: a table, in a folder or at an address that it opens itself."""

from __future__ import annotations

from typing import Any

from mcad_mobile.embed.job import Manifest
from mcad_mobile.embed.store import reaching
from mcad_mobile.embed.stores.protocol import ANOTHER, other_student
from mcad_mobile.embed.table import Batch
from mcad_mobile.errors import StoreError, require

_META = b"mcad.job"
_AT_ONCE = 16  # batches that are added together: each addition makes a version of the table


class LanceDB:
    """Columns "key" and "vector", a fixed-size list of float32."""

    def __init__(self, address: str, table: str) -> None:
        self._where = f"lancedb:{address}#{table}"
        self._name = table
        with reaching(address):
            self._database = require("lancedb", "lancedb").connect(address)
        self._table: Any = None
        self._schema: Any = None
        self._new = False
        self._seen: set[str] = set()
        self._waiting: list[Any] = []

    def begin(self, job: Manifest) -> None:
        arrow = require("pyarrow", "embed")
        self._schema = arrow.schema(
            {"key": arrow.string(), "vector": arrow.list_(arrow.float32(), job.dim)},
            metadata={_META: job.job},
        )
        with reaching(self._where):
            self._new = self._name not in _names(self._database)
            if self._new:
                self._table = self._database.create_table(self._name, schema=self._schema)
                return
            self._table = self._database.open_table(self._name)
        held = (self._table.schema.metadata or {}).get(_META, b"").decode()
        if held != job.job:
            raise StoreError(other_student(self._where, held or "unknown", job), ANOTHER)

    def add(self, batch: Batch) -> None:
        arrow = require("pyarrow", "embed")
        vectors = arrow.FixedSizeListArray.from_arrays(
            batch.embeddings.reshape(-1), batch.embeddings.shape[1]
        )
        rows = arrow.table({"key": batch.keys, "vector": vectors}, schema=self._schema)
        if self._new and self._seen.isdisjoint(batch.keys):
            self._seen.update(batch.keys)
            self._waiting.append(rows)
            if len(self._waiting) == _AT_ONCE:
                self._flush()
            return
        self._flush()
        merging = self._table.merge_insert("key").when_matched_update_all()
        with reaching(self._where):
            merging.when_not_matched_insert_all().execute(rows)

    def finish(self) -> int:
        self._flush()
        with reaching(self._where):
            return int(self._table.count_rows())

    def _flush(self) -> None:
        if self._waiting:
            arrow = require("pyarrow", "embed")
            with reaching(self._where):
                self._table.add(arrow.concat_tables(self._waiting))
            self._waiting = []


def _names(database: Any) -> list[str]:
    found = database.list_tables(limit=10_000)
    return list(getattr(found, "tables", found))
