"""A photo's file, read once: its stamps, what its camera wrote and its pixels are of the same
bytes, also while another program writes it."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.photos.folder import content_stamp, stat_stamp
from mcad_mobile.engine.photos.preprocess import Preprocess

# A 48-megapixel HEIC has 5 MB, a JPEG of 200 megapixels 60. Larger files are read twice, in parts.
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class PhotoFile:
    """A file as it was when it was opened; `data` is None for files of more than 64 MiB."""

    path: str
    stat: os.stat_result
    data: bytes | None

    def stat_stamp(self) -> int:
        return stat_stamp(self.stat)

    def content_stamp(self) -> int:
        return content_stamp(self.path) if self.data is None else zlib.crc32(self.data)

    def pixels(self, preprocess: Preprocess) -> NDArray[np.float32]:
        """[3, size, size] float32. PhotoError or MissingExtra if it cannot be decoded."""
        if self.data is None:
            return preprocess(Path(self.path))
        return preprocess.decoded(self.data, self.path)


def read_photo(path: str) -> PhotoFile:
    """OSError or ValueError if it cannot be read."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  a path of any bytes
        stat = os.fstat(file.fileno())
        return PhotoFile(path, stat, file.readall() if stat.st_size <= MOST_BYTES else None)
