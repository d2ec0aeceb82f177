"""The store of shards: a folder, or a bucket that fsspec opens. Files appear in it whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcad_mobile.base.files import Partial, as_disk_error, disk_error
from mcad_mobile.errors import McadError, MissingExtra, StoreError, require

# Signs of a refusal in the errors of stores' libraries.
_REFUSALS = ("credential", "forbidden", "accessdenied", "unauthorized", "401", "403")
_REACH = (
    "Check the address, the network and the bucket's name, then run it again: what is done is kept."
)
_ALLOW = "Check the credentials that its library reads, then run it again."


class Store:
    """Files under one address. StoreError if it cannot be reached or refuses, DiskError if a disk
    is full, MissingExtra if its library is not installed."""

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
        """Like `write`, but only if there is no such file; return whether it was written. Of two
        processes at once, one succeeds, on disks and on stores with conditional requests."""
        with reaching(self.url):
            if self.folder is not None:
                return _write_file(self.folder / name, data, replace=False)
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
        """The bytes of the files in `folder`, sorted by name."""
        with reaching(self.url):
            self.files.invalidate_cache()
            try:
                listed = self.files.ls(f"{self.root}/{folder}", detail=True)
            except FileNotFoundError:
                return {}
        files = [item for item in listed if item["type"] == "file"]
        return dict(sorted((Path(item["name"]).name, int(item["size"])) for item in files))

    def open(self, name: str) -> Any:
        return self.files.open(f"{self.root}/{name}", "rb")


def open_address(url: str) -> tuple[Any, str]:
    """Return the file system behind an address, and the path in it."""
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
    """Turn errors of file systems and their libraries into a McadError."""
    try:
        yield
    except McadError:
        raise
    except Exception as error:  # each library has its own exceptions
        raise _store_error(where, error) from error


def _store_error(where: str, error: Exception) -> McadError:
    missing = isinstance(error, FileNotFoundError)
    local = "://" not in where or where.startswith("file://")
    if local and not missing and isinstance(error, OSError):
        path = Path(where.removeprefix("file://"))
        return disk_error(path, error) or as_disk_error(path, error)
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    text = (type(error).__name__ + str(error)).lower()
    if isinstance(error, PermissionError) or any(sign in text for sign in _REFUSALS):
        return StoreError(f"{where} denied access: {reason}.", _ALLOW)
    if missing:
        return StoreError(f"There is nothing at {where}: {reason}.", _REACH)
    return StoreError(f"{where} cannot be reached: {reason}.", _REACH)


def _write_file(path: Path, data: bytes, *, replace: bool = True) -> bool:
    with Partial(path) as partial:
        if not replace and path.exists():
            return False
        try:
            partial.file.truncate()
            partial.file.write(data)
            partial.finish()
        except OSError:
            partial.partial.unlink(missing_ok=True)
            raise
    return True
