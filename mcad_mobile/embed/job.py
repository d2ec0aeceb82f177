"""A job and its state: manifest.json, and the shards, whose footers hold the same facts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.documents import Bytes, Count, Record, Sha256, Size, Word, decode
from mcad_mobile.base.files import remove_partials
from mcad_mobile.embed.pieces import PhotoList, Piece, name_of
from mcad_mobile.embed.shard import DamagedShard, LeftOut, ShardFacts, ShardFile, read_left_out
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.index.moments import file_and_moment
from mcad_mobile.engine.towers.ladder import rungs_of
from mcad_mobile.errors import ShardError

SCHEMA = "mcad-embed/1"
MANIFEST = "manifest.json"
SHARDS, LEFT_OUT = "shards", "left-out"
_NAME = re.compile(r"(\d{6})-([0-9a-f]{16})\.parquet")
_ELSEWHERE = "Give another folder of shards, or the bundle that these were made with."


class ShardRecord(Record, frozen=True):
    """A shard in the store: its file in shards/, and its counts of photos (ShardFacts)."""

    file: Word
    piece: Word
    bytes: Bytes
    photos: Count
    left_out: Count
    unread: Count
    filled_by: Word

    @staticmethod
    def of(file: str, size: int, facts: ShardFacts) -> ShardRecord:
        return ShardRecord(
            file, facts.piece, size, facts.photos, facts.left_out, facts.unread, facts.filled_by
        )


class ShardsManifest(Record, frozen=True):
    """The job of a folder of shards. `job` is a fingerprint of everything that decides an
    embedding; `photos_a_shard` is how the first run divides files of many photos. `photos` and
    `left_out` count a photo in each shard that lists it."""

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
    shards: tuple[ShardRecord, ...] = ()

    def with_shards(self, shards: Iterable[ShardRecord]) -> ShardsManifest:
        ordered = tuple(sorted(shards, key=lambda shard: shard.file))
        return replace(
            self,
            shards=ordered,
            photos=sum(shard.photos for shard in ordered),
            left_out=sum(shard.left_out for shard in ordered),
        )


def job_of(bundle: Bundle, runtime: str, precision: str, photos_a_shard: int) -> ShardsManifest:
    """The job of embedding with a rung of a bundle's image tower. RuntimeUnavailable."""
    rung = rungs_of(bundle, "image", runtime, precision)[0]
    identity = (
        SCHEMA,
        bundle.student.image_sha256,
        bundle.dim,
        bundle.preprocess,
        rung.runtime,
        rung.precision,
        tuple(file.sha256 for file in rung.files),
    )
    return ShardsManifest(
        schema=SCHEMA,
        job=hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:16],
        student=bundle.student.name,
        student_sha256=bundle.student.image_sha256,
        dim=bundle.dim,
        dtype="float32",
        runtime=rung.runtime,
        precision=rung.precision,
        photos_a_shard=photos_a_shard,
    )


def read_manifest(store: Store) -> ShardsManifest | None:
    """Read the manifest of a folder of shards; None if there is none. ShardError."""
    raw = store.read(MANIFEST)
    if raw is None:
        return None
    hint = f"Remove {MANIFEST}: the shards say the same, and it is written anew."
    return decode(raw, ShardsManifest, f"{store}/{MANIFEST}", ShardError, hint, schema=SCHEMA)


def claim_folder(store: Store, job: ShardsManifest) -> ShardsManifest:
    """Begin a job in a folder, or continue it. ShardError if it has shards of another job."""
    found = read_manifest(store)
    if found is None and store.create(MANIFEST, _encoded(job)):
        return job
    found = found or read_manifest(store) or job
    check_student(store, found, job.student, job.student_sha256, job.dim)
    if found.job != job.job:
        raise ShardError(
            f"{store} holds shards of job {found.job}, by {found.runtime} {found.precision}; this "
            f"is job {job.job}, by {job.runtime} {job.precision}: another export of the student.",
            _ELSEWHERE,
        )
    return found


def check_student(store: Store, shards: ShardsManifest, name: str, sha256: str, dim: int) -> None:
    """Raise ShardError, naming both students, unless the shards are of this student."""
    if (shards.student_sha256, shards.dim) != (sha256, dim):
        raise ShardError(
            f"{store} holds shards of student {shards.student} (sha256 {shards.student_sha256}, "
            f"{shards.dim} dimensions); this bundle's is {name} (sha256 {sha256}, {dim}), so their "
            "embeddings can't be compared.",
            _ELSEWHERE,
        )


def write_manifest(store: Store, manifest: ShardsManifest) -> None:
    store.write(MANIFEST, _encoded(manifest))


def _encoded(manifest: ShardsManifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


@dataclass(frozen=True)
class Inventory:
    """The shards in a folder, and the number of the next run, whose files sort after them."""

    shards: tuple[ShardRecord, ...]
    run: int

    def rest_of(self, piece: Piece) -> Piece | None:
        """Return what is to embed of a piece: all of it, the photos that earlier runs could not
        read, or None. A list stays as it is: it holds only photos that are not known."""
        if isinstance(piece, PhotoList):
            return piece
        while (shard := self._by_piece.get(name_of(piece))) is not None:
            if not shard.unread:
                return None
            if shard.unread == shard.photos + shard.left_out:  # no photo of it is done
                return piece
            piece = replace(piece, done=(*piece.done, shard.file))
        return piece

    @cached_property
    def _by_piece(self) -> dict[str, ShardRecord]:
        return {shard.piece: shard for shard in self.shards}


def file_name(run: int, piece: str) -> str:
    return f"{run:06d}-{piece}.parquet"


def read_inventory(store: Store, manifest: ShardsManifest) -> Inventory:
    """List the shards in a folder: those in the manifest by their size, others by their footer.
    ShardError if one is half written, of another job, or gone."""
    inventory, damaged = _list_shards(store, manifest)
    if damaged:
        raise damaged[0][1]
    gone = {shard.file for shard in manifest.shards} - {shard.file for shard in inventory.shards}
    if gone:
        raise ShardError(
            f"{store}/{MANIFEST} names {min(gone)}, and it is gone.",
            "Run `mcad-mobile embed` again: it makes what is missing.",
        )
    return inventory


def repair_inventory(
    store: Store, manifest: ShardsManifest, warn: Callable[[str], None]
) -> Inventory:
    """As read_inventory, but remove damaged shards, with a warning, and unfinished files."""
    if store.folder is not None:
        for folder in (SHARDS, LEFT_OUT):
            remove_partials(store.folder / folder)
    inventory, damaged = _list_shards(store, manifest)
    for name, error in damaged:
        warn(f"{error.message} It is made again.")
        store.remove(f"{SHARDS}/{name}")
    return inventory


def _list_shards(
    store: Store, manifest: ShardsManifest
) -> tuple[Inventory, list[tuple[str, ShardError]]]:
    known = {shard.file: shard for shard in manifest.shards}
    found: list[ShardRecord] = []
    damaged: list[tuple[str, ShardError]] = []
    run = 0
    for name, size in store.sizes(SHARDS).items():
        if (match := _NAME.fullmatch(name)) is None:
            continue
        run = max(run, int(match[1]))
        record = known.get(name)
        if record is not None and record.bytes == size:
            found.append(record)
            continue
        try:
            with open_shard(store, name) as shard:
                facts = shard.facts
        except DamagedShard as error:
            damaged.append((name, error))
            continue
        if facts.job != manifest.job:
            raise ShardError(
                f"{store}/{SHARDS}/{name} belongs to job {facts.job} of student {facts.student}, "
                f"not to job {manifest.job}.",
                _ELSEWHERE,
            )
        found.append(ShardRecord.of(name, size, facts))
    return Inventory(tuple(found), run + 1), damaged


@contextmanager
def open_shard(store: Store, name: str) -> Iterator[ShardFile]:
    path = f"{SHARDS}/{name}"
    with store.open(path) as file:
        yield ShardFile(file, f"{store}/{path}")


def left_out_of(store: Store, shards: Iterable[ShardRecord]) -> Iterator[LeftOut]:
    for shard in shards:
        if shard.left_out:
            yield from _left_out_in(store, shard.file)


def _left_out_in(store: Store, file: str) -> list[LeftOut]:
    data = store.read(f"{LEFT_OUT}/{file}")
    return [] if data is None else read_left_out(data)


def done_in(store: Store, file: str) -> Iterator[tuple[list[str], NDArray[np.uint32]]]:
    """Yield keys and stat stamps of the photos that a shard holds, and of those that it lacks for
    good. Photos that could not be read are tried again; broken ones only when they change."""
    with open_shard(store, file) as shard:
        for keys, stamps in shard.stamps():
            yield [file_and_moment(key)[0] for key in keys], stamps[:, 0]
    if shard.facts.left_out:
        left = [photo for photo in _left_out_in(store, file) if photo.cause != "read"]
        yield [photo.key for photo in left], np.array([photo.stamp for photo in left], np.uint32)


class KnownPhotos:
    """The photos that are done, and their stamps: 12 bytes each, however long their names are."""

    def __init__(self, store: Store, shards: Iterable[ShardRecord]) -> None:
        hashes: list[NDArray[np.uint64]] = []
        stamps: list[NDArray[np.uint32]] = []
        for record in shards:
            for keys, of_keys in done_in(store, record.file):
                hashes.append(_hashes(keys))
                stamps.append(of_keys)
        every = np.concatenate([*hashes, np.empty(0, np.uint64)])
        # Of a photo that was embedded twice, the last stamp counts.
        self._hashes, last = np.unique(every[::-1], return_index=True)
        self._stamps = np.concatenate([*stamps, np.empty(0, np.uint32)])[::-1][last]

    def has(self, keys: list[str], stamps: list[int]) -> NDArray[np.bool_]:
        """Whether each photo is done with its present stamp; 0 stands for any stamp."""
        if not len(self._hashes):
            return np.zeros(len(keys), np.bool_)
        wanted = _hashes(keys)
        at = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        now = np.array(stamps, np.uint32)
        same = (now == 0) | (self._stamps[at] == now) | (self._stamps[at] == 0)
        found: NDArray[np.bool_] = (self._hashes[at] == wanted) & same
        return found


def _hashes(keys: list[str]) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(digests, np.uint64)
