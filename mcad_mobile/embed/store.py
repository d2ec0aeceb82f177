"""The store of shards: a folder, or a bucket that fsspec opens. Files appear in it whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcad_mobile.base.files import refused, trouble
from mcad_mobile.errors import McadError, MissingExtra, StoreError, require

_PARTIAL = ".partial-"
# Signs of a refusal in the errors of stores' libraries.
_REFUSALS = ("credential", "forbidden", "accessdenied", "unauthorized", "401", "403")
_REACH = (
    "Check the address, the network and the bucket's name, then run it again: what is done is kept."
)
_ALLOW = "Check the credentials that its library reads, then run it again."


class Store:
    """Files under one address: a path, file://, s3://, gs://, hf://, memory:// or another protocol
    of fsspec. StoreError if it cannot be reached or refuses, DiskError if a disk is full,
    MissingExtra if its library is not installed."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        with reaching(url):
            self.files, self.root = open_address(url)
        self.folder = Path(self.root) if is_local(self.files) else None

    def __str__(self) -> str:
        return self.url

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file: by a rename on a disk, by one request to an object store, which
        shows an object only when it is complete."""
        with reaching(self.url):
            if self.folder is not None:
                _write_file(self.folder / name, data)
            else:
                self.files.pipe_file(f"{self.root}/{name}", data)

    def create(self, name: str, data: bytes) -> bool:
        """As `write`, but only if there is no such file; return whether that was so. If two
        processes try at once, one succeeds, on disks and on stores with conditional requests
        (If-None-Match)."""
        with reaching(self.url):
            if self.folder is not None:
                return _create_file(self.folder / name, data)
            try:
                self.files.pipe_file(f"{self.root}/{name}", data, mode="create")
            except FileExistsError:
                return False
            except NotImplementedError:  # without conditional requests, the last writer wins
                if self.files.exists(f"{self.root}/{name}"):
                    return False
                self.files.pipe_file(f"{self.root}/{name}", data)
        return True

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if there is no such file."""
        with reaching(self.url):
            try:
                data: bytes = self.files.cat_file(f"{self.root}/{name}")
            except FileNotFoundError:
                return None
        return data

    def remove(self, name: str) -> None:
        with reaching(self.url):
            self.files.rm_file(f"{self.root}/{name}")

    def sizes(self, folder: str) -> dict[str, int]:
        """The files in `folder` with their bytes, sorted by name, without what killed writers left
        half written."""
        with reaching(self.url):
            self.files.invalidate_cache()
            try:
                listed = self.files.ls(f"{self.root}/{folder}", detail=True)
            except FileNotFoundError:
                return {}
        found = {Path(item["name"]).name: item["size"] for item in listed if item["type"] == "file"}
        return {name: int(found[name]) for name in sorted(found) if not name.startswith(_PARTIAL)}

    def open(self, name: str) -> Any:
        """Open a file for reading at any position."""
        return self.files.open(f"{self.root}/{name}", "rb")

    def clear_partials(self, folder: str) -> None:
        """Remove the half-written files of killed writers."""
        if self.folder is not None:
            for left in (self.folder / folder).glob(f"{_PARTIAL}*"):
                left.unlink(missing_ok=True)


def open_address(url: str) -> tuple[Any, str]:
    """The file system behind an address, and the path there."""
    fsspec = require("fsspec", "embed")
    try:
        files, root = fsspec.url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(
            f"{url} needs a library that is not installed: {error}.",
            "Install it: pip install s3fs (s3://), gcsfs (gs://) or huggingface_hub (hf://).",
        ) from error
    except ValueError as error:
        raise StoreError(f"{url} cannot be opened: {error}.", "Give a folder or a URL.") from error
    return files, str(root).rstrip("/") or "/"


def is_local(files: Any) -> bool:
    protocol = files.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


@contextmanager
def reaching(where: str) -> Iterator[None]:
    """Raise errors of file systems and their libraries as a McadError."""
    try:
        yield
    except McadError:
        raise
    except Exception as error:  # each library has its own exceptions
        raise _store_error(where, error) from error


def _store_error(where: str, error: BaseException) -> McadError:
    local = "://" not in where or where.startswith("file://")
    if local and not isinstance(error, FileNotFoundError) and isinstance(error, OSError):
        path = Path(where.removeprefix("file://"))
        return trouble(path, error) or refused(path, error)
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if _is_refusal(error):
        return StoreError(f"{where} refuses: {reason}.", _ALLOW)
    if isinstance(error, FileNotFoundError):
        return StoreError(f"There is nothing at {where}: {reason}.", _REACH)
    return StoreError(f"{where} cannot be reached: {reason}.", _REACH)


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, PermissionError):
        return True
    text = (type(error).__name__ + str(error)).lower()
    return any(sign in text for sign in _REFUSALS)


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _create_file(path: Path, data: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f"{_PARTIAL}{path.name}-{os.getpid()}")
    _write_file(whole, data)
    try:
        os.link(whole, path)
    except FileExistsError:
        return False
    finally:
        whole.unlink(missing_ok=True)
    return True
