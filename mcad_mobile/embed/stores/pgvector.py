"""PostgreSQL with pgvector: a table."""

from __future__ import annotations

from typing import Any

from mcad_mobile.embed.job import Manifest
from mcad_mobile.embed.stores.protocol import ANOTHER, other_student
from mcad_mobile.embed.table import Batch
from mcad_mobile.errors import StoreError, require

_COMMENT = "embeddings by mcad-mobile, job "
_MOST_INDEXED = 2000  # dimensions: pgvector's documentation, HNSW
_ALLOW = (
    "Check the address, user and password, and that pgvector is installed there, then try again."
)


class PgVector:
    """Columns key (primary key) and embedding vector(D), with an HNSW index by cosine distance. All
    of it is one transaction: a hand-over that is stopped leaves the table as it was."""

    def __init__(self, address: str, table: str) -> None:
        self._psycopg = require("psycopg", "pgvector")
        self._table = self._psycopg.sql.Identifier(table)
        self._where = f"pgvector:{address.rpartition('@')[2]}#{table}"
        self._name = table
        try:
            self._connection: Any = self._psycopg.connect(address, connect_timeout=30)
        except self._psycopg.Error as error:
            raise self._told(error) from error

    def begin(self, job: Manifest) -> None:
        vector = require("pgvector.psycopg", "pgvector")
        try:
            self._do("CREATE EXTENSION IF NOT EXISTS vector")
            vector.register_vector(self._connection)
            held = self._one("SELECT obj_description(to_regclass({}::text), 'pg_class')")
            there = self._one("SELECT to_regclass({}::text)")
            if there is None:
                columns = f"key text PRIMARY KEY, embedding vector({job.dim}) NOT NULL"
                self._do(f"CREATE TABLE {{}} ({columns})")
                literal = self._psycopg.sql.Literal(_COMMENT + job.job)
                self._connection.execute(
                    self._psycopg.sql.SQL("COMMENT ON TABLE {} IS {}").format(self._table, literal)
                )
            elif held != _COMMENT + job.job:
                found = (held or "").removeprefix(_COMMENT) or "unknown"
                raise StoreError(other_student(self._where, found, job), ANOTHER)
            self._do(
                "CREATE TEMPORARY TABLE handed_over "
                f"(number int, key text, embedding vector({job.dim})) ON COMMIT DROP"
            )
        except self._psycopg.Error as error:
            raise self._told(error) from error
        self._dim = job.dim

    def add(self, batch: Batch) -> None:
        try:
            with self._connection.cursor() as cursor:
                copying = "COPY handed_over FROM STDIN WITH (FORMAT BINARY)"
                with cursor.copy(copying) as copy:
                    copy.set_types(["int4", "text", "vector"])
                    for number, key in enumerate(batch.keys):
                        copy.write_row((number, key, batch.embeddings[number]))
            self._do(
                "INSERT INTO {} SELECT DISTINCT ON (key) key, embedding FROM handed_over "
                "ORDER BY key, number DESC "
                "ON CONFLICT (key) DO UPDATE SET embedding = excluded.embedding"
            )
            self._do("TRUNCATE handed_over")
        except self._psycopg.Error as error:
            raise self._told(error) from error

    def finish(self) -> int:
        try:
            if self._dim <= _MOST_INDEXED:
                index = self._psycopg.sql.Identifier(f"{self._name}_embedding")
                self._connection.execute(
                    self._psycopg.sql.SQL(
                        "CREATE INDEX IF NOT EXISTS {} ON {} "
                        "USING hnsw (embedding vector_cosine_ops)"
                    ).format(index, self._table)
                )
            count = self._connection.execute(
                self._psycopg.sql.SQL("SELECT count(*) FROM {}").format(self._table)
            ).fetchone()[0]
            self._connection.commit()
            self._connection.close()
        except self._psycopg.Error as error:
            raise self._told(error) from error
        return int(count)

    def _do(self, statement: str) -> None:
        self._connection.execute(self._psycopg.sql.SQL(statement).format(self._table))

    def _one(self, question: str) -> Any:
        quoted = self._psycopg.sql.Literal(f'"{self._name}"')
        asked = self._psycopg.sql.SQL(question).format(quoted)
        return self._connection.execute(asked).fetchone()[0]

    def _told(self, error: Exception) -> StoreError:
        return StoreError(f"{self._where}: {' '.join(str(error).split())}.", _ALLOW)
