"""The page in real Chromium: by keyboard and by mouse."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from browser import QUERY, WIDTHS, Open, ask, assert_focused, assert_soon, found, names
from playwright.sync_api import expect
from servers import Server


def test_what_is_typed_is_found(open_page: Open, served: Server) -> None:
    page = open_page()
    count = served.get("/api/status")["indexes"][0]["photos"]
    expect(page.locator("#left .headline")).to_have_text(f"{count} photos")
    assert len(names(page)) == count
    page.keyboard.press("/")
    page.keyboard.type(QUERY)
    expect(page.locator("#left .headline")).to_contain_text("match")
    expected = found(served, QUERY)
    page.wait_for_function(
        "name => document.querySelector('#left .photo .name').textContent === name",
        arg=expected[0],
    )
    assert names(page) == expected
    score = served.search(QUERY)["hits"][0]["score"]
    expect(page.locator("#left .photo").first).to_contain_text(f"{score:.3f}")


def test_doubtful_ones_stand_apart(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    sure = served.search(QUERY)["matches"]
    expect(page.locator("#left .headline")).to_contain_text(f"{sure} of ")
    assert page.locator("#left li:not(.doubtful)").count() == sure
    heading = page.locator("#left .less-sure").bounding_box()
    last_sure = page.locator("#left li:not(.doubtful)").last.bounding_box()
    first_doubtful = page.locator("#left li.doubtful").first.bounding_box()
    assert last_sure and heading and first_doubtful
    assert last_sure["y"] + last_sure["height"] <= heading["y"]
    assert heading["y"] + heading["height"] <= first_doubtful["y"]


def test_all_of_it_by_keyboard(open_page: Open, served: Server) -> None:
    page = open_page()
    press = page.keyboard.press
    press("/")
    page.keyboard.type(QUERY)
    expect(page.locator("#left .headline")).to_contain_text("match")
    expected = found(served, QUERY)
    page.wait_for_function(
        "name => document.querySelector('#left .photo .name').textContent === name",
        arg=expected[0],
    )
    press("ArrowDown")
    assert_focused(page, expected[0])
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press("End")
    assert_focused(page, expected[-1])
    press("Home")
    press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    press("ArrowRight")
    expect(page.locator("#name")).to_have_text(expected[1])
    press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert_focused(page, expected[1])
    press("ArrowUp")
    assert_focused(page, "What the photo shows")
    press("ArrowDown")
    press("m")
    expect(page.locator(".chip")).to_contain_text(expected[0])
    assert_focused(page, "What the photo shows")
    press("ArrowDown")
    press("-")
    page.keyboard.type("snow")
    press("Enter")
    expect(page.locator(".chip.against")).to_contain_text("snow")
    press("Escape")
    expect(page.locator(".chip")).to_have_count(0)
    expect(page.locator("#left .headline")).to_have_text(f"{len(found(served, limit=1000))} photos")


def test_more_and_less_by_mouse(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    first = served.search(QUERY)["hits"][0]
    page.locator("#left li").first.hover()
    page.locator("#left li .like").first.click()
    expected = found(served, QUERY, {"photo": first["id"]})
    expect(page.locator("#left .headline")).to_contain_text("nearest first")
    assert names(page) == expected
    page.get_by_role("button", name="Turn round").click()
    expect(page.locator(".chip.against")).to_have_count(1)
    assert_soon(page, found(served, QUERY, {"photo": first["id"], "weight": -1}))
    page.get_by_role("button", name="Change").click()
    assert_soon(page, found(served, QUERY, {"photo": first["id"], "weight": -2}))
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="also").click()
    page.locator("#words").fill("snow")
    page.locator("#words").press("Enter")
    assert_soon(page, found(served, QUERY, {"text": "snow"}))


_CARRY = """([kind, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, {type: "image/png"}));
    const more = {bubbles: true, cancelable: true};
    const pasted = new ClipboardEvent("paste", {clipboardData: carried, ...more});
    if (kind === "paste") dispatchEvent(pasted);
    else for (const type of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(type, {dataTransfer: carried, ...more}));
}"""


@pytest.mark.parametrize("how", ["drop", "paste", "choose"])
def test_a_photo_finds_photos(open_page: Open, served: Server, photos: Path, how: str) -> None:
    page = open_page()
    photo = next(photos.rglob("coffee.png"))
    if how == "choose":
        page.set_input_files("#file", photo)
    else:
        data = base64.b64encode(photo.read_bytes()).decode()
        page.evaluate(_CARRY, [how, photo.name, data])
    expect(page.locator(".chip img")).to_be_visible()
    expect(page.locator("#left .headline")).to_contain_text("nearest first")
    assert names(page)[0] == "coffee.png"
    expect(page.locator("#drop")).to_be_hidden()


def test_a_file_that_is_no_photo_is_told(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "letter.png").write_text("Dear reader")
    page.set_input_files("#file", tmp_path / "letter.png")
    expect(page.get_by_role("alert")).to_contain_text("no JPEG, PNG, WebP or HEIC")
    expect(page.locator(".chip")).to_have_count(0)
    told_by_browser = "error: Failed to load resource: the server responded with a status of 422"
    assert [line.startswith(told_by_browser) for line in open_page.heard] == [True]  # type: ignore
    open_page.heard.clear()  # type: ignore[attr-defined]


def test_folders_and_days_filter(open_page: Open, served: Server, photos: Path) -> None:
    page = open_page()
    page.locator("#folder").select_option(label=page.locator("#folder option").nth(1).inner_text())
    here = {path.name for path in (photos / "here").iterdir()}
    page.wait_for_function(
        "count => document.querySelectorAll('#left .photo').length === count", arg=len(here)
    )
    assert set(names(page)) == here
    served.wait(lambda s: s["indexes"][0]["dates_known"] == s["indexes"][0]["photos"])
    page.locator("#after").fill("2023-05-06")
    page.locator("#before").fill("2023-05-06")
    assert_soon(page, ["lying.jpg"])
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#left .photo")).to_have_count(len(found(served, limit=1000)))


@pytest.mark.parametrize("width", WIDTHS)
def test_two_sides_are_marked_where_they_differ(
    open_page: Open, served: Server, width: str
) -> None:
    page = open_page(width=width)
    ask(page)
    page.get_by_role("button", name="Side by side").click()
    sides = {"left": {"bundle": "first"}, "right": {"bundle": "second"}}
    expected = served.post("/api/compare", {"parts": [{"text": QUERY}], **sides})
    expect(page.locator("#right .numbers .total")).to_be_visible()
    page.evaluate("scrollTo(0, 1e6)")
    page.wait_for_timeout(200)
    page.evaluate("scrollTo(0, 0)")
    for side in sides:
        hits = expected[side]["hits"]
        shown = names(page, side)
        assert shown == [hit["name"] for hit in hits][: len(shown)]
        marks = page.locator(f"#{side} .mark").all_inner_texts()
        for number, (hit, mark) in enumerate(zip(hits, marks, strict=False), start=1):
            if hit["only_here"]:
                assert mark == "only here"
            else:
                assert str(hit["elsewhere"]) in mark or hit["elsewhere"] == number
    page.keyboard.press("Escape")


def test_an_answer_that_was_overtaken_is_not_shown(open_page: Open, served: Server) -> None:
    page = open_page()
    held: list[Any] = []
    page.route("**/api/search", lambda route: held.append(route))
    page.locator("#query").fill("a dog")
    page.wait_for_function("() => performance.getEntriesByName('asked').length >= 2")
    page.locator("#query").fill("a red car")
    page.wait_for_timeout(300)
    assert len(held) == 2
    held[1].continue_()
    assert_soon(page, found(served, "a red car"))
    held[0].fulfill(json=served.search("a dog"))
    page.wait_for_timeout(300)
    assert names(page) == found(served, "a red car")


def test_ten_thousand_characters_are_taken(open_page: Open) -> None:
    page = open_page()
    page.locator("#query").fill("a dog on the beach " * 526)
    expect(page.locator("#left .note")).to_contain_text("beginning")


def test_who_does_not_see_the_page_is_told(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    answer = served.search(QUERY)
    live = page.get_by_role("status")
    expect(live).to_contain_text(f"{answer['matches']} of {answer['total']} photos")
    item = page.get_by_role("listitem").first
    assert item.get_attribute("aria-posinset") == "1"
    assert item.get_attribute("aria-setsize") == str(answer["total"])
