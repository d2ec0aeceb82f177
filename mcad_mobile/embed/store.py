"""Where shards lie: a folder, or a bucket that fsspec opens. A file is there whole, or not."""

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
_REACH = (
    "Check the address, the network and the bucket's name, then run it again: what is done is kept."
)
_ALLOW = "Check the credentials that its library reads, then run it again."


class Store:
    """Files under one address: a path, file://, s3://, gs://, hf://, memory:// and what else
    fsspec knows. StoreError if it cannot be reached or refuses, DiskError if a disk takes no more,
    MissingExtra if its library is not installed."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        with reaching(url):
            self.files, self.root = open_address(url)
        self.folder = Path(self.root) if is_local(self.files) else None

    def __str__(self) -> str:
        return self.url

    def write(self, name: str, data: bytes) -> None:
        """Put a file in its place, over what may be there: renamed on a disk, one request on an
        object store, which shows an object once it has all of it."""
        with reaching(self.url):
            if self.folder is not None:
                _write_file(self.folder / name, data)
            else:
                self.files.pipe_file(f"{self.root}/{name}", data)

    def create(self, name: str, data: bytes) -> bool:
        """As `write`, but only where nothing is: say whether it was so. Of two processes that do
        it at once one succeeds, on a disk and on stores that know conditions (If-None-Match)."""
        with reaching(self.url):
            if self.folder is not None:
                return _create_file(self.folder / name, data)
            try:
                self.files.pipe_file(f"{self.root}/{name}", data, mode="create")
            except FileExistsError:
                return False
            except NotImplementedError:  # a store without conditions: whoever is last wins
                if self.files.exists(f"{self.root}/{name}"):
                    return False
                self.files.pipe_file(f"{self.root}/{name}", data)
        return True

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none."""
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
        """The files in `folder`, by their names, sorted: bytes. What a writer that was killed left
        half written is none of them."""
        with reaching(self.url):
            self.files.invalidate_cache()
            try:
                listed = self.files.ls(f"{self.root}/{folder}", detail=True)
            except FileNotFoundError:
                return {}
        found = {Path(one["name"]).name: one["size"] for one in listed if one["type"] == "file"}
        return {name: int(found[name]) for name in sorted(found) if not name.startswith(_PARTIAL)}

    def open(self, name: str) -> Any:
        """A file to read from, at any place."""
        return self.files.open(f"{self.root}/{name}", "rb")

    def clear_partials(self, folder: str) -> None:
        """Remove what writers that were killed left half written."""
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
    """Errors of file systems and of their libraries as ours."""
    try:
        yield
    except McadError:
        raise
    except Exception as error:  # each store's library has exceptions of its own
        raise of_store(where, error) from error


def of_store(where: str, error: BaseException) -> McadError:
    """What went wrong with a store, as an error of ours."""
    local = "://" not in where or where.startswith("file://")
    if local and not isinstance(error, FileNotFoundError) and isinstance(error, OSError):
        path = Path(where.removeprefix("file://"))
        return trouble(path, error) or refused(path, error)
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if _is_refusal(error):
        return StoreError(f"{where} refuses: {said}.", _ALLOW)
    if isinstance(error, FileNotFoundError):
        return StoreError(f"There is nothing at {where}: {said}.", _REACH)
    return StoreError(f"{where} cannot be reached: {said}.", _REACH)


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, PermissionError):
        return True
    words = (type(error).__name__ + str(error)).lower()
    told = (
        "nocredentials",
        "credential",
        "forbidden",
        "accessdenied",
        "unauthorized",
        "401",
        "403",
    )
    return any(word in words for word in told)


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
