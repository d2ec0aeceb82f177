"""Make a phone's index from shards, without embedding anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mcad_mobile.base.documents import read_text
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.embed.job import (
    ShardRecord,
    ShardsManifest,
    check_student,
    open_shard,
    read_inventory,
    read_manifest,
)
from mcad_mobile.embed.shard import ShardBatch
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.moments import file_and_moment, is_first
from mcad_mobile.engine.photos.folder import Skipped
from mcad_mobile.engine.sync import SyncResult
from mcad_mobile.errors import DataError, ShardError


class Shards:
    """The shards at an address. ShardError if there are none, or one is damaged or gone."""

    def __init__(self, address: str) -> None:
        self.store = Store(address)
        manifest = read_manifest(self.store)
        if manifest is None:
            raise ShardError(
                f"Neither an index nor shards at {address}: no manifest.json.",
                "Check the path, or make shards: mcad-mobile embed SOURCE --bundle BUNDLE "
                "--out SHARDS.",
            )
        self.manifest: ShardsManifest = manifest
        shards: tuple[ShardRecord, ...] = read_inventory(self.store, manifest).shards
        self._shards = sorted(shards, key=lambda record: record.file)  # by run

    def check_student(self, bundle: Bundle) -> None:
        """Raise ShardError unless the shards are of the bundle's student."""
        student = bundle.student
        check_student(self.store, self.manifest, student.name, student.image_sha256, bundle.dim)

    @property
    def filled_by(self) -> list[str]:
        return sorted({shard.filled_by for shard in self._shards if shard.photos})

    def count_rows(self, wanted: set[str] | None = None) -> Counter[str]:
        """Count the rows of each photo and moment, or those of the files with keys `wanted`."""
        rows: Counter[str] = Counter()
        for record in self._shards:
            with open_shard(self.store, record.file) as shard:
                for keys, _ in shard.stamps():
                    rows.update(
                        key for key in keys if wanted is None or file_and_moment(key)[0] in wanted
                    )
        return rows

    def batches(self, wanted: set[str] | None = None) -> Iterator[ShardBatch]:
        """Yield all photos, or those with the keys `wanted`; a photo's last row counts."""
        for record in self._shards:
            with open_shard(self.store, record.file) as shard:
                yield from shard.batches(wanted)


def index_shards(
    shards: Shards,
    index: PhotoIndex,
    wanted: set[str] | None = None,
    progress: Progress = silent,
) -> SyncResult:
    """Add the photos of `shards`, or those with the keys `wanted`, whose bytes the index does not
    hold, in one commit; the others keep their dates. PhotoIndexError, before any change, if it
    cannot."""
    index.check_student(shards.manifest.student_sha256, shards.manifest.dim)
    result, rows_left = SyncResult(), shards.count_rows(wanted)
    missing = (wanted or set()) - {file_and_moment(key)[0] for key in rows_left}
    result.skipped = [Skipped(key, "No shard has it.") for key in sorted(missing)]
    with index.exclusive(), index.writer() as writer:
        membership, again = index.membership(), set[str]()
        for batch in shards.batches(wanted):
            fresh, changed = [], []
            for row, known in enumerate(membership.find(batch.keys)):
                key = batch.keys[row]
                rows_left[key] -= 1
                if rows_left[key]:  # a later row counts
                    again.add(key)
                    continue
                if known is None:
                    result.added += 1
                elif known.stamp[1] == batch.stamps[row, 1]:
                    result.unchanged += 1
                    continue
                else:
                    result.changed += 1
                fresh.append(row)
                if is_first(key.encode()) and (known or key in again):
                    changed.append(file_and_moment(key)[0])
            writer.delete(changed)  # they may have had other moments
            writer.add(
                [batch.keys[row] for row in fresh], batch.embeddings[fresh], batch.stamps[fresh]
            )
            done = result.added + result.changed + result.unchanged
            progress("photos", done, len(rows_left))
        for filler in shards.filled_by:
            writer.record_filler(filler)
    return result


def read_selection(path: Path) -> set[str]:
    """Read keys, one per line. DataError if the file cannot be read or has no key."""
    hint = "Give UTF-8 text, a key a line."
    keys = set(read_text(path, DataError, hint).split("\n")) - {""}
    if not keys:
        raise DataError(f"The selection {path} holds no key.", hint)
    return keys
