"""Qdrant: a collection of a server, or of its client's own local mode."""

from __future__ import annotations

import uuid
from typing import Any

from mcad_mobile.embed.job import Manifest
from mcad_mobile.embed.store import reaching
from mcad_mobile.embed.stores.protocol import ANOTHER, other_student
from mcad_mobile.embed.table import Batch
from mcad_mobile.errors import StoreError, require

_META = "mcad_job"
_AT_ONCE = 256  # points a request: some 1.5 MB of JSON
_TIMEOUT_S = 60


class Qdrant:
    """Points with the payload {"key"}; a point's id is the UUID (version 5, namespace URL) of its
    key. Vectors have unit length, so the distance is Dot."""

    def __init__(self, address: str, collection: str) -> None:
        self._where = f"qdrant:{address}#{collection}"
        self._name = collection
        library = require("qdrant_client", "qdrant")
        self._models = library.models
        where = {"url": address} if "://" in address else {"path": address}
        with reaching(address if "://" in address else self._where):
            self._client: Any = library.QdrantClient(**where, timeout=_TIMEOUT_S)
            self._client.get_collections()

    def begin(self, job: Manifest) -> None:
        models = self._models
        with reaching(self._where):
            if not self._client.collection_exists(self._name):
                self._client.create_collection(
                    self._name,
                    vectors_config=models.VectorParams(
                        size=job.dim, distance=models.Distance.DOT, on_disk=True
                    ),
                    metadata={_META: job.job},
                )
                return
            config = self._client.get_collection(self._name).config
        held = (config.metadata or {}).get(_META, "unknown")
        if held != job.job:
            raise StoreError(other_student(self._where, str(held), job), ANOTHER)

    def add(self, batch: Batch) -> None:
        for first in range(0, len(batch.keys), _AT_ONCE):
            keys = batch.keys[first : first + _AT_ONCE]
            points = self._models.Batch(
                ids=[str(uuid.uuid5(uuid.NAMESPACE_URL, key)) for key in keys],
                vectors=batch.embeddings[first : first + _AT_ONCE].tolist(),
                payloads=[{"key": key} for key in keys],
            )
            with reaching(self._where):
                self._client.upsert(self._name, points=points, wait=True)

    def finish(self) -> int:
        with reaching(self._where):
            count = int(self._client.count(self._name, exact=True).count)
            self._client.close()
        return count
