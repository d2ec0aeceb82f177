"""SearchEngine: finds photos by words, with a bundle and an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mcad_mobile.base import machine
from mcad_mobile.base.files import is_address, real_path
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.bundle import Bundle, TowerName
from mcad_mobile.engine.deterministic import dot
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.filters import ALL_ROWS, RowFilter
from mcad_mobile.engine.index.moments import file_and_moment
from mcad_mobile.engine.query import Part, PhotoKey, compose
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.engine.text.tokenizer import Tokenizer, Tokens
from mcad_mobile.engine.towers import LoadedRung, LoadedTower, choose_rung, normalize
from mcad_mobile.engine.words.photo_words import PhotoWords
from mcad_mobile.engine.words.places import Places
from mcad_mobile.engine.words.ranking import Match, WordHit, gain
from mcad_mobile.errors import PhotoError, PhotoIndexError, QueryError, Remedy

if TYPE_CHECKING:
    from mcad_mobile.engine.photos.preprocess import Preprocess
    from mcad_mobile.engine.reading.read_index import ReadResult
    from mcad_mobile.engine.sync import SyncResult

Channel = Literal["content", "words"]


@dataclass(frozen=True)
class Result:
    """A photo or video that was found.

    Attributes:
        path: its path in the index.
        score: the cosine of its embedding with the query; in a search of words alone, the share of
            the query that its words match; of a video, its best moment's.
        gone: whether its file no longer exists; only the command line checks.
        matched: its words that the query asks for.
        at_ms: of a video or a motion photo, the moment in milliseconds; None for a photo.
        moments: of a video, those of its moments that were found, in milliseconds, best first.
        copies: near duplicates that it stands for, best first; see `mcad_mobile.engine.stacks`.
    """

    path: str
    score: float
    gone: bool = False
    matched: tuple[Match, ...] = ()
    at_ms: int | None = None
    moments: tuple[int, ...] = ()
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        query: the query as one line.
        results: photos, best first.
        ms: milliseconds by stage: "tokenize", "text", "scan", "rescore" and "total"; with words,
            also "words".
        truncated: whether the query was longer than the text tower takes, so that its end was
            ignored.
        simulated: whether a simulator ran the text tower, or an emulator this process; then the
            milliseconds say nothing about a device.
        unknown: words that no tower can have learned: the tokenizer has no token for a part of
            them, or spells them nearly letter by letter.
    """

    query: str
    results: list[Result]
    ms: dict[str, float]
    truncated: bool
    simulated: bool = False
    unknown: tuple[str, ...] = ()


class SearchEngine:
    """Embeds words and photos with a bundle's towers, and searches an index for them.

    A tower is loaded on first use and tested before that: a rung whose embeddings on this machine
    differ from those recorded in the bundle is skipped. Several threads may use an engine at once;
    if they start before a tower is loaded, each of them may load it.

    Args:
        bundle: the bundle whose towers are used.
        runtime: "onnx", "litert" or "qnn" (simulated); None for the best that this machine runs
            natively.
        precision: a precision of that runtime, such as "int8", for towers that have it.
        threads: CPU threads for one text or photo; in a folder, each takes its own photo.
        fastest: time the image tower's rungs that run here, and use the fastest instead of the
            bundle's first.
        warn: called with a sentence about each rung that is skipped.
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
        """What turns a photo into pixels [3, S, S] float32."""
        return self.bundle.preprocess

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What turns a text into tokens. BundleError if its file is damaged."""
        return Tokenizer(self.bundle.tokenizer, self.bundle.path(self.bundle.tokenizer_file))

    @cached_property
    def token_table(self) -> TokenTable:
        """What turns token ids [L] into rows [L, W] float32. BundleError if its file is damaged."""
        table = self.bundle.token_table
        return TokenTable(self.bundle.path(table.file), table.tokens, table.width, table.bits)

    @cached_property
    def text_rung(self) -> LoadedRung:
        """The rung that embeds texts. RuntimeUnavailable if none runs on this machine."""
        return self._choose_rung("text", self.threads)

    @cached_property
    def image_rung(self) -> LoadedRung:
        """The rung that embeds photos. RuntimeUnavailable if none runs on this machine."""
        return self._choose_rung("image", self.threads, fastest=self._fastest)

    @cached_property
    def folder_rung(self) -> LoadedRung:
        """The image rung for folders, where photos are embedded in parallel, on one thread each.
        RuntimeUnavailable if none runs on this machine."""
        if self.threads == 1:
            return self.image_rung
        return self._choose_rung("image", 1, fastest=self._fastest)

    def _choose_rung(self, tower: TowerName, threads: int, *, fastest: bool = False) -> LoadedRung:
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
        """The tower of `text_rung`."""
        return self.text_rung.tower

    @property
    def image_tower(self) -> LoadedTower:
        """The tower of `image_rung`."""
        return self.image_rung.tower

    def embed_text(self, text: str) -> F32:
        """Embed one text.

        Args:
            text: the words, cut to the text tower's length.

        Returns:
            [dim] float32 of unit length.

        Raises:
            QueryError: it is not text, or empty.
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
        """Embed a preprocessed photo.

        Args:
            pixels: [3, S, S] float32, as `preprocess` makes them.

        Returns:
            [dim] float32 of unit length.

        Raises:
            RuntimeUnavailable: no image tower of the bundle runs on this machine.
        """
        return np.asarray(normalize(self.image_tower({"pixels": pixels[None]}))[0])

    def _embed_tokens(self, tokens: Tokens) -> F32:
        inputs = {
            "token_rows": self.token_table(tokens.ids)[None],
            "attention_mask": tokens.mask[None],
            "pooling": tokens.pooling[None],
        }
        return np.asarray(normalize(self.text_tower(inputs))[0])

    @cached_property
    def typical_photos(self) -> F32:
        """The bundle's sample of typical photos: embeddings [M, dim] float32 of unit length."""
        return normalize(self.bundle.array(self.bundle.sample, self.bundle.dim).astype(np.float32))

    def search(
        self,
        index: PhotoIndex,
        query: str,
        k: int = 10,
        *,
        rows: RowFilter = ALL_ROWS,
        exact: bool = False,
        by: Channel | None = None,
        moments: bool = False,
    ) -> Found:
        """Search an index for photos that show what a text says, or have its words.

        Args:
            index: the index, of the bundle's image tower.
            query: the words.
            k: how many photos to return at most.
            rows: which photos may be found; all of them by default.
            exact: score every photo, not only the best candidates of the scan.
            by: "content" for what photos show, "words" for the words that they have; None for both,
                in an index that has words.
            moments: return each moment of a video, not only its best one.

        Returns:
            The nearest photos, best first, and the time of each stage.

        Raises:
            QueryError: the query is empty, or there are no words to search.
            PhotoIndexError: `k` is below 1, or the index is of another student, damaged or closed.
            KernelError: the search kernels are missing.
            RuntimeUnavailable: no text tower of the bundle runs on this machine.
        """
        return self.search_parts(
            index, [Part(query)], k, rows=rows, exact=exact, by=by, moments=moments
        )

    def search_parts(
        self,
        index: PhotoIndex,
        parts: Sequence[Part],
        k: int = 10,
        *,
        rows: RowFilter = ALL_ROWS,
        exact: bool = False,
        by: Channel | None = None,
        moments: bool = False,
    ) -> Found:
        """Search an index for photos that resemble words and photos combined.

        A query photo is looked up in the index by its path, or else decoded; it is left out of the
        results.

        Args:
            index: the index, of the bundle's image tower.
            parts: words and photos, each with its weight.
            k: how many photos to return at most.
            rows: which photos may be found; all of them by default.
            exact: score every photo, not only the best candidates of the scan.
            by: as in `search`; of the texts, those of positive weight are searched in words.
            moments: as in `search`.

        Returns:
            The nearest photos, best first, and the time of each stage.

        Raises:
            QueryError: there is no part, a text is empty, the parts cancel out, or there are no
                words to search.
            PhotoError: a photo cannot be decoded, or is an address that the index does not hold.
            MissingExtra: a photo is HEIC, and the extra `heic` is not installed.
            PhotoIndexError: `k` is below 1, or the index is of another student, damaged or closed.
            KernelError: the search kernels are missing.
            RuntimeUnavailable: no tower that is needed runs on this machine.
        """
        if not parts or not all(isinstance(part, Part) for part in parts):
            raise QueryError(
                "The query is empty: it has no parts.", 'Give one or more, such as Part("a dog").'
            )
        texts = [part.content for part in parts if isinstance(part.content, str)]
        photos = [part.content for part in parts if not isinstance(part.content, str)]
        self._check_student(index)
        wanted = " ".join(
            part.content for part in parts if isinstance(part.content, str) and part.weight > 0
        )
        if by == "words":
            return self._search_words(index, wanted, k, rows, moments)
        _ = self.typical_photos  # loaded before the query is timed
        if texts:
            _ = self.tokenizer, self.token_table, self.text_tower
        started = time.perf_counter()
        tokens = {text: self.tokenizer(text) for text in texts}
        tokenized = time.perf_counter()
        embeddings = [
            self._embed_tokens(tokens[part.content])
            if isinstance(part.content, str)
            else self._embedding_of(index, part.content)
            for part in parts
        ]
        query = compose(embeddings, [part.weight for part in parts], self.typical_photos)
        embedded_at = time.perf_counter()
        own = {key for photo in photos for key in _keys(photo)}
        asked, ended = k + len(own), False
        while not ended:
            hits = index.search(query, asked, rows=rows, exact=exact)
            done = time.perf_counter()
            found = [*map(Result, hits.paths, hits.scores.tolist())]
            by_words: list[WordHit] | None = None
            words_ms: dict[str, float] = {}
            if by is None:
                by_words = index.search_words(wanted, asked, rows=rows, near=query)
            if by_words is not None:
                found, searched = self._ranked(index, query, found, by_words), done
                done = time.perf_counter()
                words_ms["words"] = (done - searched) * 1e3
            results = [result for result in _files(found, moments) if result.path not in own][:k]
            # Moments of a video that was found may have crowded out other files.
            ended = len(results) == k or len(hits.paths) < asked
            asked *= 4
        return Found(
            query=_as_line(parts),
            results=results,
            ms={
                "tokenize": (tokenized - started) * 1e3,
                "text": (embedded_at - tokenized) * 1e3,
                "scan": hits.scan_ms,
                "rescore": hits.rescore_ms,
                **words_ms,
                "total": (done - started) * 1e3,
            },
            truncated=any(token.truncated for token in tokens.values()),
            simulated=bool(machine.emulator()) or (bool(texts) and self.text_tower.simulated),
            unknown=tuple(word for text in texts for word in self.tokenizer.unknown_words(text)),
        )

    def _ranked(
        self, index: PhotoIndex, query: F32, results: list[Result], by_words: list[WordHit]
    ) -> list[Result]:
        """Join what embeddings and words found, best first."""
        known = {result.path: result.score for result in results}
        more = [hit.path for hit in by_words if hit.path not in known]
        known |= zip(more, index.cosines(query, more).tolist(), strict=True)
        spread = float(dot(self.typical_photos, query).std())
        gains = {hit.path: gain(hit.share, spread) for hit in by_words}
        matches = {hit.path: hit.matches for hit in by_words}
        order = sorted(known, key=lambda path: -known[path] - gains.get(path, 0))
        return [Result(path, known[path], matched=matches.get(path, ())) for path in order]

    def _search_words(
        self, index: PhotoIndex, wanted: str, k: int, rows: RowFilter, moments: bool
    ) -> Found:
        started = time.perf_counter()
        hits = index.search_words(wanted, k, rows=rows)
        if hits is None:
            raise QueryError("The index holds no words of photos.", Remedy.EXPORT_WITH_READER)
        if not wanted.strip():
            raise QueryError("The query has no words.", "Give one or more.")
        ms = (time.perf_counter() - started) * 1e3
        stages = dict.fromkeys(("tokenize", "text", "scan", "rescore"), 0.0)
        return Found(
            query=wanted,
            results=_files(
                (Result(hit.path, hit.share, matched=hit.matches) for hit in hits), moments
            ),
            ms={**stages, "words": ms, "total": ms},
            truncated=False,
            simulated=bool(machine.emulator()),
        )

    def _check_student(self, index: PhotoIndex) -> None:
        index.check_student(self.bundle.student.image_sha256, self.bundle.dim)

    def _embedding_of(self, index: PhotoIndex, photo: Path | PhotoKey) -> F32:
        for key in _keys(photo):
            held = index.embedding(key)
            if held is not None:
                return held
        if is_address(str(photo)):
            raise PhotoError(
                f"The index holds no photo {photo}.", "Give its address as the index holds it."
            )
        return self.embed_photo(str(photo))

    def index_folder(
        self,
        index: PhotoIndex,
        folder: Path | str,
        progress: Progress = silent,
        *,
        drop_gone: bool = False,
    ) -> SyncResult:
        """Bring an index up to date with the photos of a folder.

        Args:
            index: the index to update.
            folder: its new and changed photos, and those of its subfolders, are embedded; photos of
                other folders, and of subfolders that are gone or empty, stay as they are.
            progress: receives "photos", the number done and the total; while the folder is listed,
                the number seen so far and 0.
            drop_gone: drop all photos whose files are gone, in every folder.

        Returns:
            Counts of photos, and those that were skipped because they cannot be decoded.

        Raises:
            PhotoError: the folder is missing, or holds no photo.
            PhotoIndexError: another writer is at work, so the index is unchanged; or it is of
                another student, damaged, closed, cannot be written, or lies in `folder` itself.
            RuntimeUnavailable: no image tower of the bundle runs on this machine.
        """
        from mcad_mobile.engine.sync import sync_folder

        self._check_student(index)
        return sync_folder(self, index, Path(folder), progress, drop_gone=drop_gone)

    def index_photos(
        self, index: PhotoIndex, photos: Sequence[Path | str], progress: Progress = silent
    ) -> SyncResult:
        """Add photos that are new to an index, or that have changed.

        Args:
            index: the index to add to; it loses none.
            photos: photo files; the index stores absolute paths.
            progress: receives "photos", the number done and the total.

        Returns:
            Counts of photos, and those that were skipped because they cannot be decoded.

        Raises:
            PhotoIndexError: another writer is at work, so the index is unchanged; or it is of
                another student, damaged, closed, or cannot be written.
            RuntimeUnavailable: no image tower of the bundle runs on this machine.
        """
        from mcad_mobile.engine.sync import add_photos

        self._check_student(index)
        return add_photos(self, index, [str(Path(photo).absolute()) for photo in photos], progress)

    def read_texts(self, index: PhotoIndex, progress: Progress = silent) -> ReadResult:
        """Read the text in the photos of an index that were not read, one per thread, and set their
        words. Image towers are dropped before, and loaded again when they are needed.

        Args:
            index: the index; photos whose files are gone or have changed stay unread.
            progress: receives "text", the number done and the total.

        Returns:
            How many were read, how many of them have text, and those that were skipped.

        Raises:
            BundleError: the bundle has no reader, or its files are damaged.
            PhotoIndexError: another writer is at work, or the index is of another student, damaged,
                closed, or cannot be written.
            RuntimeUnavailable: no rung of the reader runs on this machine.
        """
        from mcad_mobile.engine.reading.read_index import read_index
        from mcad_mobile.engine.reading.reader import Reader

        self._check_student(index)
        for tower in ("image_rung", "folder_rung"):
            self.__dict__.pop(tower, None)
        machine.return_large_blocks()
        reader = Reader.of(self.bundle, warn=self._warn)
        return read_index(reader, self._places_of, index, progress, threads=self.threads)

    def words_of(self, photo: bytes) -> PhotoWords | None:
        """Return what words a photo has before it is read.

        Args:
            photo: the bytes of its file.

        Returns:
            Its places; None if the bundle has no reader.

        Raises:
            BundleError: the table of places is damaged.
        """
        return None if self.bundle.reader is None else PhotoWords((), self._places_of(photo))

    def _places_of(self, photo: bytes) -> tuple[str, ...]:
        if self._places is None:
            return ()
        from mcad_mobile.engine.photos.coordinates import coordinates

        where = coordinates(photo)
        return () if where is None else self._places.near(*where)

    @cached_property
    def _places(self) -> Places | None:
        reader = self.bundle.reader
        if reader is None or reader.places is None:
            return None
        return Places(self.bundle.path(reader.places))


def _keys(photo: Path | PhotoKey) -> list[str]:
    """The paths under which an index may hold a photo: as it is written, absolute, as a walk of its
    folder finds it, and that of the file which it links to."""
    absolute = Path(str(photo)).absolute()
    walked = real_path(absolute.parent) / absolute.name
    return [*dict.fromkeys(map(str, (photo, absolute, walked, real_path(absolute))))]


def _as_line(parts: Sequence[Part]) -> str:
    """The query as one line: a single part of weight 1 as it is, else with signed weights."""
    if len(parts) == 1 and parts[0].weight == 1:
        return str(parts[0].content)
    return " ".join(f"{part.weight:+g} {str(part.content)!r}" for part in parts)


def _files(rows: Iterable[Result], moments: bool) -> list[Result]:
    """Return the files of rows, each video once, unless all `moments` are wanted."""
    files: dict[str, Result] = {}
    for row in rows:
        file, at = file_and_moment(row.path)
        key = row.path if moments else file
        if at is None:
            files.setdefault(key, row)
        elif key in files:
            files[key] = replace(files[key], moments=(*files[key].moments, at))
        else:
            files[key] = replace(row, path=file, at_ms=at, moments=(at,))
    return list(files.values())


def default_index(bundle: Path) -> Path:
    """Return the default place of a bundle's index: BUNDLE.index, beside the bundle."""
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


def find_index(bundle: Bundle) -> Path:
    """Return the place of a bundle's own index, or, while it has none, that of an index beside it
    of the same image tower: a bundle for another language or chip searches the same photos."""
    own = default_index(bundle.directory)
    if PhotoIndex.exists(own):
        return own
    for beside in sorted(own.parent.glob("*.index")):
        with suppress(PhotoIndexError), PhotoIndex.open(beside) as index:
            index.check_student(bundle.student.image_sha256, bundle.dim)
            return beside
    return own


def open_index(
    bundle: Bundle, directory: Path | str | None = None, *, create: bool = False
) -> PhotoIndex:
    """Open the last commit of a bundle's index.

    Args:
        bundle: the bundle whose student embeds the photos.
        directory: the index; None for BUNDLE.index, beside the bundle, or, if there is none, for
            another index beside it that is of the same image tower.
        create: make an empty one if there is none; then None is BUNDLE.index alone.

    Returns:
        The index.

    Raises:
        PhotoIndexError: it is missing or damaged, or was built by another image tower.
    """
    if directory is None:
        directory = default_index(bundle.directory) if create else find_index(bundle)
    directory = Path(directory)
    if create and not PhotoIndex.exists(directory):
        return create_index(bundle, directory)
    index = PhotoIndex.open(directory)
    index.check_student(bundle.student.image_sha256, bundle.dim)
    return index
