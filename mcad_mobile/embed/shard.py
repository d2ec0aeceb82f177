"""Embed the photos of one shard, in any process; write and read it as a Parquet file
(docs/embed.md, Shards)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.documents import Count, Record, Sha256, decode
from mcad_mobile.base.threads import OrderedPool
from mcad_mobile.embed.pieces import Photo, VideoFile
from mcad_mobile.engine.index.moments import file_and_moment
from mcad_mobile.errors import MissingExtra, PhotoError, ShardError, require

SCHEMA = "mcad-shard/1"
_META = b"mcad"
_GROUP = 1000  # rows that are written and read together
_REDO = "Remove the file and run `mcad-mobile embed` again: it makes what is missing."
_READERS = 4  # threads that wait for files and stores
_KILLED = "It crashed two worker processes."
Cause = Literal["decode", "read", "killed"]
Note = Callable[[Literal["begun", "done"], int], None]


class Model(Protocol):
    """Embeds photos, such as a bundle's image tower. `threads` decode them; if 1, the computing
    thread does."""

    @property
    def threads(self) -> int: ...

    def prepare(self, photo: bytes | VideoFile, key: str) -> Any:
        """Decode a photo or video, on any thread. PhotoError."""
        ...

    def rows(self, prepared: Any, key: str) -> Iterable[tuple[str, NDArray[np.float32]]]:
        """Embed it: the key and the embedding [D] of each of its rows."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """A photo without a row. "read": it may be readable later; "killed": two processes died."""

    key: str
    stamp: int
    why: str
    cause: Cause


@dataclass(frozen=True)
class ShardRows:
    """Rows [N, D] of photos, in the order of the shard; stamps [N, 2] uint32 (folder.py)."""

    rows: NDArray[np.float32]
    keys: list[str]
    stamps: NDArray[np.uint32]
    left_out: list[LeftOut]


def embed_shard(
    model: Model,
    photos: Iterable[Photo],
    *,
    excluded: AbstractSet[int] = frozenset(),
    isolated: AbstractSet[int] = frozenset(),
    note: Note = lambda event, number: None,
) -> ShardRows:
    """Embed all photos but those `excluded`, by their numbers from 0; while one of those `isolated`
    is in work, no other is. `note` tells a watching process which photos this one holds."""
    rows: list[NDArray[np.float32]] = []
    keys: list[str] = []
    stamps: list[tuple[int, int]] = []
    left_out: list[LeftOut] = []
    # With one processor, threads only wait for the store.
    decodes_ahead = model.threads > 1

    def read(number: int, photo: Photo) -> tuple[int, str, _Result]:
        found = _read(photo)
        return number, photo.key, _decoded(model, photo.key, found) if decodes_ahead else found

    def embed(results: Iterable[tuple[int, str, _Result]]) -> None:
        for number, key, found in results:
            decoded = _decoded(model, key, found)
            if isinstance(decoded, LeftOut):
                left_out.append(decoded)
            else:
                for name, row in model.rows(decoded.prepared, key):
                    rows.append(row)
                    keys.append(name)
                    stamps.append(decoded.stamps)
            note("done", number)

    ahead = max(2 * model.threads, _READERS)
    with OrderedPool[tuple[int, str, _Result]](max(model.threads, _READERS), ahead) as pool:
        for number, photo in enumerate(photos):
            if number in excluded:
                left_out.append(LeftOut(photo.key, photo.stamp, _KILLED, "killed"))
                continue
            if number in isolated:
                embed(pool.drain())
            note("begun", number)
            embed(pool.submit(read, number, photo))
            if number in isolated:
                embed(pool.drain())
        embed(pool.drain())
    return ShardRows(
        np.array(rows, np.float32), keys, np.array(stamps, np.uint32).reshape(-1, 2), left_out
    )


_Read = tuple[bytes | VideoFile, int]  # what was read, and its stat stamp


@dataclass(frozen=True)
class _Decoded:
    prepared: Any
    stamps: tuple[int, int]


_Result = _Read | _Decoded | LeftOut


def _read(photo: Photo) -> _Read | LeftOut:
    try:
        return photo.read()
    except OSError as error:
        return LeftOut(photo.key, 0, f"{photo.key} cannot be read: {error}.", "read")
    except PhotoError as error:
        return LeftOut(photo.key, photo.stamp, str(error), "decode")


def _decoded(model: Model, key: str, read: _Result) -> _Decoded | LeftOut:
    if not isinstance(read, tuple):
        return read
    data, stat = read
    try:
        stamp = data.stamp if isinstance(data, VideoFile) else zlib.crc32(data)
        return _Decoded(model.prepare(data, key), (stat, stamp))
    except (PhotoError, MissingExtra, MemoryError) as error:
        reason = str(error) or f"{key} takes more memory than there is."
        return LeftOut(key, stat, reason, "decode")


class DamagedShard(ShardError):
    """A shard is cut off or damaged."""


class ShardFacts(Record, frozen=True):
    """The facts in a shard's footer. `unread` photos may be readable later."""

    schema: str
    student: str
    student_sha256: Sha256
    job: str
    piece: str
    filled_by: str
    photos: Count
    left_out: Count
    unread: Count


@dataclass(frozen=True)
class ShardBatch:
    """Rows of a shard: embeddings [B, D] float32 of unit length, stamps [B, 2] uint32."""

    keys: list[str]
    embeddings: NDArray[np.float32]
    stamps: NDArray[np.uint32]


def shard_bytes(embedded: ShardRows, dim: int, facts: ShardFacts) -> bytes:
    """Encode a shard as a Parquet file, with a checksum on each page."""
    arrow = require("pyarrow", "embed")
    table = arrow.table(
        {
            "key": arrow.array(embedded.keys, arrow.string()),
            "embedding": arrow.FixedSizeListArray.from_arrays(embedded.rows.reshape(-1), dim),
            "stat_stamp": arrow.array(embedded.stamps[:, 0]),
            "content_stamp": arrow.array(embedded.stamps[:, 1]),
        }
    )
    return _parquet(table.replace_schema_metadata({_META: msgspec.json.encode(facts)}))


def left_out_bytes(left_out: list[LeftOut]) -> bytes:
    """Encode photos without a row as a Parquet file."""
    arrow = require("pyarrow", "embed")
    text = arrow.string()
    columns = [("key", text), ("stamp", arrow.uint32()), ("why", text), ("cause", text)]
    rows = [asdict(photo) for photo in left_out]
    return _parquet(arrow.Table.from_pylist(rows, arrow.schema(columns)))


def read_left_out(data: bytes) -> list[LeftOut]:
    arrow, parquet = require("pyarrow", "embed"), require("pyarrow.parquet", "embed")
    rows = parquet.ParquetFile(arrow.BufferReader(data)).read(use_threads=False).to_pylist()
    return [LeftOut(**row) for row in rows if row["cause"] in get_args(Cause)]


class ShardFile:
    """An open shard. ShardError if it is not a shard, cut off or damaged. It is read on the
    caller's thread: an Arrow thread that holds a Python file at exit aborts the process."""

    def __init__(self, file: Any, where: str) -> None:
        self._where = where
        with self._reading():
            parquet = require("pyarrow.parquet", "embed")
            self._parquet = parquet.ParquetFile(
                file, page_checksum_verification=True, pre_buffer=False
            )
            raw = (self._parquet.schema_arrow.metadata or {}).get(_META)
        if raw is None:
            raise ShardError(
                f"{where} is a Parquet file, but not a shard of `mcad-mobile embed`.",
                "Give the folder that `mcad-mobile embed --out` wrote.",
            )
        self.facts = decode(raw, ShardFacts, where, ShardError, _REDO, schema=SCHEMA)

    def stamps(self) -> Iterator[tuple[list[str], NDArray[np.uint32]]]:
        """Keys and stamps [B, 2], without embeddings."""
        with self._reading():
            columns = ["key", "stat_stamp", "content_stamp"]
            for batch in self._parquet.iter_batches(_GROUP, columns=columns, use_threads=False):
                yield batch["key"].to_pylist(), _stamps(batch)

    def batches(self, wanted: set[str] | None = None) -> Iterator[ShardBatch]:
        """Yield all rows, or those of the photos and videos with the keys `wanted`, skipping row
        groups without any."""
        with self._reading():
            for group in range(self._parquet.num_row_groups):
                if wanted is not None:
                    keys = self._parquet.read_row_group(group, ["key"], use_threads=False)
                    if wanted.isdisjoint(
                        file_and_moment(key)[0] for key in keys["key"].to_pylist()
                    ):
                        continue
                for batch in self._parquet.iter_batches(_GROUP, [group], use_threads=False):
                    yield _batch(batch, wanted)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise DamagedShard for the errors of Parquet's reader on broken bytes."""
        arrow = require("pyarrow", "embed")
        try:
            yield
        except (arrow.ArrowException, OSError, KeyError, EOFError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DamagedShard(
                f"{self._where} is half written or damaged: {reason}.", _REDO
            ) from error


def _parquet(table: Any) -> bytes:
    parquet = require("pyarrow.parquet", "embed")
    file = io.BytesIO()
    has_floats = "embedding" in table.schema.names
    parquet.write_table(
        table,
        file,
        row_group_size=_GROUP,
        compression="zstd",
        # Floats compress only if their bytes are grouped by significance.
        use_byte_stream_split=["embedding.list.element"] if has_floats else False,
        use_dictionary=False,
        write_page_checksum=True,
    )
    return file.getvalue()


def _stamps(batch: Any) -> NDArray[np.uint32]:
    columns = [batch[name].to_numpy() for name in ("stat_stamp", "content_stamp")]
    return np.stack(columns, 1).astype(np.uint32, copy=False)


def _batch(batch: Any, wanted: set[str] | None) -> ShardBatch:
    keys = batch["key"].to_pylist()
    flat = batch["embedding"].flatten().to_numpy(zero_copy_only=False)
    embeddings = flat.reshape(len(keys), -1).astype(np.float32, copy=False)
    stamps = _stamps(batch)
    if wanted is None:
        return ShardBatch(keys, embeddings, stamps)
    rows = [row for row, key in enumerate(keys) if file_and_moment(key)[0] in wanted]
    return ShardBatch([keys[row] for row in rows], embeddings[rows], stamps[rows])
