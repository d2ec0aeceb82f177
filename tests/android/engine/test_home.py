"""What the screens of an app say of access, of the index and of a run; sizes and paths."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from mcad_mobile.android.toolchain import android_demo


def home(probe, **state: object):
    usual = {
        "access": "ALL",
        "refused": False,
        "running": False,
        "resting": False,
        "done": -1,
        "total": -1,
        "per_minute": 0,
        "skipped": 0,
        "failure": None,
        "photos": 0,
    }
    return probe.ask("home", **{**usual, **state})


@pytest.mark.parametrize(
    ("state", "panel", "action", "line"),
    [
        ({"access": "NONE"}, "WELCOME", "ASK_FOR_ACCESS", "NONE"),
        ({"access": "NONE", "refused": True}, "DENIED", "SETTINGS", "NONE"),
        ({"access": "NONE", "running": True, "photos": 9}, "WELCOME", "ASK_FOR_ACCESS", "NONE"),
        ({}, "NOT_INDEXED", "INDEX", "NONE"),
        ({"done": 0, "total": 500}, "NOT_INDEXED", "INDEX", "NONE"),
        ({"done": 0, "total": 0}, "NO_PHOTOS", "NONE", "NONE"),
        ({"done": 3, "total": 3, "skipped": 3}, "NONE_READABLE", "INDEX", "NONE"),
        ({"failure": "TOWER"}, "FAILED", "TRY_AGAIN", "NONE"),
        ({"failure": "TOWER", "photos": 7}, "NONE", "NONE", "FAILED"),
        ({"running": True}, "NONE", "NONE", "LOOKING"),
        ({"running": True, "done": 0, "total": 0}, "NONE", "NONE", "LOOKING"),  # not "0 of 0"
        ({"running": True, "done": 8, "total": 500}, "NONE", "NONE", "PROGRESS"),
        ({"running": True, "resting": True, "done": 8, "total": 9}, "NONE", "NONE", "RESTING"),
        ({"photos": 500, "done": 500, "total": 500}, "NONE", "NONE", "SEARCHABLE"),
        ({"photos": 500}, "NONE", "NONE", "SEARCHABLE"),
        ({"photos": 500, "done": 500, "total": 4000}, "NONE", "NONE", "LEFT"),
        ({"access": "SOME", "photos": 5, "done": 5, "total": 5}, "NONE", "NONE", "SEARCHABLE"),
    ],
)
def test_a_screen_says_what_is_so_and_what_to_do(probe, state, panel, action, line):
    found = home(probe, **state)
    assert (found["panel"], found["action"], found["line"]) == (panel, action, line)


@pytest.mark.parametrize(
    ("access", "refused", "action"),
    [
        ("NONE", False, "ASK_FOR_ACCESS"),
        ("NONE", True, "SETTINGS"),
        ("SOME", False, "INDEX"),
        ("ALL", True, "INDEX"),
    ],
)
def test_index_now_asks_for_access_first(probe, access, refused, action):
    assert home(probe, access=access, refused=refused)["index_now"] == action


def test_minutes_left_are_whole_and_never_none_of_them(probe):
    running = {"running": True, "total": 1000}
    assert home(probe, **running, done=400, per_minute=60)["minutes"] == 10
    assert home(probe, **running, done=360, per_minute=60)["minutes"] == 11  # of 10.7
    assert home(probe, **running, done=999, per_minute=60)["minutes"] == 1
    assert home(probe, **running, done=400, per_minute=0)["minutes"] == 0
    assert home(probe, **running, done=1000, per_minute=60)["minutes"] == 0
    assert home(probe, **running, done=400)["left"] == 600


def test_the_pace_is_that_of_the_last_hundred_photos_and_of_no_rest(probe):
    assert probe.ask("throughput", seconds=[*range(9)]) == 0  # too early
    assert probe.ask("throughput", seconds=[*range(10)]) == pytest.approx(60)
    assert probe.ask("throughput", seconds=[*range(60)]) == pytest.approx(60)
    slower = [*range(200), *(200 + 3 * i for i in range(1, 200))]
    assert probe.ask("throughput", seconds=slower) == pytest.approx(20)
    assert probe.ask("throughput", seconds=[*range(60), -1, *range(1000, 1005)]) == 0


@pytest.mark.parametrize(
    ("width", "tile", "gap", "side"),
    [
        (1080, 336, 6, 356),  # 360 dp at 3 pixels a dp: three columns
        (1440, 392, 7, 475),  # 411 dp at 3.5
        (1440, 448, 8, 474),  # 360 dp at 4
        (300, 336, 6, 336),  # narrower than a tile
        (2560, 224, 4, 229),
    ],
)
def test_tiles_are_decoded_as_large_as_they_are_shown(probe, width, tile, gap, side):
    assert probe.ask("tiles", width=width, tile=tile, gap=gap) == side


@pytest.mark.parametrize(
    ("uri", "data", "path", "volume"),
    [
        ("content://media/external_primary/images/media/7", None, None, "external_primary"),
        ("content://media/1a2b-3c4d/images/media/7", None, None, "1a2b-3c4d"),
        (
            "content://media/external/images/media/7",
            "/storage/emulated/0/DCIM/a.jpg",
            "content://media/external/images/media/7#primary",
            "primary",
        ),
        (
            "content://media/external/images/media/7",
            "/storage/1A2B-3C4D/DCIM/a.jpg",
            "content://media/external/images/media/7#1A2B-3C4D",
            "1A2B-3C4D",
        ),
        (
            "content://media/external/images/media/7",
            "/sdcard/a.jpg",
            "content://media/external/images/media/7#primary",
            "primary",
        ),
        (
            "content://media/external/images/media/7",
            "/storage/self/primary/DCIM/a.jpg",
            "content://media/external/images/media/7#primary",
            "primary",
        ),
        ("/home/me/a.jpg", None, None, ""),
    ],
)
def test_a_path_of_the_index_tells_volume_and_uri(probe, uri, data, path, volume):
    given = {"uri": uri} if data is None else {"uri": uri, "data": data}
    assert probe.ask("media_path", **given) == {"path": path or uri, "volume": volume, "uri": uri}


def test_the_library_s_manifest_asks_for_what_the_app_s_does_but_for_videos_and_places():
    """Gradle merges the one into the other, and `mcad-mobile app` takes the other as it is. An app
    that wants videos or places says so."""

    def parts(module: str) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
        """Permissions, and what Android starts behind the screens."""
        file = android_demo() / module / "src" / "main" / "AndroidManifest.xml"
        root = ElementTree.parse(file).getroot()
        permissions = {tuple(sorted(e.attrib.values())) for e in root.iter("uses-permission")}
        parts = [*root.iter("service"), *root.iter("receiver")]
        return permissions, {tuple(sorted(e.attrib.values())) for e in parts}

    permissions, started = parts("platform")
    more = {("android.permission.READ_MEDIA_VIDEO",), ("android.permission.ACCESS_MEDIA_LOCATION",)}
    assert parts("app") == (permissions | more, started)
    names = {name for names in parts("platform")[1] for name in names}
    assert {name for name in names if name.startswith("io.github.mcadmobile.")} == {
        "io.github.mcadmobile.platform.IndexService",
        "io.github.mcadmobile.platform.IndexJob",
        "io.github.mcadmobile.platform.BootReceiver",
    }


def test_gradle_leaves_an_npu_s_libraries_as_files():
    gradle = (android_demo() / "app" / "build.gradle").read_text("utf-8")
    assert "useLegacyPackaging = qnn != null" in gradle


def test_a_screen_reader_hears_the_answer_to_a_search_and_not_each_photo():
    layout = ElementTree.parse(android_demo() / "app/src/main/res/layout/search.xml")
    name = "{http://schemas.android.com/apk/res/android}"
    live = [
        view.get(f"{name}id")
        for view in layout.iter()
        if view.get(f"{name}accessibilityLiveRegion")
    ]
    assert live == ["@+id/status"]
    screen = (
        android_demo() / "app/src/main/java/io/github/mcadmobile/demo/SearchActivity.java"
    ).read_text()
    assert "progress.setText(" in screen
    (panel,) = [view for view in layout.iter() if view.get(f"{name}id") == "@+id/message"]
    assert panel.tag == "ScrollView"  # it is longer than the screen in large fonts
