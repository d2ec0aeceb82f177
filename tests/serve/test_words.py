"""Near duplicates on one stack, and words in photos: by HTTP, and on the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.words.photo_words import Line, PhotoWords
from tests.support.browser import QUERY, Open
from tests.support.servers import Server, indexed, tiny

BOX = (1000, 2000, 5000, 2000, 5000, 3000, 1000, 3000)


@pytest.fixture
def server(start: Callable[..., Server], photos: Path, tmp_path: Path) -> Server:
    """Photos, five copies of coffee.png, and text in coins.png, which was taken in Lisbon."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    coffee, coins = (next(folder.rglob(name)) for name in ("coffee.png", "coins.png"))
    with Image.open(coffee) as photo:
        for number in range(5):
            photo.putpixel((number, 0), (0, 0, 0))
            photo.save(folder / "here" / f"copy-{number}.png")
    bundle = tiny(tmp_path, "bundle")
    index = PhotoIndex.open(indexed(bundle, folder))
    lines = (Line("Boarding pass \u202eLIS\x1b[2J", 0.9, BOX), Line("Gate 12", 0.9, BOX))
    with index.writer() as writer:
        writer.set_words({str(coins.resolve()): PhotoWords(lines, ("Lisbon",), read=True)})
    return start("-b", bundle.directory)


def test_near_duplicates_are_one_hit_with_its_copies(server: Server) -> None:
    apart = server.search(QUERY)
    stacked = server.search(QUERY, stack=True)
    assert (stacked["total"], len(stacked["hits"])) == (apart["total"] - 5, apart["total"] - 5)
    (stack,) = [hit for hit in stacked["hits"] if hit["copies"]]
    names = {stack["name"], *(copy["name"] for copy in stack["copies"])}
    assert names == {"coffee.png", *(f"copy-{number}.png" for number in range(5))}
    assert not any(hit["copies"] for hit in apart["hits"])
    sides = {"left": {}, "right": {}}
    found = server.post("/api/compare", {"parts": [{"text": QUERY}], "stack": True, **sides})
    assert found["shared"] == len(found["left"]["hits"])


def test_words_are_found_and_told_without_characters_that_hide_others(server: Server) -> None:
    hits = server.search("boarding", by="words")["hits"]
    assert [hit["name"] for hit in hits] == ["coins.png"]
    line = "Boarding pass \\u202eLIS\\x1b[2J"
    assert hits[0]["matched"] == [{"source": "text", "line": line, "box": list(BOX)}]
    index = server.get("/api/status")["indexes"][0]
    assert index["has_words"]
    text = server.get(f"/api/indexes/{index['id']}/photos/{hits[0]['id']}/text")
    assert text == {"lines": [line, "Gate 12"], "places": ["Lisbon"]}
    there = server.search("a dog", filter={"place": "lisbon"})
    assert (there["photos"], [hit["name"] for hit in there["hits"]]) == (1, ["coins.png"])
    newest = server.search(filter={"place": "Lisbon"})
    assert [hit["name"] for hit in newest["hits"]] == ["coins.png"]


def test_a_stack_is_one_tile_whose_photos_the_viewer_shows(open_page: Open, server: Server) -> None:
    page = open_page(server)
    page.locator("#query").fill(QUERY)
    badge = page.locator("#left .copies")
    expect(badge).to_have_text("+5")
    page.locator("#left .photo").filter(has=page.locator(".copies")).click()
    expect(page.locator("#stack img")).to_have_count(6)
    page.locator("#stack button").nth(3).click()
    expect(page.locator("#name")).to_have_text(
        page.locator("#stack button").nth(3).get_attribute("aria-label") or ""
    )
    page.keyboard.press("Escape")
    page.locator("#copies").select_option("all shown")
    expect(badge).to_have_count(0)


def test_a_matched_line_is_under_the_photo_and_its_box_in_the_viewer(
    open_page: Open, server: Server
) -> None:
    page = open_page(server, permissions=("clipboard-read", "clipboard-write"))
    page.locator("#by").select_option("words in photos")
    page.locator("#query").fill("boarding")
    expect(page.locator("#left .headline")).to_contain_text("1 result")
    line = page.locator("#left bdi.line")
    expect(line).to_have_text("Boarding pass \\u202eLIS\\x1b[2J")
    page.locator("#left .photo").click()
    expect(page.locator("#matched bdi")).to_have_text("Boarding pass \\u202eLIS\\x1b[2J")
    polygon = page.locator("#boxes polygon")
    expect(polygon).to_have_count(1)
    picture, box = page.locator("#large").bounding_box(), polygon.bounding_box()
    across, down = page.evaluate("[large.naturalWidth, large.naturalHeight]")
    assert picture and box
    scale = min(picture["width"] / across, picture["height"] / down)
    left = picture["x"] + (picture["width"] - across * scale) / 2
    assert box["x"] == pytest.approx(left + 0.1 * across * scale, abs=3)
    assert box["width"] == pytest.approx(0.4 * across * scale, abs=6)
    page.get_by_role("button", name="Copy text").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines()[1] == "Gate 12"
    page.keyboard.press("Escape")
    page.locator("#query").fill("")
    page.locator("#place").fill("lisbon")
    page.locator("#place").press("Tab")
    expect(page.locator("#left .photo")).to_have_count(1)
