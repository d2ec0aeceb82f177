"""The page in real Chromium: by keyboard and by mouse, wide and narrow, light and dark."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import WIDTHS, chromium, violations
from playwright.sync_api import Browser, Page, expect, sync_playwright
from servers import Server, indexed, tiny

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import create_index

Open = Callable[..., Page]
QUERY = "a dog on the beach"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser, served: Server, start: Callable[..., Server]) -> Iterator[Open]:
    """Opens pages, which are closed before servers are stopped. At the end, nothing went wrong on
    their consoles, and nothing but the server was asked for anything."""
    heard: list[str] = []
    asked: list[str] = []
    contexts = []

    def begin(
        server: Server = served, width: str = "desktop", scheme: str = "light", **more: Any
    ) -> Page:
        across, down = WIDTHS[width]
        context = browser.new_context(
            viewport={"width": across, "height": down},
            color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=width == "phone",
            is_mobile=width == "phone",
            **more,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        expect(page.locator("#left .headline")).to_contain_text("photo")
        return page

    begin.heard = heard  # type: ignore[attr-defined]
    yield begin
    for context in contexts:
        context.close()
    assert heard == []
    assert {url.split("/")[2].split(":")[0] for url in asked} == {"127.0.0.1"}


def names(page: Page, side: str = "left") -> list[str]:
    """Photos in the order of the page, as a screen reader is told them."""
    return list(page.locator(f"#{side} .photo .name").all_text_contents())


def found(server: Server, *parts: object, **more: object) -> list[str]:
    return [hit["name"] for hit in server.search(*parts, **more)["hits"]]


def ask(page: Page, text: str = QUERY) -> None:
    """Type, and wait for the answer."""
    page.locator("#query").fill(text)
    expect(page.locator("#left .numbers .total")).to_be_visible()
    expect(page.locator("#left .headline")).to_contain_text("match")


def focused(page: Page) -> str:
    return str(
        page.evaluate(
            """() => document.activeElement.querySelector(".name")?.textContent
            ?? document.activeElement.ariaLabel"""
        )
    )


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
    assert focused(page) == expected[0]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press("End")
    assert focused(page) == expected[-1]
    press("Home")
    press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    press("ArrowRight")
    expect(page.locator("#name")).to_have_text(expected[1])
    press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert focused(page) == expected[1]
    press("ArrowUp")
    assert focused(page) == "What the photo shows"
    press("ArrowDown")
    press("m")
    expect(page.locator(".chip")).to_contain_text(expected[0])
    assert focused(page) == "What the photo shows"
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


def assert_soon(page: Page, expected: list[str], side: str = "left") -> None:
    page.wait_for_function(
        """([side, expected]) => JSON.stringify(expected) === JSON.stringify(
        [...document.querySelectorAll(`#${side} .photo .name`)].map((name) => name.textContent))""",
        arg=[side, expected],
    )


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_axe_finds_nothing(open_page: Open, width: str, scheme: str) -> None:
    """In each of its states, for what axe-core sees of the tree that screen readers read."""
    page = open_page(width=width, scheme=scheme, bypass_csp=True)  # axe is put in from outside
    assert fits(page)
    assert violations(page) == []
    ask(page)
    page.get_by_role("button", name="also").click()
    page.locator("#words").fill("snow")
    page.locator("#words").press("Enter")
    expect(page.locator(".chip")).to_have_count(1)
    if width == "phone":
        page.get_by_role("button", name="Filters").click()
    assert fits(page)
    assert violations(page) == []
    page.get_by_role("button", name="Remove snow").click()
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#right .numbers .total")).to_be_visible()
    assert fits(page)
    assert violations(page) == []
    page.locator("#left .photo").first.click()
    expect(page.locator("#large")).to_be_visible()
    assert fits(page)
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keyboard")).to_be_visible()
    assert violations(page) == []


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_axe_would_find_something(open_page: Open) -> None:
    page = open_page(bypass_csp=True)
    page.evaluate("document.querySelector('#help').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('#help').replaceChildren()")
    page.evaluate("document.querySelector('#help').removeAttribute('title')")
    assert any("button-name" in line for line in violations(page))


def test_motion_is_reduced_for_whom_it_is_too_much(open_page: Open) -> None:
    moves = "getComputedStyle(document.querySelector('.frame img')).transitionDuration"
    assert open_page().evaluate(moves) != "0s"
    assert open_page(reduced_motion="reduce").evaluate(moves) == "0s"


def test_dark_is_dark_and_light_is_light(open_page: Open) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (
        sum(map(int, open_page(scheme=s).evaluate(paper)[4:-1].split(","))) / 3
        for s in ("light", "dark")
    )
    assert light > 230
    assert dark < 40


def test_ten_thousand_photos_are_scrolled_with_few_of_them_in_the_document(
    open_page: Open, start: Callable[..., Server], tmp_path: Path
) -> None:
    """Where the last one is reached, and by keyboard, too."""
    many = tmp_path / "many"
    many.mkdir()
    first = many / "00000.jpg"
    shutil.copy(next(path for path in packaged_photos() if path.suffix == ".jpg"), first)
    paths = [first, *(many / f"{number:05}.jpg" for number in range(1, 10_000))]
    for path in paths[1:]:
        path.hardlink_to(first)
    bundle = tiny(tmp_path, "bundle")
    rows = np.random.default_rng(1).normal(size=(10_000, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with create_index(bundle, tmp_path / "bundle.index").writer() as writer:
        writer.add([str(path) for path in paths], rows)
    server = start("-b", bundle.directory)
    page = open_page(server)
    expect(page.locator("#left .headline")).to_contain_text("10,000 photos")
    for text in ("", QUERY):
        page.locator("#query").fill(text)
        page.wait_for_timeout(500)
        page.locator("#query").press("ArrowDown")
        page.keyboard.press("End")
        page.wait_for_function(
            '() => document.querySelector(`#left li[aria-posinset="10000"]`) !== null'
        )
        expect(page.locator('#left li[aria-posinset="10000"]')).to_be_in_viewport()
        assert page.locator("#left li").count() < 300
        page.keyboard.press("Escape")
        page.evaluate("scrollTo(0, 0)")
    shown = page.evaluate("document.querySelectorAll('#left .frame img.here').length")
    assert shown > 0


def test_a_photo_that_is_gone_is_a_quiet_tile(
    open_page: Open, start: Callable[..., Server], tmp_path: Path, photos: Path
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    bundle = tiny(tmp_path, "bundle")
    indexed(bundle, tmp_path / "photos")
    (tmp_path / "photos" / "here" / "camera.png").unlink(missing_ok=True)
    (tmp_path / "photos" / "there" / "camera.png").unlink(missing_ok=True)
    page = open_page(start("-b", bundle.directory))
    tile = page.locator("li.gone")
    expect(tile).to_have_count(1)
    expect(tile).to_contain_text("cannot be shown")
    expect(tile.get_by_role("button", name="camera.png")).to_be_visible()
    tile.get_by_role("button").first.click()
    expect(page.locator("#absent")).to_be_visible()
    assert all("404" in line for line in open_page.heard)  # type: ignore[attr-defined]
    open_page.heard.clear()  # type: ignore[attr-defined]


def test_a_name_that_is_markup_is_text(
    open_page: Open, start: Callable[..., Server], tmp_path: Path, photos: Path
) -> None:
    evil = "<img src=x onerror=document.title='taken'>.png"
    folder = tmp_path / "photos" / "<b>bold<b>"
    folder.mkdir(parents=True)
    shutil.copy(next(photos.rglob("coins.png")), folder / evil)
    shutil.copy(next(photos.rglob("moon.png")), tmp_path / "photos")
    bundle = tiny(tmp_path, "bundle")
    indexed(bundle, tmp_path / "photos")
    page = open_page(start("-b", bundle.directory))
    ask(page)
    assert evil in names(page)
    page.locator("#left .photo").nth(names(page).index(evil)).click()
    expect(page.locator("#name")).to_have_text(evil)
    assert page.title() == "mcad-mobile"
    assert page.locator("b b, option b").count() == 0


def test_indexing_is_seen_and_stopped(
    open_page: Open, start: Callable[..., Server], tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(1500):
        (tmp_path / "photos" / f"{number}.jpg").hardlink_to(next(photos.rglob("rocket.jpg")))
    bundle = tiny(tmp_path, "bundle")
    page = open_page(start("-b", bundle.directory, "--photos", tmp_path / "photos"))
    expect(page.locator("#told")).to_contain_text("of 1,500 photos")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#told")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Index again")).to_be_visible()
    page.wait_for_function("() => document.querySelectorAll('#left .photo').length > 0")


def test_a_server_that_has_ended_is_told(
    open_page: Open, start: Callable[..., Server], tmp_path: Path, photos: Path
) -> None:
    bundle = tiny(tmp_path, "bundle")
    indexed(bundle, photos)
    server = start("-b", bundle.directory)
    page = open_page(server)
    server.stop()
    page.locator("#query").fill("a dog")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    assert page.locator("#left .photo").count() > 0
    open_page.heard.clear()  # type: ignore[attr-defined]
