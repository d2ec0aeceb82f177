"""The place where a photo was taken: the nearest city, by the bundle's table of cities.

The table holds n cities and m regions, all numbers little endian; native/places.c reads it:

    "MCADPLC1", n uint32, m uint32
    offsets     [ceil((n + m) / 16) + 1] uint32: where each 16th line of text starts, and the end
    latitudes   [n] uint16, ascending: 0 to 65,535 for 90 degrees south to north
    longitudes  [n] uint16: 0 to 65,535 for a turn east from 180 degrees west
    regions     [n] uint16: the number of the city's region
    reaches     [n] uint8: the radius of the city in quarters of a kilometre
    text        n + m lines of UTF-8: the names of each city, then of each region and its country,
                separated by tabs
"""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path

import numpy as np

from mcad_mobile.base.files import open_regular
from mcad_mobile.engine.native import load_kernel
from mcad_mobile.errors import BundleError, Remedy


class Places:
    """A table of places, memory-mapped.

    Args:
        path: the file.

    Raises:
        BundleError: it is missing, or no such table.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            descriptor = open_regular(path)
            with os.fdopen(descriptor, "rb") as file:
                table = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError for an empty file
            raise self._damaged(str(error)) from error
        self._table, self._data = table, np.frombuffer(table, np.uint8)
        if not load_kernel().library.mcad_places_check(self._data.ctypes.data, len(table)):
            raise self._damaged("its sizes are not those of a table of places")

    def near(self, latitude: float, longitude: float) -> tuple[str, ...]:
        """Name the place of a coordinate.

        Args:
            latitude: degrees north, -90 to 90.
            longitude: degrees east, -180 to 180.

        Returns:
            The names of the nearest city, of a larger one that reaches as far, and of their regions
            and countries, in English and as people there write them; none if no city is near.

        Raises:
            BundleError: the table is damaged.
        """
        spans, cosine = np.empty((4, 2), np.uint32), math.cos(math.radians(latitude))
        lines = load_kernel().library.mcad_places_near(
            *(self._data.ctypes.data, len(self._table)),
            *(latitude, longitude, cosine, spans.ctypes.data),
        )
        if lines < 0:
            raise self._damaged("a city or its region is missing")
        names = [
            name
            for start, size in spans[:lines].tolist()
            for name in self._table[start : start + size].decode("utf-8", "replace").split("\t")
        ]
        return tuple(dict.fromkeys(filter(None, names)))

    def _damaged(self, why: str) -> BundleError:
        return BundleError(
            f"The table of places {self._path} is damaged: {why}.", Remedy.EXPORT_AGAIN
        )
