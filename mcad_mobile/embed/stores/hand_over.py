"""Shards into a store that is searched on servers, by its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcad_mobile.embed.phone import Shards
from mcad_mobile.embed.stores.protocol import VectorStore
from mcad_mobile.errors import StoreError

_TABLE = "photos"
_KNOWN = (
    "Give faiss:FILE[#FACTORY], lancedb:FOLDER[#TABLE], qdrant:URL[#COLLECTION] or "
    "pgvector:postgresql://HOST/DATABASE[#TABLE]."
)


class Opened:
    """A store, and how it was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        kind, colon, rest = address.partition(":")
        where, _, table = rest.partition("#")
        if not (colon and where):
            raise StoreError(f"{address!r} names no store.", _KNOWN)
        default = "Flat" if kind == "faiss" else _TABLE
        self.store = _made(kind, where, table or default, address)

    def __str__(self) -> str:
        """Without a password."""
        scheme, at, rest = self.address.rpartition("@")
        return f"{scheme.rpartition('//')[0]}//...@{rest}" if at else self.address


def opened_stores(addresses: list[str]) -> list[Opened]:
    """StoreError for an address that names none or where none answers; MissingExtra for one whose
    client is not installed."""
    return [Opened(address) for address in addresses]


def hand_over(
    shards: Shards, opened: Opened, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Fill a store with all photos of `shards`: {"store", "photos"}, how many it holds then."""
    opened.store.begin(shards.manifest)
    done = 0
    for batch in shards.batches():
        opened.store.add(batch)
        done += len(batch.keys)
        progress(done, shards.rows)
    return {"store": str(opened), "photos": opened.store.finish()}


def _made(kind: str, where: str, table: str, address: str) -> VectorStore:
    if kind == "faiss":
        from mcad_mobile.embed.stores.faiss import Faiss

        return Faiss(where, factory=table)
    if kind == "lancedb":
        from mcad_mobile.embed.stores.lancedb import LanceDB

        return LanceDB(where, table)
    if kind == "qdrant":
        from mcad_mobile.embed.stores.qdrant import Qdrant

        return Qdrant(where, table)
    if kind == "pgvector":
        from mcad_mobile.embed.stores.pgvector import PgVector

        return PgVector(where, table)
    raise StoreError(f"{address!r} names no store that we know.", _KNOWN)
