"""Pieces of a job: the photos of one shard, in a form that travels to other machines."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.data.photo_formats import PHOTO_SUFFIXES, suffix_of
from mcad_mobile.embed.store import is_local, open_address, reaching
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.errors import DataError, require

_IN_A_ROW = 20  # photos that cannot be read, until the store is taken to be unreachable


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """Photo files by their paths or URLs, and their stamps when they were listed, 0 if unknown."""

    keys: tuple[str, ...]
    stamps: tuple[int, ...]


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Rows of a Parquet file. `photo` is the column of bytes, paths or URLs; `key` that of names
    ("": the file and the row's number). `version` changes when the file does."""

    file: str
    version: str
    first: int
    count: int
    photo: str
    key: str = ""


class Members(msgspec.Struct, frozen=True, tag="members"):
    """The photos in a WebDataset shard, a tar file."""

    file: str
    version: str


Piece = Listed | Rows | Members


@dataclass(frozen=True)
class Photo:
    """A photo's name, a function that reads its bytes and stat stamp (0 if it has none; OSError if
    this photo cannot be read), and its stamp when it was listed."""

    key: str
    read: Callable[[], tuple[bytes, int]]
    stamp: int = 0


def name_of(piece: Piece) -> str:
    """A name of 16 hexadecimal digits, which is the same for the same photos."""
    return hashlib.sha256(msgspec.json.encode(piece)).hexdigest()[:16]


def photos_of(piece: Piece) -> Iterator[Photo]:
    """The photos of a piece, always in the same order. StoreError if a file that holds them, or one
    photo after the other, cannot be reached."""
    if isinstance(piece, Listed):
        reader = _Reader()
        for key, stamp in zip(piece.keys, piece.stamps, strict=True):
            yield Photo(key, partial(reader, key, stamp), stamp)
    else:
        yield from _rows(piece) if isinstance(piece, Rows) else _members(piece)


def _rows(piece: Rows) -> Iterator[Photo]:
    parquet = require("pyarrow.parquet", "embed")
    columns = [piece.photo, *([piece.key] if piece.key else [])]
    reader, number = _Reader(), piece.first
    with reaching(piece.file):
        files, path = open_address(piece.file)
        with files.open(path, "rb") as file:
            read = parquet.ParquetFile(file, pre_buffer=False)
            for row in rows_between(read, columns, piece.first, piece.count):
                photo = bytes_or_path(row[piece.photo])
                key = str(row[piece.key]) if piece.key else f"{piece.file}#{number}"
                if isinstance(photo, str) and not piece.key:
                    key = photo
                number += 1
                if isinstance(photo, str):
                    yield Photo(key, partial(reader, photo, 0))
                else:
                    yield Photo(key, partial(_held, photo))


def rows_between(parquet: Any, columns: list[str], first: int, count: int) -> Iterator[Any]:
    """Rows of a pyarrow ParquetFile as dicts; row groups without any are not read."""
    start = 0
    for group in range(parquet.num_row_groups):
        stop = start + parquet.metadata.row_group(group).num_rows
        if start < first + count and stop > first:
            for batch in parquet.iter_batches(64, [group], columns, use_threads=False):
                if start + len(batch) > first and start < first + count:
                    part = batch.slice(max(first - start, 0))
                    part = part.slice(0, first + count - max(first, start))
                    yield from part.to_pylist()
                start += len(batch)
        start = stop


def bytes_or_path(value: Any) -> bytes | str | None:
    """A cell as a photo's bytes or its path; cells of Hugging Face's datasets hold both."""
    if isinstance(value, dict):
        return value.get("bytes") or value.get("path")
    return value if isinstance(value, (bytes, str)) else None


def _held(photo: bytes | None) -> tuple[bytes, int]:
    if photo is None:
        raise OSError("its cell is empty")
    return photo, 0


def _members(piece: Members) -> Iterator[Photo]:
    with reaching(piece.file):
        files, path = open_address(piece.file)
        with files.open(path, "rb") as file:
            try:
                with tarfile.open(fileobj=file, mode="r|*") as tar:
                    for member in tar:
                        if is_photo(member.name) and (data := tar.extractfile(member)):
                            photo = data.read()
                            key = f"{piece.file}/{member.name}"
                            yield Photo(key, partial(_held, photo))
            except tarfile.TarError as error:
                raise DataError(
                    f"{piece.file} is no whole tar file: {error}.",
                    "Copy it again, or leave it out of SOURCE; what is done is kept.",
                ) from error


def is_photo(name: str) -> bool:
    return suffix_of(name) in PHOTO_SUFFIXES


class _Reader:
    """Reads photo files; tells a store that is unreachable from a photo that is missing."""

    def __init__(self) -> None:
        self._failed = 0

    def __call__(self, key: str, stamp: int) -> tuple[bytes, int]:
        try:
            read = _file(key, stamp)
        except FileNotFoundError:
            raise
        except Exception as error:
            self._failed += 1
            if self._failed >= _IN_A_ROW or not isinstance(error, OSError):
                with reaching(key):
                    raise
            raise
        self._failed = 0
        return read


def _file(key: str, stamp: int) -> tuple[bytes, int]:
    if "://" not in key:
        stat = os.stat(key)  # noqa: PTH116  before reading, as sync.py does
        return Path(key).read_bytes(), stat_stamp(stat)
    files, path = open_address(key)
    if is_local(files):
        return _file(path, stamp)
    data: bytes = files.cat_file(path)
    return data, stamp
