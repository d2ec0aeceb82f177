"""The app on Android's own framework, by Robolectric: runs the JUnit tests in java/."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError
from tests.android.robolectric import built_app as robolectric
from tests.android.robolectric.built_app import App
from tests.android.robolectric.pixels import write_photos
from tests.support.exported import Exported
from tests.support.paths import ROOT

pytestmark = pytest.mark.long

SLOW = [pytest.param(level, "", marks=pytest.mark.slow) for level in (26, 30, 34, 35, 36)]


@pytest.fixture(scope="session")
def built(cpu: Exported, tmp_path_factory: pytest.TempPathFactory) -> App:
    """The app and its tests, compiled."""
    try:
        robolectric.jars()
    except BuildError as error:
        pytest.skip(f"Maven Central is out of reach: {error.message}")
    return robolectric.build(
        Bundle.load(cpu.directory), tmp_path_factory.mktemp("robolectric") / "built"
    )


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for path in packaged_photos():
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def pixels(cpu: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pixels")
    write_photos(folder, Bundle.load(cpu.directory))
    return folder


# Half of the tests, on one level; all of them, on all levels, are slow.
SOME = "ScreensTest|RunsTest|FirstRunTest"
# Access to some photos alone came with API 34.
CHOSEN = "VolumesTest#photosThatTheUserDoesNotShowAnyMoreStayInTheIndex"


@pytest.mark.parametrize(("level", "wanted"), [(30, SOME), (34, CHOSEN), *SLOW])
def test_the_app_on_androids_framework(
    level: int, wanted: str, built: App, photos: Path, pixels: Path, tmp_path: Path
) -> None:
    java = robolectric.java_for(level)
    if java is None:
        pytest.skip(f"no JDK here runs Android of API {level}: it needs Java 21")
    properties = {"mcad.photos": photos, "mcad.pixels": pixels}
    asked = os.environ.get("ROBOLECTRIC")
    if (
        asked or level != 30
    ):  # pictures take longer, and are kept for `make screens` and by slow tests
        properties["mcad.screens"] = ROOT / "build" / "screens" / str(level)
    wanted = asked or wanted
    named, test, method = wanted.partition("#")
    classes = [f"{name}{test}{method}" for name in robolectric.classes() if re.search(named, name)]
    ran, failures = built.run(classes, level, java, tmp_path, properties)
    if failures:
        headline = f"{len(failures)} of {ran} tests failed on API {level}:"
        pytest.fail("\n\n".join([headline, *failures]), pytrace=False)
    assert ran >= len(classes)
