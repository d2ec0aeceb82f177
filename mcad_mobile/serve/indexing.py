"""Indexing while the page is open: sync_folder on its own thread, which can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mcad_mobile.base.machine import lower_priority
from mcad_mobile.base.progress import Progress
from mcad_mobile.engine.engine import open_index
from mcad_mobile.engine.sync import SyncResult, sync_folder
from mcad_mobile.errors import McadError
from mcad_mobile.serve.bundles import ServedBundle
from mcad_mobile.serve.indexes import ServedIndex, path_text
from mcad_mobile.serve.records import JobInfo
from mcad_mobile.serve.wording import hint_of

_MOST_SKIPPED = 50  # names on the page


class _Stopped(Exception):
    """Raised inside sync_folder, which commits its photos and re-raises it."""


# Brings an index up to date with a folder.
Sync = Callable[[ServedBundle, ServedIndex, Path, Progress], SyncResult]


def sync_served(
    bundle: ServedBundle, index: ServedIndex, folder: Path, progress: Progress
) -> SyncResult:
    """Index one folder with its own engine and its own view of the index, so that searches
    continue."""
    engine = bundle.indexing_engine()
    view = open_index(bundle.bundle, index.directory)
    return sync_folder(engine, view, folder, progress, early_commits=True)


class IndexingJob:
    """One run over folders, for one index. A stopped run keeps the photos that it has embedded."""

    def __init__(
        self,
        bundle: ServedBundle,
        index: ServedIndex,
        folders: Sequence[Path],
        *,
        sync: Sync = sync_served,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle, self._index, self._folders = bundle, index, folders
        self._sync, self._clock = sync, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="indexing", daemon=True)
        self._state, self._message = "running", ""
        self._folder = folders[0]
        self._done = self._total = self._first = 0
        self._since = clock()
        self._skipped: list[str] = []
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self, wait_s: float = 0.0) -> None:
        """Stop the run, and wait at most `wait_s` seconds for its last commit."""
        self._stop.set()
        self._thread.join(wait_s)

    def info(self) -> JobInfo:
        took = self._clock() - self._since
        rate = (self._done - self._first) / took if took > 0 else 0.0
        known = self._state == "running" and rate > 0 and took > 1
        return JobInfo(
            state=self._state,
            index=self._index.id,
            folder=path_text(str(self._folder)),
            done=self._done,
            total=self._total,
            photos_per_s=round(rate, 1),
            left_s=round((self._total - self._done) / rate, 1) if known else None,
            message=self._message,
            skipped=self._skipped[:_MOST_SKIPPED],
        )

    def _run(self) -> None:
        lower_priority()
        summaries, failures = [], []
        try:
            for folder in self._folders:
                try:
                    summaries.append(self._index_folder(folder))
                except McadError as error:
                    hint = hint_of(error, [self._bundle.bundle.directory])
                    failures.append(f"{error.message} {hint}".strip())
        except _Stopped:
            self._state, self._message = "stopped", "Stopped. What was embedded so far is kept."
        except Exception as error:  # shown on the page; the server goes on
            self._state, self._message = "failed", f"{type(error).__name__}: {error}"
        else:
            self._state = "failed" if failures else "done"
            self._message = " ".join([*dict.fromkeys(failures), "; ".join(summaries)]).strip()

    def _index_folder(self, folder: Path) -> str:
        self._folder = folder
        self._done = self._total = 0
        found = self._sync(self._bundle, self._index, folder, self._progress())
        self._skipped += [
            path_text(photo.why if photo.path in photo.why else f"{photo.path}: {photo.why}")
            for photo in found.skipped
        ]
        counts = {
            "new": found.added,
            "changed": found.changed,
            "moved": found.moved,
            "gone": found.removed,
            "not readable": len(found.skipped),
            "kept of folders that are gone or empty": found.kept,
        }
        changes = ", ".join(f"{number:,} {kind}" for kind, number in counts.items() if number)
        return f"{path_text(folder.name)}: {changes or 'nothing new'}"

    def _progress(self) -> Progress:
        begun = False

        def progress(step: str, done: int = 0, total: int = 0, /) -> None:
            nonlocal begun
            if total and not begun:  # photos that were indexed before took no time
                begun, self._first, self._since = True, done, self._clock()
            if total:  # not while the folder is read
                self._done, self._total = done, total
            if self._stop.is_set():
                raise _Stopped

        return progress
