"""The served bundles: one search engine per rung, loaded at its first use."""

from __future__ import annotations

from collections.abc import Callable

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.towers import runtime_of, why_not
from mcad_mobile.errors import McadError, QueryError
from mcad_mobile.serve.photos import FolderState, file_state, folder_state
from mcad_mobile.serve.records import RungInfo


class ServedBundle:
    """A bundle with its text tower for `language`, and the engines of its rungs.

    Call `engine` and `change_over` on one thread; `find_replacement` may be called on another.
    `note` says why an older state of the bundle is served, if it is.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        *,
        language: str | None = None,
        threads: int = 1,
        runtime: str | None = None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.id = name
        self.bundle, self._language = bundle.for_language(language), language
        self.note: str | None = None
        self._refused: str | None = None
        self._tried: FolderState | None = None
        self.best: str | None = None
        self.generation = 1
        self._runtime, self._threads, self._warn = runtime, threads, warn
        self._engines: dict[str, SearchEngine] = {}
        self._loaded_state = file_state(bundle.directory / MANIFEST)

    @property
    def student(self) -> tuple[str, int]:
        """The student and the width of the indexes that the bundle can search."""
        return self.bundle.student.image_sha256, self.bundle.dim

    def engine(self, rung: str | None = None) -> SearchEngine:
        """Return the engine of the text tower's `rung` ("onnx int8"), with that rung in memory.

        Without `rung`, it is the best rung that runs here. The image tower uses the rung of the
        same name if it has one, else the best of its runtime.

        Raises:
            QueryError: There is no such rung.
            RuntimeUnavailable, MissingExtra: The rung does not run here.
        """
        if rung is None and self.best is None:
            engine = self._load(self._runtime, None)
            self.best = engine.text_rung.rung.name
            self._engines.setdefault(self.best, engine)
        name = rung or self.best or ""
        if name not in self._engines:
            offered = {rung.name: rung for rung in self.bundle.text.rungs}
            if name not in offered:
                raise QueryError(
                    f"The bundle {self.id} has no text tower {name!r}.",
                    "Reload the page, or see /api/status for those it has.",
                )
            self._engines[name] = self._load(offered[name].runtime, offered[name].precision)
        return self._engines[name]

    def indexing_engine(self) -> SearchEngine:
        """Return an engine of its own for an indexing run. It leaves a core for searches."""
        return SearchEngine(
            self.bundle,
            runtime=self._runtime,
            threads=max(allowed_cores() - 1, 1),
            fastest=True,
            warn=self._warn,
        )

    def _load(self, runtime: str | None, precision: str | None) -> SearchEngine:
        """Return an engine that holds in memory what a text query needs."""
        engine = SearchEngine(
            self.bundle,
            runtime=runtime,
            precision=precision,
            threads=self._threads,
            warn=self._warn,
        )
        _ = engine.text_rung, engine.typical_photos, engine.tokenizer, engine.token_table
        return engine

    def rungs(self) -> list[RungInfo]:
        """The text tower's rungs, best first."""
        return [
            RungInfo(
                rung.name,
                best=rung.name == self.best,
                simulated=runtime_of(rung).simulated,
                why=None if runtime_of(rung).simulated else why_not(rung),
            )
            for rung in self.bundle.text.rungs
        ]

    def find_replacement(self) -> Bundle | None:
        """Return the bundle that has replaced this one on disk, or None. If the new one cannot be
        served, `note` says why, and it is read again after its files have changed."""
        state = file_state(self.bundle.directory / MANIFEST)
        if state == self._loaded_state:
            self.note, self._tried = self._refused, None
            return None
        files = folder_state(self.bundle.directory)
        if files == self._tried:
            return None
        self._tried = files
        try:
            found = Bundle.load(self.bundle.directory).for_language(self._language)
        except McadError as error:
            self.note = _still_served(error)
            return None
        if (found.student.image_sha256, found.dim) != self.student:
            self.note = (
                "The bundle on disk was replaced by one of another student, "
                f"{found.student.name}. The old one is still served. To use the new one, index "
                "your photos with it and restart the server."
            )
            return None
        self._loaded_state, self.note = state, None
        return found

    def change_over(self, bundle: Bundle) -> None:
        """Serve `bundle` from now on, and load its towers. If they do not load, keep the old one;
        `note` says why until the bundle is replaced again."""
        old = self.bundle, self._engines, self.best
        self.bundle, self._engines, self.best, self._refused = bundle, {}, None, None
        try:
            self.engine()
        except Exception as error:  # an unexpected one, too
            self.bundle, self._engines, self.best = old
            self.note = self._refused = _still_served(error)
        else:
            self.generation += 1


def _still_served(error: Exception) -> str:
    why = error.message if isinstance(error, McadError) else f"{type(error).__name__}: {error}."
    return (
        f"The bundle on disk changed and cannot be loaded: {why} The one loaded before "
        "is still served."
    )
