"""The source of an embedding job: its kind, and the pieces that it is cut into."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mcad_mobile.embed.job import KnownPhotos
from mcad_mobile.embed.pieces import Members, PhotoList, Piece, Rows, is_photo
from mcad_mobile.embed.shard import LeftOut
from mcad_mobile.embed.shard_store import Store, is_local, open_address, reaching
from mcad_mobile.engine.photos.folder import Skipped, stat_or_none, walk
from mcad_mobile.errors import DataError, PhotoError, StoreError, require

Kind = Literal["photos", "list", "parquet", "webdataset"]
_KINDS: dict[str, Kind] = {".parquet": "parquet", ".tar": "webdataset", ".txt": "list"}
_LOOKUP = 4096
_LINE = 1 << 16  # bytes of a list's line, at most
# Usual names of the columns with photos, and with the photos' names, in Parquet files.
_PHOTO_COLUMNS = ("image", "bytes", "jpg", "photo", "path", "url", "image_url", "file_name")
_KEY_COLUMNS = ("key", "__key__", "id", "path", "url", "file_name")
_VERSION = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
_KNOWN = "Give a folder, a list (.txt), Parquet or tar files, or an address of one; see --help."


@dataclass(frozen=True)
class Source:
    """Photos to embed: photo files, or files that hold many."""

    address: str
    kind: Kind | None = None
    photo_column: str | None = None
    key_column: str | None = None

    def check(self) -> None:
        """Raise the errors of `pieces` now, except for standard input, which is read only once."""
        if self.address != "-":
            nothing = KnownPhotos(Store("memory://"), ())
            next(self.pieces(1, lambda: nothing, []), None)

    def pieces(
        self,
        at_once: int,
        known: Callable[[], KnownPhotos],
        left_out: list[LeftOut],
    ) -> Iterator[Piece]:
        """Return pieces of `at_once` photos; lists hold no `known` photos, and files whose names
        are not text go to `left_out`. McadError for a bad source."""
        kind = self.kind or self._kind()
        if kind in ("photos", "list"):
            found = self._listed(kind, left_out)
            first = next(found, None)
            if first is None and not left_out:
                raise PhotoError(f"No photos in {self.address}.", _KNOWN)
            photos = chain([first], found) if first is not None else found
            return _cut(_unknown(photos, known()), at_once, self.address)
        files = self._files(".parquet" if kind == "parquet" else ".tar")
        if kind == "parquet":
            return chain.from_iterable(self._rows(*file, at_once, left_out) for file in files)
        return (Members(*file) for file in files)

    def _kind(self) -> Kind:
        if self.address == "-":
            return "list"
        suffix = PurePosixPath(self.address).suffix.lower()
        if suffix in _KINDS:
            return _KINDS[suffix]
        files = islice(self._all(), _LOOKUP)
        suffixes = {PurePosixPath(address).suffix.lower() for address, _ in files}
        here = {_KINDS[suffix] for suffix in suffixes & {".parquet", ".tar"}}
        here |= {"photos"} if any(is_photo(f"a{suffix}") for suffix in suffixes) else set()
        if len(here) > 1:
            raise DataError(
                f"{self.address} holds files of several kinds: {', '.join(sorted(here))}.",
                "Say which are meant: --kind photos, parquet or webdataset.",
            )
        return next(iter(here), "photos")

    def _listed(self, kind: Kind, left_out: list[LeftOut]) -> Iterator[tuple[str, int]]:
        """Photos and their stamps."""
        if kind == "list":
            lines = _lines(self.address, left_out)
            # A file that is not there, or at another address, has no stamp.
            return ((line, stat_or_none(Path(line.removeprefix("file://"))) or 0) for line in lines)
        files, root = open_address(self.address)
        if not is_local(files):
            found = ((address, zlib.crc32(version.encode())) for address, version in self._all())
            return (photo for photo in found if is_photo(photo[0]))
        folder = Path(root).resolve()
        if not folder.is_dir():
            raise PhotoError(f"No folder at {self.address}.", _KNOWN)
        return _walk(folder, left_out)

    def _files(self, suffix: str) -> list[tuple[str, str]]:
        files = sorted(file for file in self._all() if file[0].lower().endswith(suffix))
        if not files:
            raise DataError(f"No {suffix} files at {self.address}.", _KNOWN)
        return files

    def _all(self) -> Iterator[tuple[str, str]]:
        """Yield the file at the address, all files below a folder, or those that match a pattern,
        each with a version that changes with its content, "" if unknown."""
        with reaching(self.address):
            files, root = open_address(self.address)
            if any(sign in root for sign in "*?["):
                found: Iterable[dict[str, Any]] = files.glob(root, detail=True).values()
            elif files.isfile(root):
                found = [files.info(root)]
            elif files.isdir(root):
                walked = files.walk(root, detail=True)
                found = chain.from_iterable([*below.values()] for _, _, below in walked)
            else:
                raise StoreError(f"There is nothing at {self.address}.", _KNOWN)
            for info in found:
                if info["type"] == "file":
                    name = info["name"]
                    address = name if is_local(files) else str(files.unstrip_protocol(name))
                    stamps = (f"{info['size']} {info[key]}" for key in _VERSION if info.get(key))
                    yield address, next(stamps, "")

    def _rows(
        self, file: str, version: str, at_once: int, left_out: list[LeftOut]
    ) -> Iterator[Piece]:
        parquet = require("pyarrow.parquet", "embed")
        with reaching(file):
            files, path = open_address(file)
            with files.open(path, "rb") as opened:
                try:
                    read = parquet.ParquetFile(opened, pre_buffer=False)
                except Exception as error:  # ArrowException and many others
                    why = f"{file} is no Parquet file: {error}."
                    left_out.append(LeftOut(file, 0, why, "read"))
                    return
                names, rows = read.schema_arrow.names, read.metadata.num_rows
        photo = self.photo_column or next((n for n in _PHOTO_COLUMNS if n in names), "")
        key = self.key_column or next((n for n in _KEY_COLUMNS if n in names and n != photo), "")
        for column, option in ((photo, "--photo-column"), (key, "--key-column")):
            if column not in names and (column or option == "--photo-column"):
                raise DataError(
                    f"{file} has no column {column or 'that looks like photos'}; it has: "
                    f"{', '.join(names)}.",
                    f"Name one: {option} COLUMN.",
                )
        for first in range(0, rows, at_once):
            yield Rows(file, version, first, min(at_once, rows - first), photo, key)


def _walk(folder: Path, left_out: list[LeftOut]) -> Iterator[tuple[str, int]]:
    skipped: list[Skipped] = []
    for path, stamp in walk(folder, skipped, videos=True):
        try:
            path.encode()
        except UnicodeEncodeError:
            left_out.append(
                LeftOut(path, stamp, f"{path!r} is not valid UTF-8: rename the file.", "read")
            )
            continue
        yield path, stamp
    left_out += [LeftOut(photo.path, 0, photo.why, "read") for photo in skipped]


def _lines(address: str, left_out: list[LeftOut]) -> Iterator[str]:
    with ExitStack() as stack:
        stack.enter_context(reaching(address))
        file: Any = sys.stdin.buffer
        if address != "-":
            files, path = open_address(address)
            file = stack.enter_context(files.open(path, "rb"))
        for number in count(1):
            if not (line := file.readline(_LINE)):
                return
            try:
                # Editors of Windows begin UTF-8 with a byte order mark.
                if text := line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n"):
                    yield text
            except UnicodeDecodeError as error:
                key = f"{address}:{number}"
                left_out.append(LeftOut(key, 0, f"{key} is not valid UTF-8: {error}.", "read"))


def _unknown(photos: Iterable[tuple[str, int]], known: KnownPhotos) -> Iterator[tuple[str, int]]:
    photos = iter(photos)
    while batch := list(islice(photos, _LOOKUP)):
        have = known.has([key for key, _ in batch], [stamp for _, stamp in batch])
        yield from (photo for photo, has in zip(batch, have, strict=True) if not has)


def _cut(photos: Iterator[tuple[str, int]], at_once: int, source: str) -> Iterator[Piece]:
    while batch := list(islice(photos, at_once)):
        unique = dict(batch)
        yield PhotoList(tuple(unique), tuple(unique.values()), source)
