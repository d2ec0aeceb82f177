"""What a server holds, and the threads on which it works: one for all engines, two that decode
photos, two for what is quick, one that looks whether files changed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mcad_mobile.base import machine
from mcad_mobile.base.machine import allowed_cores, step_back
from mcad_mobile.base.memory import process_memory
from mcad_mobile.base.package import VERSION
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.query import Part
from mcad_mobile.errors import BenchError, McadError, MissingExtra, PhotoError, QueryError
from mcad_mobile.serve import records
from mcad_mobile.serve.bundles import ServedBundle
from mcad_mobile.serve.catalog import path_id, shown
from mcad_mobile.serve.indexes import ServedIndex, Snapshot
from mcad_mobile.serve.indexing import Indexing
from mcad_mobile.serve.photos import MOST_KEPT, UPLOAD_BYTES, Thumbnails, Uploads, state_of
from mcad_mobile.serve.search import Asked, Searcher

T = TypeVar("T")
DECODERS = 2
_FOLLOW_S = 1.0
_REST_S = 1.5
_LAST_COMMIT_S = 30.0


class State:
    """Bundles and indexes by id, in the order given; each bundle has an index of its student."""

    def __init__(
        self,
        bundles: Sequence[ServedBundle],
        indexes: Sequence[ServedIndex],
        folders: Sequence[Path] = (),
    ) -> None:
        self.bundles = {one.id: one for one in bundles}
        self.indexes = {one.id: one for one in indexes}
        self.indexing = Indexing(folders)
        self.uploads = Uploads()
        self.thumbnails = Thumbnails()
        self.searcher = Searcher()
        self.engines = ThreadPoolExecutor(1, "engines")
        self.decoders = ThreadPoolExecutor(DECODERS, "decoders", step_back)
        self.quick = ThreadPoolExecutor(2, "quick")
        self._files = ThreadPoolExecutor(1, "files")
        self.last_request = time.monotonic()
        self._cpu = machine.name()

    async def on(self, pool: ThreadPoolExecutor, call: Callable[..., T], *given: object) -> T:
        """The result of a call on a thread of `pool`."""
        run = functools.partial(call, *given)
        return await asyncio.get_running_loop().run_in_executor(pool, run)

    async def follow(self) -> None:
        """Look at the files, once a second, until cancelled."""
        await self.on(self._files, self.thumbnails.prune)
        while True:
            if self.thumbnails.grown:
                await self.on(self._files, self.thumbnails.prune)
            more = False
            for index in self.indexes.values():
                more |= await self.on(self._files, index.follow)
            for bundle in self.bundles.values():
                found = await self.on(self._files, bundle.replaced)
                if found is not None:
                    try:
                        await self.on(self.engines, bundle.change_over, found)
                    except McadError as error:
                        bundle.note = f"The one that was loaded is served still. {error.message}"
            await asyncio.sleep(0 if more else _FOLLOW_S)

    async def make_ahead(self) -> None:
        """Thumbnails of the newest photos, as many as are kept, while nobody asks for anything,
        until cancelled."""
        done: dict[str, Snapshot] = {}
        while self.thumbnails.keeps:
            for index in self.indexes.values():
                now = index.now
                if done.get(index.id) is not now:
                    newest = now.catalog.newest_first[:MOST_KEPT]
                    for path in [now.catalog.paths[row] for row in newest]:
                        await self._rest()
                        await self.on(self.decoders, self._make_ahead, path)
                    done[index.id] = now
            await asyncio.sleep(_FOLLOW_S)

    def _make_ahead(self, path: str) -> None:
        tag = state_of(path)
        if tag is not None and not self.thumbnails.has(path, tag):
            with contextlib.suppress(PhotoError, MissingExtra):
                self.thumbnails.make(path, tag)

    async def _rest(self) -> None:
        """Until nothing was asked for a while, and nothing is being indexed."""
        while True:
            waited = time.monotonic() - self.last_request
            job = self.indexing.job
            if waited >= _REST_S and (job is None or not job.running):
                return
            await asyncio.sleep(max(_REST_S - waited, 0.1))

    def close(self) -> None:
        """Wait for the last commit of a job, and remove what was uploaded."""
        if self.indexing.job is not None:
            self.indexing.job.stop(_LAST_COMMIT_S)
        for pool in (self.engines, self.decoders, self.quick, self._files):
            pool.shutdown(cancel_futures=True)
        self.uploads.close()

    def bundle(self, name: str | None) -> ServedBundle:
        """The first without a name. QueryError if there is none of that name."""
        if name is None:
            return next(iter(self.bundles.values()))
        return _named(self.bundles, name, "bundle")

    def index(self, name: str) -> ServedIndex:
        return _named(self.indexes, name, "index")

    def indexes_of(self, bundle: ServedBundle) -> list[ServedIndex]:
        """Those of its student, whose embeddings its own can be compared with."""
        return [one for one in self.indexes.values() if one.student == bundle.student]

    def asked(
        self,
        side: records.Side,
        parts: Sequence[records.Part],
        wanted: records.Filter,
        exact: bool = False,
    ) -> Asked:
        """Who is to answer, from an engine's thread: it may have to be loaded."""
        bundle = self.bundle(side.bundle)
        usable = self.indexes_of(bundle)
        if side.index is None:
            index = usable[0]
        else:
            index = self.index(side.index)
            index.now.index.check_student(*bundle.student)
        engine: SearchEngine = bundle.engine(side.rung)
        rung = engine.text_rung.rung
        return Asked(
            engine=engine,
            snapshot=index.now,
            bundle=bundle.id,
            rung=f"{rung.runtime} {rung.precision}",
            name=index.id,
            parts=tuple(self._part(part, index) for part in parts),
            filter=wanted,
            exact=exact,
        )

    def _part(self, part: records.Part, index: ServedIndex) -> Part:
        if part.text is not None:
            return Part(part.text, part.weight)
        if part.upload is not None:
            return Part(self.uploads.get(part.upload).path, part.weight)
        assert part.photo is not None
        return Part(Path(self.photo(index, part.photo)), part.weight)

    def photo(self, index: ServedIndex, name: str) -> str:
        """The path of a photo that `index`, or else any of the indexes, holds. QueryError if none
        does: nothing else has an id."""
        for one in (index, *self.indexes.values()):
            catalog = one.now.catalog
            row = catalog.row_of.get(name)
            if row is not None:
                return catalog.paths[row]
        raise QueryError(f"No index holds a photo {name!r}.", "Ask for one that was found.")

    def status(self) -> records.Status:
        job = self.indexing.job
        return records.Status(
            version=VERSION,
            bundles=[self._bundle_info(one) for one in self.bundles.values()],
            indexes=[self._index_info(one) for one in self.indexes.values()],
            machine=self._machine(),
            upload_limit_bytes=UPLOAD_BYTES,
            job=None if job is None else job.info(),
        )

    def folders(self, index: ServedIndex) -> list[records.FolderInfo]:
        return [
            records.FolderInfo(
                id=path_id(one.path),
                name=shown(Path(one.path).name or one.path),
                path=shown(one.path),
                depth=one.depth,
                photos=len(one.rows),
            )
            for one in index.now.catalog.folders.values()
        ]

    def _bundle_info(self, one: ServedBundle) -> records.BundleInfo:
        return records.BundleInfo(
            id=one.id,
            path=shown(str(one.bundle.directory)),
            target=one.bundle.target.id,
            student=one.bundle.student.name,
            rungs=one.rungs(),
            indexes=[index.id for index in self.indexes_of(one)],
            margin=one.bundle.no_match is not None,
            note=one.note,
        )

    def _index_info(self, one: ServedIndex) -> records.IndexInfo:
        now = one.now
        return records.IndexInfo(
            id=one.id,
            path=shown(str(one.directory)),
            photos=now.index.photos,
            generation=now.generation,
            bytes_per_photo=round(now.index.bytes_per_photo, 1),
            filled_by=list(now.index.filled_by),
            being_written=one.being_written,
            dates_known=one.dates_known,
            folders_to_index=[shown(str(folder)) for folder in self.indexing.folders],
            note=one.note,
        )

    def _machine(self) -> records.MachineInfo:
        try:
            used = process_memory()
        except BenchError:
            pss = rss = None
        else:
            pss, rss = round(used.pss, 1), round(used.rss, 1)
        return records.MachineInfo(self._cpu, allowed_cores(), pss, rss)


def _named(held: dict[str, T], name: str, kind: str) -> T:
    if name not in held:
        raise QueryError(f"There is no {kind} {name!r} here.", f"There are: {', '.join(held)}.")
    return held[name]
