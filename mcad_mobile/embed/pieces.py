"""Pieces of a job: the photos of one shard, in a form that can be sent to other machines."""

from __future__ import annotations

import hashlib
import os
import string
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import msgspec

from mcad_mobile.data.photo_formats import PHOTO_SUFFIXES, is_video, suffix_of
from mcad_mobile.embed.shard_store import open_address, reaching
from mcad_mobile.engine.photos.decode import MOST_BYTES, check_bytes, read_photo
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.engine.photos.video import read_stamp
from mcad_mobile.errors import PhotoError, require

_IN_A_ROW = 20  # photos that cannot be read, until the source's store counts as unreachable
_ROWS = 16  # of a table, read together
WEB_S = 20.0  # for a photo


class PhotoList(msgspec.Struct, frozen=True, tag="listed"):
    """Photo files by their paths or URLs, their stamps when they were listed, 0 if unknown, and the
    address that listed them."""

    keys: tuple[str, ...]
    stamps: tuple[int, ...]
    source: str = ""


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Rows of a Parquet file. `photo` is the column of bytes, paths or URLs; `key` that of names
    ("": the file and the row's number). `version` changes when the file does; `done` are shards of
    earlier runs, whose photos are not embedded again."""

    file: str
    version: str
    first: int
    count: int
    photo: str
    key: str = ""
    done: tuple[str, ...] = ()


class Members(msgspec.Struct, frozen=True, tag="members"):
    """The photos in a WebDataset shard, a tar file; `version` and `done` as in Rows."""

    file: str
    version: str
    done: tuple[str, ...] = ()


Piece = PhotoList | Rows | Members


@dataclass(frozen=True)
class VideoFile:
    """A video on this machine, which is too large to be held; `stamp` is the CRC-32 of its ends."""

    path: str
    stamp: int


@dataclass(frozen=True)
class Photo:
    """A photo's or video's name, its stamp when it was listed, and a function that reads its bytes
    and stat stamp, 0 if it has none. OSError if it cannot be read now, PhotoError if it never
    can."""

    key: str
    read: Callable[[], tuple[bytes | VideoFile, int]]
    stamp: int = 0


def name_of(piece: Piece) -> str:
    """Return a name of 16 hexadecimal digits, which is the same for the same photos."""
    return hashlib.sha256(msgspec.json.encode(piece)).hexdigest()[:16]


def photos_of(piece: Piece) -> Iterator[Photo]:
    """Yield the photos of a piece, always in the same order; damage in its file is a photo that
    cannot be read. StoreError if the file, or one photo after another, is out of reach."""
    if isinstance(piece, PhotoList):
        reader = _Reader(piece.source)
        for key, stamp in zip(piece.keys, piece.stamps, strict=True):
            yield Photo(key, partial(reader, key, stamp), stamp)
        return
    with reaching(piece.file):
        files, path = open_address(piece.file)
        file = files.open(path, "rb")
    with file:
        yield from _rows(piece, file) if isinstance(piece, Rows) else _members(piece.file, file)


def _rows(piece: Rows, file: Any) -> Iterator[Photo]:
    columns = [piece.photo, *([piece.key] if piece.key else [])]
    reader, end, after = _Reader(piece.file), piece.first + piece.count, 0
    try:
        table = require("pyarrow.parquet", "embed").ParquetFile(file, pre_buffer=False)
    except Exception as error:  # Arrow has many kinds; the file was whole when it was listed
        yield _damaged(piece.file, error)
        return
    for group in range(table.num_row_groups):
        number, after = after, after + table.metadata.row_group(group).num_rows
        if number >= end or after <= piece.first:
            continue
        try:
            for batch in table.iter_batches(_ROWS, [group], columns, use_threads=False):
                for row in range(len(batch)):
                    if piece.first <= number < end:
                        yield _row(piece, batch, row, number, reader)
                    number += 1
        except Exception as error:
            yield _damaged(f"{piece.file}#{number}", error)


def _row(piece: Rows, batch: Any, row: int, number: int, reader: _Reader) -> Photo:
    key = f"{piece.file}#{number}"
    try:
        photo = bytes_or_path(batch[piece.photo][row].as_py())
        name = batch[piece.key][row].as_py() if piece.key else None
    except Exception as error:  # bytes that are not text, and others
        return _unreadable(key, PhotoError(f"{key} cannot be read: {error}."))
    if isinstance(photo, str):
        return Photo(photo if name is None else str(name), partial(reader, photo, 0))
    key = key if name is None else str(name)
    if photo is None:  # for good: a cell that is filled changes the file
        return _unreadable(key, PhotoError(f"{key} cannot be read: its cell is empty."))
    return Photo(key, lambda: (photo, 0))


def bytes_or_path(value: Any) -> bytes | str | None:
    """Return a cell as a photo's bytes or path; cells of Hugging Face's datasets have both."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return value if isinstance(value, (bytes, str)) else None


def _unreadable(key: str, error: Exception) -> Photo:
    def read() -> tuple[bytes, int]:
        raise error

    return Photo(key, read)


def _damaged(key: str, error: object) -> Photo:
    return _unreadable(key, OSError(f"it is damaged from here on, {error}"))


def _members(name: str, file: Any) -> Iterator[Photo]:
    try:
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                if is_photo(member.name) and not member.isdir():
                    yield _member(name, tar, member)
            rest: Any = tar.fileobj
            while block := rest.read(1 << 16):  # tarfile takes a damaged header for the end
                if block.strip(b"\0"):
                    raise tarfile.ReadError("a header is damaged")
    except Exception as error:  # of tarfile and of each compression
        yield _damaged(name, error)


def _member(name: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Photo:
    key = f"{name}/{member.name}"
    if key != (text := key.encode(errors="backslashreplace").decode()):
        return _unreadable(text, PhotoError(f"{text}: its name is not valid UTF-8."))
    if not member.isreg():
        return _unreadable(key, PhotoError(f"{key} is a link or a special file."))
    try:
        check_bytes(member.size, key)
    except PhotoError as error:
        return _unreadable(key, PhotoError(error.message))
    file = tar.extractfile(member)
    data = file.read() if file else b""
    return Photo(key, lambda: (data, 0))


def is_photo(name: str) -> bool:
    return suffix_of(name) in PHOTO_SUFFIXES or is_video(name)


class _Reader:
    """Reads photo files at the addresses that a source names: local files, web addresses, and the
    source's own store. With fsspec's other protocols, a row could run code."""

    def __init__(self, source: str) -> None:
        self._source_protocol = source.partition("://")[0].lower() if "://" in source else ""
        self._failed = 0

    def __call__(self, key: str, stamp: int) -> tuple[bytes | VideoFile, int]:
        protocol, remote, _ = key.partition("://")
        if not remote:
            return _file(key)
        protocol = protocol.lower()
        if protocol not in ("file", "http", "https", self._source_protocol) or "::" in key:
            allowed = dict.fromkeys(["file", "http", "https", self._source_protocol or "file"])
            raise PhotoError(f"{key} is not opened: addresses may begin with {', '.join(allowed)}.")
        try:
            if protocol == "file":
                return _file(open_address(key)[1])
            if protocol in ("http", "https"):
                return _from_web(key), stamp
            data = _object(key)
        except (FileNotFoundError, PhotoError):
            raise
        except Exception as error:  # each library has its own
            self._failed += protocol == self._source_protocol
            if self._failed >= _IN_A_ROW:
                with reaching(key):
                    raise
            raise OSError(" ".join(str(error).split()) or type(error).__name__) from error
        self._failed = 0
        return data, stamp


def _file(path: str) -> tuple[bytes | VideoFile, int]:
    try:
        os.stat(path)  # noqa: PTH116
        if is_video(path):
            _, (stat, ends) = read_stamp(path)
            return VideoFile(path, ends), stat
        photo = read_photo(path)
    except ValueError as error:  # a path with a null character
        raise PhotoError(f"{path!r} is not a path: {error}.") from error
    except PhotoError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise
    return photo.data, stat_stamp(photo.stat)


def _object(address: str) -> bytes:
    files, path = open_address(address)
    data: bytes = files.cat_file(path, start=0, end=MOST_BYTES + 1)
    check_bytes(len(data), address)
    return data


def _from_web(url: str) -> bytes:
    end, data = time.monotonic() + WEB_S, bytearray()
    request = Request(quote(url, safe=string.punctuation), headers={"User-Agent": "mcad-mobile"})
    with urlopen(request, timeout=WEB_S) as response:
        while block := response.read1(1 << 16):
            data += block
            check_bytes(len(data), url)
            if time.monotonic() > end:
                raise OSError(f"it takes more than {WEB_S:.0f} s")
    return bytes(data)
