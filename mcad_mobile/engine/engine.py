"""SearchEngine: a bundle and an index, from words to photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcad_mobile.base import machine
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.bundle import Bundle, TowerName
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.query import Part, compose, match_threshold
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.engine.text.tokenizer import Tokenizer, Tokens
from mcad_mobile.engine.towers import LoadedRung, LoadedTower, choose_rung, normalize
from mcad_mobile.errors import QueryError

if TYPE_CHECKING:
    from mcad_mobile.engine.photos.preprocess import Preprocess
    from mcad_mobile.engine.sync import Synced


ALL_ROWS = RowFilter()


@dataclass(frozen=True)
class Result:
    """A photo that was found: its path in the index, the cosine of its embedding with the query,
    and whether its file no longer exists (only the command line looks)."""

    path: str
    score: float
    gone: bool = False


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        query: the query as one line.
        results: photos, best first.
        ms: milliseconds by stage: "tokenize", "text", "scan", "rescore" and "total".
        truncated: whether the query was longer than the text tower takes, so that its end was not
            read.
        simulated: whether a simulator ran the text tower, or an emulator plays this processor: the
            milliseconds are of no device.
        threshold: the score from which a photo is a match for these words and not just the nearest
            there is; None for other queries than one text, and for students for which it was not
            measured.
        unknown: words that no tower can have learned, see Tokenizer.unknown_words.
    """

    query: str
    results: list[Result]
    ms: dict[str, float]
    truncated: bool
    simulated: bool = False
    threshold: float | None = None
    unknown: tuple[str, ...] = ()


class SearchEngine:
    """Embeds words and photos with a bundle's towers, and searches an index for them.

    A tower is loaded when it is first needed, and tested before it is used: a rung that gives other
    embeddings on this machine than its file says is left out.

    Args:
        bundle: the bundle whose towers are used.
        runtime: "onnx", "litert" or "qnn" (simulated); None for the best that this machine runs
            natively.
        precision: a precision of that runtime, such as "int8", where the tower has it.
        threads: CPU threads for one text or photo; of a folder, each takes a photo of its own.
        fastest: choose the image tower's rung by time, see choose_rung.
        warn: is called with a sentence about each rung that is left out.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        runtime: str | None = None,
        precision: str | None = None,
        threads: int = 1,
        fastest: bool = False,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.bundle = bundle
        self.runtime, self.precision, self.threads = runtime, precision, threads
        self._fastest, self._warn = fastest, warn

    @property
    def preprocess(self) -> Preprocess:
        return self.bundle.preprocess

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.bundle.tokenizer, self.bundle.path(self.bundle.tokenizer_file))

    @cached_property
    def token_table(self) -> TokenTable:
        table = self.bundle.token_table
        return TokenTable(self.bundle.path(table.file), table.tokens, table.width, table.bits)

    @cached_property
    def text_rung(self) -> LoadedRung:
        return self._load_tower("text", self.threads)

    @cached_property
    def image_rung(self) -> LoadedRung:
        return self._load_tower("image", self.threads, fastest=self._fastest)

    @cached_property
    def folder_rung(self) -> LoadedRung:
        """The image tower for folders, where photos are embedded beside each other, on one thread
        each."""
        if self.threads == 1:
            return self.image_rung
        return self._load_tower("image", 1, fastest=self._fastest)

    def _load_tower(self, tower: TowerName, threads: int, *, fastest: bool = False) -> LoadedRung:
        return choose_rung(
            self.bundle,
            tower,
            runtime=self.runtime,
            precision=self.precision,
            threads=threads,
            fastest=fastest,
            warn=self._warn,
        )

    @property
    def text_tower(self) -> LoadedTower:
        return self.text_rung.tower

    @property
    def image_tower(self) -> LoadedTower:
        return self.image_rung.tower

    def embed_text(self, text: str) -> F32:
        """Embed one text.

        Args:
            text: the words; what the text tower has no room for is cut.

        Returns:
            [dim] float32 of unit length.

        Raises:
            QueryError: it is no text, or empty.
            RuntimeUnavailable: no text tower of the bundle runs on this machine.
        """
        return self._embed_tokens(self.tokenizer(text))

    def embed_photo(self, path: Path | str) -> F32:
        """Embed one photo.

        Args:
            path: a photo file.

        Returns:
            [dim] float32 of unit length.

        Raises:
            PhotoError: it cannot be read or decoded.
            MissingExtra: it is HEIC, and the extra `heic` is not installed.
            RuntimeUnavailable: no image tower of the bundle runs on this machine.
        """
        return self.embed_pixels(self.preprocess(Path(path)))

    def embed_pixels(self, pixels: F32) -> F32:
        """Embed preprocessed pixels [3, S, S] float32; return [dim] float32 of unit length."""
        return np.asarray(normalize(self.image_tower({"pixels": pixels[None]}))[0])

    def _embed_tokens(self, tokens: Tokens) -> F32:
        inputs = {
            "token_rows": self.token_table(tokens.ids)[None],
            "attention_mask": tokens.mask[None],
            "pooling": tokens.pooling[None],
        }
        return np.asarray(normalize(self.text_tower(inputs))[0])

    @cached_property
    def background(self) -> F32:
        """Embeddings [M, dim] float32 of unit length of photos at large: the bundle's sample."""
        return normalize(self.bundle.array(self.bundle.sample, self.bundle.dim).astype(np.float32))

    def search(
        self,
        index: PhotoIndex,
        query: str,
        k: int = 10,
        *,
        rows: RowFilter = ALL_ROWS,
        exact: bool = False,
    ) -> Found:
        """Search an index for photos that show what a text says.

        Args:
            index: the index, of the bundle's image tower.
            query: the words.
            k: how many photos to return at most.
            rows: which photos may be found; all of them by default.
            exact: score every photo, not only the best candidates of the scan.

        Returns:
            The nearest photos, best first, and the time of each stage.

        Raises:
            QueryError: the query is empty.
        """
        return self.search_parts(index, [Part(query)], k, rows=rows, exact=exact)

    def search_parts(
        self,
        index: PhotoIndex,
        parts: Sequence[Part],
        k: int = 10,
        *,
        rows: RowFilter = ALL_ROWS,
        exact: bool = False,
    ) -> Found:
        """Search an index for photos that are like words and photos together.

        A photo of the query is looked up in the index by its path, or else decoded; it is not among
        its own results.

        Args:
            index: the index, of the bundle's image tower.
            parts: words and photos, each with its weight.
            k: how many photos to return at most.
            rows: which photos may be found; all of them by default.
            exact: score every photo, not only the best candidates of the scan.

        Returns:
            The nearest photos, best first, and the time of each stage.

        Raises:
            QueryError: there is no part, a text is empty, or the parts cancel out.
            PhotoError: a photo cannot be decoded.
        """
        if not parts or not all(isinstance(part, Part) for part in parts):
            raise QueryError(
                "The query is empty: it has no parts.", 'Give one or more, such as Part("a dog").'
            )
        texts = [part.content for part in parts if isinstance(part.content, str)]
        photos = [part.content for part in parts if isinstance(part.content, Path)]
        simulated = self._load_for(texts)
        started = time.perf_counter()
        tokens = {text: self.tokenizer(text) for text in texts}
        tokenized = time.perf_counter()
        query = self._compose(index, parts, tokens)
        embedded_at = time.perf_counter()
        own = {str(path) for photo in photos for path in (photo, photo.resolve())}
        hits = index.search(query, k + len(own), rows=rows, exact=exact)
        done = time.perf_counter()
        results = map(Result, hits.paths, hits.scores.tolist())
        plain = len(parts) == len(texts) == 1 and parts[0].weight > 0
        return Found(
            query=_as_line(parts),
            results=[result for result in results if result.path not in own][:k],
            ms={
                "tokenize": (tokenized - started) * 1e3,
                "text": (embedded_at - tokenized) * 1e3,
                "scan": hits.scan_ms,
                "rescore": hits.rescore_ms,
                "total": (done - started) * 1e3,
            },
            truncated=any(token.truncated for token in tokens.values()),
            simulated=simulated or bool(machine.emulator()),
            threshold=match_threshold(query, self.background) if plain else None,
            unknown=tuple(word for text in texts for word in self.tokenizer.unknown_words(text)),
        )

    def _compose(
        self, index: PhotoIndex, parts: Sequence[Part], tokens: Mapping[str, Tokens]
    ) -> F32:
        """Return one query [dim] of parts, whose texts are tokenized."""
        embeddings = [
            self._embed_tokens(tokens[part.content])
            if isinstance(part.content, str)
            else self._embedding_of(index, part.content)
            for part in parts
        ]
        return compose(embeddings, [part.weight for part in parts], self.background)

    def _load_for(self, texts: list[str]) -> bool:
        """Load what a query needs before its clock starts; return whether its time is simulated."""
        _ = self.background
        if not texts:
            return False
        _ = self.tokenizer, self.token_table
        return self.text_tower.simulated

    def _embedding_of(self, index: PhotoIndex, photo: Path) -> F32:
        for path in (photo, photo.resolve()):
            held = index.embedding(str(path))
            if held is not None:
                return held
        return self.embed_photo(photo)

    def index_folder(
        self,
        index: PhotoIndex,
        folder: Path | str,
        progress: Progress = silent,
        *,
        drop_gone: bool = False,
    ) -> Synced:
        """Make an index hold the photos of a folder as they are now.

        Args:
            index: the index to bring up to date.
            folder: its photos and those of its subfolders are embedded where they are new or
                changed; photos of other folders stay as they are.
            progress: is told of "photos" done and in all.
            drop_gone: also drop photos of other folders whose files are gone.

        Returns:
            Counts of photos, and those that were skipped because they cannot be decoded.

        Raises:
            PhotoError: the folder is missing, or holds no photo.
            PhotoIndexError: another writer is at work; nothing is done then.
        """
        from mcad_mobile.engine.sync import sync_folder

        return sync_folder(self, index, Path(folder), progress, drop_gone=drop_gone)

    def index_photos(
        self, index: PhotoIndex, photos: Sequence[Path | str], progress: Progress = silent
    ) -> Synced:
        """Add photos that an index does not hold as they are now.

        Args:
            index: the index to add to; it drops none.
            photos: photo files.
            progress: is told of "photos" done and in all.

        Returns:
            Counts of photos, and those that were skipped because they cannot be decoded.

        Raises:
            PhotoIndexError: another writer is at work; nothing is done then.
        """
        from mcad_mobile.engine.sync import add_photos

        return add_photos(self, index, [Path(photo) for photo in photos], progress)


def _as_line(parts: Sequence[Part]) -> str:
    """The query as one line: the words alone where that is all, else with signs and weights."""
    if len(parts) == 1 and parts[0].weight == 1:
        return str(parts[0].content)
    return " ".join(f"{part.weight:+g} {str(part.content)!r}" for part in parts)


def default_index(bundle: Path) -> Path:
    """Return where the index of the bundle in a folder lies if nothing else is said: beside it."""
    bundle = bundle.resolve()
    return bundle.with_name(f"{bundle.name}.index")


def create_index(bundle: Bundle, directory: Path) -> PhotoIndex:
    """Make an empty index for photos of the bundle's student. PhotoIndexError if there is one
    already."""
    return PhotoIndex.create(
        directory,
        dim=bundle.dim,
        student=bundle.student.name,
        student_sha256=bundle.student.image_sha256,
    )


def open_index(
    bundle: Bundle, directory: Path | str | None = None, *, create: bool = False
) -> PhotoIndex:
    """Open the index of a bundle's photos as of its last commit.

    Args:
        bundle: the bundle whose student embeds the photos.
        directory: the index; None for BUNDLE.index, beside the bundle.
        create: make a new and empty one where there is none.

    Returns:
        The index.

    Raises:
        PhotoIndexError: it is missing or damaged, or was built by another image tower.
    """
    directory = default_index(bundle.directory) if directory is None else Path(directory)
    if create and not PhotoIndex.exists(directory):
        return create_index(bundle, directory)
    index = PhotoIndex.open(directory)
    index.check_student(bundle.student.image_sha256, bundle.dim)
    return index
