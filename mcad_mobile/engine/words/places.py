"""The place where a photo was taken: the nearest city, by the bundle's table of cities.

The table holds n cities and m regions, all numbers little endian:

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
from mcad_mobile.errors import BundleError, Remedy

MAGIC = b"MCADPLC1"
LINES = 16  # for each offset
STEPS = 1 << 16
REACH_KM = 0.25
EARTH_KM = 6371.0
_FAR_KM = 50.0  # a photo farther from all cities has no place
_KM_A_STEP = math.pi * EARTH_KM / STEPS  # from south to north
_WINDOW = int(63.75 / _KM_A_STEP) + 1  # as far as a city reaches


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
        if table[:8] != MAGIC or len(table) < 16:
            raise self._damaged("its first bytes are not those of a table of places")
        cities, regions = np.frombuffer(table, "<u4", 2, 8).tolist()
        starts = -(-(cities + regions) // LINES) + 1
        at = 16 + 4 * starts
        self._text_at = at + 7 * cities
        if self._text_at > len(table):
            raise self._damaged("it ends too early")
        self._offsets = np.frombuffer(table, "<u4", starts, 16)
        if self._text_at + int(self._offsets[-1]) != len(table):
            raise self._damaged("it does not end with its text")
        self._latitudes, self._longitudes, self._regions = (
            np.frombuffer(table, "<u2", cities, at + 2 * number * cities) for number in range(3)
        )
        self._reaches = np.frombuffer(table, np.uint8, cities, at + 6 * cities)
        self._table, self._cities = table, cities

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
        north, east = (latitude + 90) / 180 * STEPS, (longitude + 180) / 360 * STEPS
        window = np.clip([north - _WINDOW, north + _WINDOW], 0, STEPS - 1).astype(np.uint16)
        first, end = np.searchsorted(self._latitudes, window).tolist()
        near = slice(first, end)
        x = np.abs(self._longitudes[near] - east)
        x = np.minimum(x, STEPS - x) * (2 * math.cos(math.radians(latitude)))
        km = np.hypot(x, self._latitudes[near] - north) * _KM_A_STEP
        if not len(km) or km.min() > _FAR_KM:
            return ()
        reached = np.where(km <= self._reaches[near] * REACH_KM, self._reaches[near], 0)
        cities = first + int(km.argmin()), first + int(reached.argmax())
        names: list[str] = []
        for city in cities if reached.any() else cities[:1]:
            names += self._line(city)
            names += self._line(self._cities + int(self._regions[city]))
        return tuple(dict.fromkeys(filter(None, names)))

    def _line(self, number: int) -> list[str]:
        block, line = divmod(number, LINES)
        if block + 1 >= len(self._offsets):
            raise self._damaged("a city is of no region")
        start, end = (self._text_at + int(at) for at in self._offsets[block : block + 2])
        try:
            return self._table[start:end].split(b"\n")[line].decode("utf-8").split("\t")
        except (IndexError, UnicodeDecodeError):
            raise self._damaged("a name is missing") from None

    def _damaged(self, why: str) -> BundleError:
        return BundleError(
            f"The table of places {self._path} is damaged: {why}.", Remedy.EXPORT_AGAIN
        )
