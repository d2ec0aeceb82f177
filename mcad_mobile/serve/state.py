"""The state of a server and its threads: one for all engines, two that decode photos, two for quick
calls, one that watches files."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mcad_mobile.base import VERSION, machine
from mcad_mobile.base.machine import allowed_cores, lower_priority, process_memory
from mcad_mobile.engine.engine import Channel, SearchEngine
from mcad_mobile.engine.query import Part, PhotoKey
from mcad_mobile.errors import BenchError, MissingExtra, PhotoError, QueryError, Remedy
from mcad_mobile.serve import records
from mcad_mobile.serve.bundles import ServedBundle
from mcad_mobile.serve.indexes import ServedIndex, Snapshot, path_id, path_text
from mcad_mobile.serve.indexing import IndexingJob
from mcad_mobile.serve.photos import MOST_KEPT, UPLOAD_BYTES, Thumbnails, Uploads, photo_state
from mcad_mobile.serve.rankings import PreparedQuery, Searcher

T = TypeVar("T")
DECODERS = 2
_FOLLOW_S, _FOLLOW_INDEXING_S = 1.0, 0.3
_REST_S = 1.5
_LAST_COMMIT_S = 2.5


class State:
    """Bundles and indexes by id, in the order given; each bundle has an index of its student."""

    def __init__(
        self,
        bundles: Sequence[ServedBundle],
        indexes: Sequence[ServedIndex],
        folders: Sequence[Path] = (),
    ) -> None:
        self.bundles = {bundle.id: bundle for bundle in bundles}
        self.indexes = {index.id: index for index in indexes}
        self.folders_to_index = list(folders)
        self.job: IndexingJob | None = None
        self.uploads = Uploads()
        self.thumbnails = Thumbnails()
        self.searcher = Searcher()
        self.engines = ThreadPoolExecutor(1, "engines")
        self.decoders = ThreadPoolExecutor(DECODERS, "decoders", lower_priority)
        self.quick = ThreadPoolExecutor(2, "quick")
        self._files = ThreadPoolExecutor(1, "files")
        self.last_request = time.monotonic()
        self._cpu = machine.name()

    async def run_on(
        self, pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: object
    ) -> T:
        """Return the result of a call on a thread of `pool`."""
        run = functools.partial(call, *arguments)
        return await asyncio.get_running_loop().run_in_executor(pool, run)

    async def follow(self) -> None:
        """Check once a second whether bundles and indexes changed on disk, until cancelled."""
        await self.run_on(self._files, self.thumbnails.prune)
        while True:
            if self.thumbnails.needs_pruning:
                await self.run_on(self._files, self.thumbnails.prune)
            for index in self.indexes.values():
                with _noting(index):
                    await self.run_on(self._files, index.follow)
            for bundle in self.bundles.values():
                with _noting(bundle):
                    found = await self.run_on(self._files, bundle.find_replacement)
                    if found is not None:
                        await self.run_on(self.engines, bundle.change_over, found)
            running = self.job is not None and self.job.running
            await asyncio.sleep(_FOLLOW_INDEXING_S if running else _FOLLOW_S)

    async def make_ahead(self) -> None:
        """Make thumbnails of the newest photos while the server is idle, as many as are kept, until
        cancelled."""
        done: dict[str, Snapshot] = {}
        while self.thumbnails.can_store:
            for index in self.indexes.values():
                snapshot = index.snapshot
                if done.get(index.id) is not snapshot:
                    newest = snapshot.catalog.newest_first[:MOST_KEPT]
                    for path in [snapshot.catalog.paths[row] for row in newest]:
                        await self._rest()
                        await self.run_on(self.decoders, self._make_ahead, path)
                    done[index.id] = snapshot
            await asyncio.sleep(_FOLLOW_S)

    def _make_ahead(self, path: str) -> None:
        tag = photo_state(path)
        if tag is not None and not self.thumbnails.has(path, tag):
            with contextlib.suppress(PhotoError, MissingExtra):
                self.thumbnails.make(path, tag)

    async def _rest(self) -> None:
        """Wait until there was no request for a while and no indexing is running."""
        while True:
            waited = time.monotonic() - self.last_request
            if waited >= _REST_S and (self.job is None or not self.job.running):
                return
            await asyncio.sleep(max(_REST_S - waited, 0.1))

    def close(self) -> None:
        """Wait a little for the last commit of a job, not for photos that are being decoded, and
        remove uploads."""
        if self.job is not None:
            self.job.stop(_LAST_COMMIT_S)
        for pool in (self.engines, self.decoders, self.quick, self._files):
            pool.shutdown(wait=False, cancel_futures=True)
        self.uploads.close()

    def bundle(self, name: str | None) -> ServedBundle:
        """Return the bundle with this id, or the first one for None. QueryError: there is none."""
        if name is None:
            return next(iter(self.bundles.values()))
        return _named(self.bundles, name, "bundle")

    def index(self, name: str) -> ServedIndex:
        return _named(self.indexes, name, "index")

    def indexes_of(self, bundle: ServedBundle) -> list[ServedIndex]:
        """Return the indexes of the bundle's student, whose embeddings are comparable."""
        return [index for index in self.indexes.values() if index.student == bundle.student]

    def prepare_query(
        self,
        side: records.Side,
        parts: Sequence[records.Part],
        wanted: records.Filter,
        exact: bool = False,
        stack: bool = False,
        by: Channel | None = None,
    ) -> PreparedQuery:
        """Prepare a query on the engines' thread, where its engine may have to be loaded."""
        bundle = self.bundle(side.bundle)
        usable = self.indexes_of(bundle)
        if side.index is None:
            index = usable[0]
        else:
            index = self.index(side.index)
            index.snapshot.index.check_student(*bundle.student)
        engine: SearchEngine = bundle.engine(side.rung)
        return PreparedQuery(
            engine=engine,
            snapshot=index.snapshot,
            bundle=bundle.id,
            rung=engine.text_rung.rung.name,
            name=index.id,
            parts=tuple(self._part(part, index) for part in parts),
            filter=wanted,
            exact=exact,
            stack=stack,
            by=by,
        )

    def _part(self, part: records.Part, index: ServedIndex) -> Part:
        if part.text is not None:
            return Part(part.text, part.weight)
        if part.upload is not None:
            return Part(self.uploads.get(part.upload).path, part.weight)
        assert part.photo is not None
        key = self.photo(index, part.photo)
        if not Path(key).is_absolute() and key not in index.snapshot.catalog.row_at:
            raise QueryError(
                f"The index {index.id} has no photo {path_text(key)}, which is no path on this "
                "computer.",
                "Remove it from the query, or search an index that has it.",
            )
        return Part(PhotoKey(key), part.weight)

    def photo(self, index: ServedIndex, name: str) -> str:
        """Return the path of a photo in `index`, or else in any index. QueryError: no index holds
        it."""
        for searched in (index, *self.indexes.values()):
            catalog = searched.snapshot.catalog
            row = catalog.row_of.get(name)
            if row is not None:
                return catalog.paths[row]
        raise QueryError(
            f"No index holds a photo {name!r}.", "Remove it from the query, and search again."
        )

    def start_indexing(self, bundle: ServedBundle, index: ServedIndex) -> IndexingJob:
        """Index the folders that the server was started with. QueryError: there is none, or it is
        under way."""
        if not self.folders_to_index:
            raise QueryError(
                "The server was started without a folder to index.",
                Remedy.INDEX_FOLDER(bundle=bundle.bundle.directory),
            )
        if self.job is not None and self.job.running:
            raise QueryError("Indexing is under way.", "Wait for it, or stop it first.")
        self.job = IndexingJob(bundle, index, self.folders_to_index)
        return self.job

    def status(self) -> records.Status:
        try:
            used = process_memory()
        except BenchError:
            pss = rss = None
        else:
            pss, rss = round(used.pss, 1), round(used.rss, 1)
        return records.Status(
            version=VERSION,
            bundles=list(map(self._bundle_info, self.bundles.values())),
            indexes=list(map(self._index_info, self.indexes.values())),
            machine=records.MachineInfo(self._cpu, allowed_cores(), pss, rss),
            upload_limit_bytes=UPLOAD_BYTES,
            job=None if self.job is None else self.job.info(),
        )

    def folders(self, index: ServedIndex) -> list[records.FolderInfo]:
        return [
            records.FolderInfo(
                id=path_id(folder.path),
                name=path_text(Path(folder.path).name or folder.path),
                path=path_text(folder.path),
                depth=folder.depth,
                photos=len(folder.rows),
            )
            for folder in index.snapshot.catalog.folders.values()
        ]

    def _bundle_info(self, bundle: ServedBundle) -> records.BundleInfo:
        return records.BundleInfo(
            id=bundle.id,
            path=path_text(str(bundle.bundle.directory)),
            target=bundle.bundle.target.id,
            student=bundle.bundle.student.name,
            rungs=bundle.rungs(),
            indexes=[index.id for index in self.indexes_of(bundle)],
            generation=bundle.generation,
            note=bundle.note,
        )

    def _index_info(self, index: ServedIndex) -> records.IndexInfo:
        snapshot = index.snapshot
        first_day, last_day = snapshot.catalog.days
        return records.IndexInfo(
            id=index.id,
            path=path_text(str(index.directory)),
            photos=len(snapshot.catalog.paths),
            generation=snapshot.index.generation,
            bytes_per_photo=round(snapshot.index.bytes_per_photo, 1),
            filled_by=list(snapshot.index.filled_by),
            first_day=first_day,
            last_day=last_day,
            has_words=snapshot.index.has_words,
            being_written=index.being_written,
            folders_to_index=[path_text(str(folder)) for folder in self.folders_to_index],
            note=index.note,
        )


@contextlib.contextmanager
def _noting(served: ServedIndex | ServedBundle) -> Iterator[None]:
    """Make an unexpected error the note of what is served, so that the rest is followed on."""
    try:
        yield
    except Exception as error:
        served.note = f"An older state is served. {type(error).__name__}: {error}"


def _named(named: dict[str, T], name: str, kind: str) -> T:
    if name not in named:
        raise QueryError(f"There is no {kind} {name!r} here.", f"There are: {', '.join(named)}.")
    return named[name]
