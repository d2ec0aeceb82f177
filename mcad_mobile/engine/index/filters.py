"""Which photos of an index a search may find."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from mcad_mobile.errors import PhotoIndexError

Kind = Literal["photo", "video"]


@dataclass(frozen=True)
class RowFilter:
    """The photos that a search may find. Unknown times pass neither bound.

    Attributes:
        folders: photos in one of these folders or below, as the index writes paths; all without.
        after: photos taken at this minute since 1970 (UTC) or later; None for no bound.
        before: photos taken before this minute; None for no bound.
        place: the words of a place, folded: photos taken at one that has all of them.
        kind: "photo" or "video" alone; None for both.
    """

    folders: tuple[str, ...] = ()
    after: int | None = None
    before: int | None = None
    place: tuple[str, ...] = ()
    kind: Kind | None = None

    def folder_prefixes(self) -> list[bytes]:
        """Return what the paths of photos in the folders begin with."""
        return [path_to_bytes(folder.rstrip(os.sep) + os.sep) for folder in self.folders]


ALL_ROWS = RowFilter()


def path_to_bytes(path: str) -> bytes:
    """Return the path's bytes in the file system, whatever the locale. PhotoIndexError for
    characters that no file name can contain here."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise PhotoIndexError(
            f"The path {path!r} holds {path[error.start]!r}, which no file name here can contain.",
            "Give paths as the system gives them (os.listdir, os.fsdecode).",
        ) from None
