"""Bundles that are served: an engine for each rung, loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.towers import why_not
from mcad_mobile.errors import McadError, QueryError
from mcad_mobile.serve.records import RungInfo


class ServedBundle:
    """What embeds is not made for several threads: `engine`, and whatever is asked of an engine,
    belong to one. `follow` may be called from another."""

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        *,
        threads: int = 1,
        runtime: str | None = None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.id = name
        self.bundle = bundle
        self.note: str | None = None
        self.best: str | None = None
        self._runtime, self._threads, self._warn = runtime, threads, warn
        self._engines: dict[str, SearchEngine] = {}
        self._seen = _state(bundle.directory)

    @property
    def student(self) -> tuple[str, int]:
        return self.bundle.student.sha256, self.bundle.dim

    def engine(self, rung: str | None = None) -> SearchEngine:
        """With the text tower's `rung`, "onnx int8", in memory; without one, the best that runs
        here. The image tower takes the rung of that name if it has one, else its runtime's best.
        QueryError: there is no such rung. RuntimeUnavailable, MissingExtra: it does not run here.
        """
        if rung is None and self.best is None:
            engine = self._load(self._runtime, None)
            self.best = _name(engine)
            self._engines.setdefault(self.best, engine)
        name = rung or self.best or ""
        if name not in self._engines:
            for offered in self.bundle.text.rungs:
                if name == f"{offered.runtime} {offered.precision}":
                    self._engines[name] = self._load(offered.runtime, offered.precision)
                    break
            else:
                raise QueryError(
                    f"The bundle {self.id} has no text tower {name!r}.",
                    "Ask for one that it lists.",
                )
        return self._engines[name]

    def _load(self, runtime: str | None, precision: str | None) -> SearchEngine:
        """With all that a query of words needs in memory."""
        engine = SearchEngine(
            self.bundle,
            runtime=runtime,
            precision=precision,
            threads=self._threads,
            warn=self._warn,
        )
        _ = engine.text_rung, engine.background, engine.tokenizer, engine.token_table
        return engine

    def rungs(self) -> list[RungInfo]:
        """Those of the text tower, best first."""
        return [
            RungInfo(
                name := f"{rung.runtime} {rung.precision}",
                best=name == self.best,
                simulated=rung.runtime == "qnn",
                why=None if rung.runtime == "qnn" else why_not(rung),
            )
            for rung in self.bundle.text.rungs
        ]

    def replaced(self) -> Bundle | None:
        """The bundle that lies there now, if it is another and whole; else None, and `note` says
        what keeps the old one in service."""
        seen = _state(self.bundle.directory)
        if seen == self._seen:
            self.note = None
            return None
        try:
            found = Bundle.load(self.bundle.directory)
        except McadError as error:
            self.note = f"The one that was loaded is served still. {error.message}"
            return None
        if (found.student.sha256, found.dim) != self.student:
            self.note = (
                f"It was replaced by one of another student, {found.student.name}. The old one is "
                "served still: index again with the new one, and start the server anew."
            )
            return None
        self._seen, self.note = seen, None
        return found

    def change_over(self, bundle: Bundle) -> None:
        """Take a bundle that took this one's place, and load its towers anew."""
        old = self.bundle, self._engines, self.best
        self.bundle, self._engines, self.best = bundle, {}, None
        try:
            self.engine()
        except McadError:
            self.bundle, self._engines, self.best = old
            raise


def _name(engine: SearchEngine) -> str:
    rung = engine.text_rung.rung
    return f"{rung.runtime} {rung.precision}"


def _state(directory: Path) -> tuple[int, int, int] | None:
    try:
        found = (directory / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
