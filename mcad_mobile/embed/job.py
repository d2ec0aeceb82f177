"""A job and what is done of it: manifest.json beside the shards, which say the same themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.documents import Bytes, Count, Record, Sha256, Size, Word, decode
from mcad_mobile.embed.shard import LeftOut
from mcad_mobile.embed.store import Store
from mcad_mobile.embed.table import DamagedShard, ShardFacts, ShardFile, read_left_out
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers.ladder import rungs_of
from mcad_mobile.errors import ShardError

SCHEMA = "mcad-embed/1"
MANIFEST = "manifest.json"
SHARDS, LEFT_OUT = "shards", "left-out"
_NAME = re.compile(r"(\d{6})-([0-9a-f]{16})\.parquet")
_ELSEWHERE = "Give another --out, or the bundle that these shards were made with."


class Done(Record, frozen=True):
    """A shard that is there: its file in shards/, and its counts of photos."""

    file: Word
    piece: Word
    bytes: Bytes
    photos: Count
    left_out: Count
    unread: Count
    filled_by: Word

    @staticmethod
    def of(file: str, size: int, facts: ShardFacts) -> Done:
        return Done(
            file, facts.piece, size, facts.photos, facts.left_out, facts.unread, facts.filled_by
        )


class Manifest(Record, frozen=True):
    """`job` is a fingerprint of all that decides an embedding: shards of one folder share it.
    Embeddings have `dim` numbers of `dtype`; `runtime` and `precision` name the rung. Files of
    many photos are cut by `photos_a_shard`, as the first run did. `photos` counts rows."""

    schema: str
    job: Word
    student: str
    student_sha256: Sha256
    dim: Size
    dtype: Word
    runtime: Word
    precision: Word
    photos_a_shard: Size
    photos: Count = 0
    left_out: Count = 0
    shards: tuple[Done, ...] = ()

    def with_shards(self, shards: Iterable[Done]) -> Manifest:
        ordered = tuple(sorted(shards, key=lambda one: one.file))
        return replace(
            self,
            shards=ordered,
            photos=sum(one.photos for one in ordered),
            left_out=sum(one.left_out for one in ordered),
        )


def job_of(bundle: Bundle, runtime: str, precision: str, photos_a_shard: int) -> Manifest:
    """The job of a bundle's student by one rung of its image tower. RuntimeUnavailable if it has
    none of that runtime."""
    rung = rungs_of(bundle, "image", runtime, precision)[0]
    decides = (
        SCHEMA,
        bundle.student.sha256,
        bundle.dim,
        bundle.preprocess,
        rung.runtime,
        rung.precision,
        tuple(file.sha256 for file in rung.files),
    )
    return Manifest(
        schema=SCHEMA,
        job=hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16],
        student=bundle.student.name,
        student_sha256=bundle.student.sha256,
        dim=bundle.dim,
        dtype="float32",
        runtime=rung.runtime,
        precision=rung.precision,
        photos_a_shard=photos_a_shard,
    )


def read_manifest(store: Store) -> Manifest | None:
    """What a folder of shards says of itself; None where there is none. ShardError for another
    schema or damage."""
    raw = store.read(MANIFEST)
    if raw is None:
        return None
    hint = f"Remove {MANIFEST}: the shards say the same, and it is written anew."
    return decode(raw, Manifest, f"{store}/{MANIFEST}", ShardError, hint, schema=SCHEMA)


def claim(store: Store, job: Manifest) -> Manifest:
    """Begin a job in a folder, or go on with it. ShardError if the folder has another student's
    shards, or this one's by another rung."""
    found = read_manifest(store)
    if found is None and store.create(MANIFEST, _encoded(job)):
        return job
    found = found or read_manifest(store) or job
    if (found.student_sha256, found.dim) != (job.student_sha256, job.dim):
        raise ShardError(
            f"{store} holds shards of student {found.student} (sha256 {found.student_sha256}, "
            f"{found.dim} dimensions); this bundle's is {job.student} (sha256 "
            f"{job.student_sha256}, {job.dim}), so their embeddings can't be compared.",
            _ELSEWHERE,
        )
    if found.job != job.job:
        raise ShardError(
            f"{store} holds shards of job {found.job}, by {found.runtime} {found.precision}; this "
            f"is job {job.job}, by {job.runtime} {job.precision}: another export of the student.",
            _ELSEWHERE,
        )
    return found


def write_manifest(store: Store, manifest: Manifest) -> None:
    store.write(MANIFEST, _encoded(manifest))


def _encoded(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


@dataclass(frozen=True)
class Stock:
    """What lies in a folder of shards. `run` is the number of the next run: names of its files
    come after those of earlier ones."""

    shards: tuple[Done, ...]
    run: int

    @property
    def pieces(self) -> frozenset[str]:
        """Pieces of which nothing is missing."""
        return frozenset(one.piece for one in self.shards if not one.unread)


def file_name(run: int, piece: str) -> str:
    return f"{run:06d}-{piece}.parquet"


def take_stock(store: Store, manifest: Manifest) -> Stock:
    """Look what is there: shards that the manifest knows by their size, others by their footer.
    ShardError for one that is half written, of another job, or named by the manifest and gone."""
    stock, damaged = _looked(store, manifest)
    if damaged:
        raise damaged[0][1]
    gone = {one.file for one in manifest.shards} - {one.file for one in stock.shards}
    if gone:
        raise ShardError(
            f"{store}/{MANIFEST} names {min(gone)}, and it is gone.",
            "Run `mcad-mobile embed` again: it makes what is missing.",
        )
    return stock


def repaired_stock(store: Store, manifest: Manifest, warn: Callable[[str], None]) -> Stock:
    """As take_stock, for who makes what is missing: what writers that were killed left, and shards
    that are half written, are removed, and `warn` hears of those."""
    for folder in (SHARDS, LEFT_OUT):
        store.clear_partials(folder)
    stock, damaged = _looked(store, manifest)
    for name, error in damaged:
        warn(f"{error.message} It is made again.")
        store.remove(f"{SHARDS}/{name}")
    return stock


def _looked(store: Store, manifest: Manifest) -> tuple[Stock, list[tuple[str, ShardError]]]:
    known = {one.file: one for one in manifest.shards}
    found: list[Done] = []
    damaged: list[tuple[str, ShardError]] = []
    run = 0
    for name, size in store.sizes(SHARDS).items():
        if (match := _NAME.fullmatch(name)) is None:
            continue
        run = max(run, int(match[1]))
        one = known.get(name)
        if one is not None and one.bytes == size:
            found.append(one)
            continue
        try:
            with open_shard(store, name) as shard:
                facts = shard.facts
        except DamagedShard as error:
            damaged.append((name, error))
            continue
        if facts.job != manifest.job:
            raise ShardError(
                f"{store}/{SHARDS}/{name} is of job {facts.job}, by student {facts.student}, and "
                f"not of {manifest.job}.",
                _ELSEWHERE,
            )
        found.append(Done.of(name, size, facts))
    return Stock(tuple(found), run + 1), damaged


class _Opened:
    def __init__(self, store: Store, name: str) -> None:
        self._file = store.open(f"{SHARDS}/{name}")
        self._where = f"{store}/{SHARDS}/{name}"

    def __enter__(self) -> ShardFile:
        return ShardFile(self._file, self._where)

    def __exit__(self, *error: object) -> None:
        self._file.close()


def open_shard(store: Store, name: str) -> _Opened:
    """A shard's file, for the length of a `with` block."""
    return _Opened(store, name)


def left_out_of(store: Store, shards: Iterable[Done]) -> Iterator[LeftOut]:
    """The photos that have no row, of all `shards`."""
    for one in shards:
        if one.left_out and (data := store.read(f"{LEFT_OUT}/{one.file}")) is not None:
            yield from read_left_out(data)


class Known:
    """Which photos are done, and as what: 12 bytes each, however long their names are."""

    def __init__(self, store: Store, shards: Iterable[Done]) -> None:
        hashes: list[NDArray[np.uint64]] = []
        stamps: list[NDArray[np.uint32]] = []
        for one in shards:
            with open_shard(store, one.file) as shard:
                for keys, some in shard.stamps():
                    hashes.append(_hashes(keys))
                    stamps.append(some[:, 0])
            # Who could not be read is asked again; who does not decode, only when it has changed.
            left = [photo for photo in left_out_of(store, [one]) if photo.cause != "read"]
            hashes.append(_hashes([photo.key for photo in left]))
            stamps.append(np.array([photo.stamp for photo in left], np.uint32))
        every = np.concatenate([*hashes, np.empty(0, np.uint64)])
        # Of a photo that was embedded again, the last.
        self._hashes, last = np.unique(every[::-1], return_index=True)
        self._stamps = np.concatenate([*stamps, np.empty(0, np.uint32)])[::-1][last]

    def has(self, keys: list[str], stamps: list[int]) -> NDArray[np.bool_]:
        """Whether each photo is done as it is now; as it was, where its stamp is 0."""
        if not len(self._hashes):
            return np.zeros(len(keys), np.bool_)
        asked = _hashes(keys)
        at = np.minimum(np.searchsorted(self._hashes, asked), len(self._hashes) - 1)
        now = np.array(stamps, np.uint32)
        same = (now == 0) | (self._stamps[at] == now) | (self._stamps[at] == 0)
        found: NDArray[np.bool_] = (self._hashes[at] == asked) & same
        return found


def _hashes(keys: list[str]) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(digests, np.uint64)
