"""The page in real Chromium: by keyboard and by mouse."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.serve.photos import UPLOAD_BYTES
from tests.support.browser import QUERY, WIDTHS, Open, ask, assert_focused, assert_soon, found
from tests.support.servers import TIMEOUT_S, Server, indexed, tiny
from tests.support.variants import first_of


def test_what_is_typed_is_found(open_page: Open, served: Server) -> None:
    page = open_page()
    count = served.get("/api/status")["indexes"][0]["photos"]
    expect(page.locator("#left .headline")).to_have_text(f"{count} results")
    expect(page.locator("#left .photo")).to_have_count(count)
    page.keyboard.press("/")
    page.keyboard.type(QUERY)
    assert_soon(page, found(served, QUERY))
    score = served.search(QUERY)["hits"][0]["score"]
    expect(page.locator("#left .photo").first).to_contain_text(f"{score:.3f}")
    page.locator("#left").get_by_label("Bundle and rung").select_option('["second","onnx fp32"]')
    assert_soon(page, found(served, QUERY, bundle="second"))


def test_all_photos_are_shown_alike_nearest_first(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    photos = served.search(QUERY)["photos"]
    expect(page.locator("#left .headline")).to_have_text(f"{photos} results, nearest first")
    expect(page.locator("#left li")).to_have_count(photos)
    styles = page.evaluate(
        """() => [...document.querySelectorAll("#left li .frame")].map(
            (frame) => getComputedStyle(frame).opacity + getComputedStyle(frame, "::after").content
        )"""
    )
    assert set(styles) == {"1none"}


def test_all_of_it_by_keyboard(open_page: Open, served: Server) -> None:
    page = open_page()
    press = page.keyboard.press
    press("/")
    page.keyboard.type(QUERY)
    expected = found(served, QUERY)
    assert_soon(page, expected)
    press("ArrowDown")
    assert_focused(page, expected[0])
    expect(page.locator("#left .photo").first).to_have_css("outline-style", "solid")
    columns = page.evaluate(
        """() => new Set([...document.querySelectorAll("#left li")].map((item) =>
        item.style.left)).size"""
    )
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", columns + 1),
        ("ArrowLeft", columns),
        ("ArrowUp", 0),
        ("PageDown", -1),
        ("PageUp", 0),
        ("End", -1),
        ("Home", 0),
    ):
        press(key)
        assert_focused(page, expected[place])
    press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        press(key)
        expect(page.locator("#name")).to_have_text(expected[place])
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
    newest = found(served, limit=1000)
    expect(page.locator("#left .headline")).to_have_text(f"{len(newest)} results")
    press("ArrowDown")
    assert_focused(page, newest[0])
    press("x")
    expect(page.locator(".chip.against")).to_contain_text(newest[0])
    press("ArrowDown")
    press("c")
    expect(page.locator("#right .headline")).to_contain_text("both sides")


def test_the_plus_key_begins_words_that_are_wanted_too(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    page.locator("#query").press("ArrowDown")
    page.keyboard.press("+")
    page.keyboard.type("snow")
    page.keyboard.press("Enter")
    assert_soon(page, found(served, QUERY, {"text": "snow"}))
    expect(page.locator(".chip:not(.against)")).to_contain_text("snow")


def test_keys_with_control_are_left_to_the_browser(open_page: Open) -> None:
    page = open_page()
    ask(page)
    page.locator("#query").press("ArrowDown")
    for key in ("Control+c", "Control+m"):
        page.keyboard.press(key)
        expect(page.locator("#right")).to_be_hidden()
        expect(page.locator(".chip")).to_have_count(0)


def test_the_viewer_by_mouse(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    expected = found(served, QUERY)
    page.locator("#left .photo").first.click()
    viewer = page.get_by_role("dialog")
    previous, following, close = (
        viewer.get_by_role("button", name=name)
        for name in ("Previous photo", "Next photo", "Close")
    )
    expect(previous).to_be_disabled()
    for button, place in ((following, 1), (previous, 0)):
        button.click()
        expect(page.locator("#name")).to_have_text(expected[place])
    close.click()
    expect(page.locator("#viewer")).to_be_hidden()
    for day in ("#after", "#before"):
        page.locator(day).fill("2023-05-06")
    assert_soon(page, ["lying.jpg"])
    page.locator("#left .photo").click()
    expect(following).to_be_disabled()


def test_more_and_less_by_keys_of_the_viewer(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    first = served.search(QUERY)["hits"][0]
    for key, weight in (("m", 1), ("x", -1)):
        assert_soon(page, found(served, QUERY))
        page.locator("#left .photo").first.click()
        expect(page.locator("#viewer")).to_be_visible()
        page.keyboard.press(key)
        assert_soon(page, found(served, QUERY, {"photo": first["id"], "weight": weight}))
        expect(page.locator("#viewer")).to_be_hidden()
        page.get_by_role("button", name="Remove").click()


def test_more_and_less_by_mouse(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    first = served.search(QUERY)["hits"][0]
    page.locator("#left li").first.hover()
    page.locator("#left li .like").first.click()
    expected = found(served, QUERY, {"photo": first["id"]})
    expect(page.locator("#left .headline")).to_contain_text("nearest first")
    assert_soon(page, expected)
    page.get_by_role("button", name="Reverse").click()
    expect(page.locator(".chip.against")).to_have_count(1)
    assert_soon(page, found(served, QUERY, {"photo": first["id"], "weight": -1}))
    page.get_by_role("button", name="Change").click()
    assert_soon(page, found(served, QUERY, {"photo": first["id"], "weight": -2}))
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="also").click()
    page.locator("#words").fill("snow")
    page.locator("#words").press("Enter")
    assert_soon(page, found(served, QUERY, {"text": "snow"}))
    page.get_by_role("button", name="Remove").click()
    for button, weight in (("Less like this", -1), ("More like this", 1)):
        page.locator("#left .photo").filter(has_text=first["name"]).click()
        facts = (f"score {first['score']:.3f}", first["taken"], first["folder"])
        expect(page.locator("#facts")).to_have_text(" \u00b7 ".join(facts))
        page.get_by_role("dialog").get_by_role("button", name=button).click()
        assert_soon(page, found(served, QUERY, {"photo": first["id"], "weight": weight}))
        page.get_by_role("button", name="Remove").click()


def test_more_and_then_less_like_a_photo_is_less_like_it(open_page: Open, served: Server) -> None:
    page = open_page()
    find_200(page, served)
    for button in ("More like this", "Less like this"):
        page.locator("#left .photo").first.click()
        page.get_by_role("dialog").get_by_role("button", name=button).click()
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator(".chip.against")).to_contain_text("0.jpg")


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


@pytest.mark.parametrize("how", ["drop", "paste", pytest.param("choose", marks=pytest.mark.slow)])
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
    expect(page.locator("#left .photo .name").first).to_have_text("coffee.png")
    expect(page.locator("#drop")).to_be_hidden()


def test_a_file_that_is_no_photo_is_told(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "letter.png").write_text("Dear reader")
    page.set_input_files("#file", tmp_path / "letter.png")
    expect(page.get_by_role("alert")).to_contain_text("not a JPEG, PNG, WebP or HEIC")
    expect(page.locator(".chip")).to_have_count(0)
    ask(page)  # no answer to another question takes it away
    expect(page.get_by_role("alert")).to_be_visible()
    told_by_browser = "error: Failed to load resource: the server responded with a status of 422"
    assert [line.startswith(told_by_browser) for line in open_page.heard] == [True]  # type: ignore
    open_page.heard.clear()  # type: ignore[attr-defined]


def test_a_photo_that_is_too_large_is_refused_with_the_limit(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page()
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(UPLOAD_BYTES + 1)
    page.set_input_files("#file", tmp_path / "large.jpg")
    expect(page.get_by_role("alert")).to_contain_text("large.jpg is larger than 32 MiB")
    expect(page.locator(".chip")).to_have_count(0)


def test_folders_and_days_filter(open_page: Open, served: Server, photos: Path) -> None:
    page = open_page()
    page.locator("#folder").select_option(label=page.locator("#folder option").nth(1).inner_text())
    here = {path.name for path in (photos / "here").iterdir()}
    newest = found(served, filter={"folder": folder_id(served, "here")}, limit=1000)
    assert set(newest) == here
    assert_soon(page, newest)
    page.locator("#after").fill("2023-05-06")
    page.locator("#before").fill("2023-05-06")
    assert_soon(page, ["lying.jpg"])
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#left .photo")).to_have_count(len(found(served, limit=1000)))


def test_another_index_brings_its_photos_and_its_folders(
    open_page: Open, start: Callable[..., Server], photos: Path, tmp_path: Path
) -> None:
    bundle = tiny(tmp_path, "bundle")
    for name, folder in (("all", photos), ("some", photos / "here")):
        indexed(bundle, folder).rename(tmp_path / name)
    options = (f"--index={tmp_path / name}" for name in ("all", "some"))
    server = start("-b", bundle.directory, *options)
    page = open_page(server)
    expect(page.locator("#folder option")).to_have_count(3)
    page.locator("#left").get_by_label("Index", exact=True).select_option("some")
    some = found(server, index="some", limit=1000)
    assert_soon(page, some)
    expect(page.locator("#folder option")).to_have_text([f"all ({len(some)})"])


def test_side_by_side_stays_after_a_reload(open_page: Open) -> None:
    page = open_page()
    ask(page)
    both = page.get_by_role("button", name="Side by side")
    both.click()
    page.wait_for_url("**compare=1*")
    page.reload()
    expect(page.locator("#right .headline")).to_contain_text("both sides")
    expect(both).to_have_attribute("aria-pressed", "true")


def test_back_and_reload_keep_words_parts_and_filters(open_page: Open, served: Server) -> None:
    page = open_page()
    count = len(found(served, limit=1000))
    ask(page)
    page.wait_for_url("**/#q=*")
    page.get_by_role("button", name="also").click()
    page.locator("#words").fill("snow")
    page.locator("#words").press("Enter")
    page.get_by_role("button", name="weight 1").click()
    first = page.locator("#left li").first
    first.hover()
    first.locator(".like").click()
    expect(page.locator(".chip")).to_have_count(2)
    page.locator("#folder").select_option(folder_id(served, "here"))
    page.wait_for_url("**folder=*")
    texts = page.evaluate("new URLSearchParams(location.hash.slice(1)).getAll('part')")
    photo = json.loads(texts[1])
    parts = [QUERY, {"text": "snow", "weight": 2}, {"photo": photo[2]}]
    expected = found(served, *parts, filter={"folder": folder_id(served, "here")}, limit=1000)
    assert_soon(page, expected)
    page.reload()
    assert_soon(page, expected)
    expect(page.locator("#query")).to_have_value(QUERY)
    expect(page.locator(".chip img")).to_be_visible()
    expect(page.get_by_role("button", name="Clear filters")).to_be_visible()
    while page.locator("#query").input_value():
        before = page.url
        page.go_back()
        page.wait_for_function("before => location.href !== before", arg=before)
    expect(page.locator("#left .photo")).to_have_count(count)
    expect(page.locator(".chip")).to_have_count(0)
    page.go_forward()
    assert_soon(page, found(served, QUERY))


@pytest.mark.parametrize("address", ["#part=1&part=[]&part=[1,2,3]&folder=no", "#q=%ff&after="])
def test_an_address_that_is_wrong_shows_photos(
    open_page: Open, served: Server, address: str
) -> None:
    page = open_page()
    page.goto("about:blank")
    page.goto(f"{served.url}{address}")
    expect(page.locator("#left .photo")).to_have_count(len(found(served, limit=1000)))


def test_an_empty_range_of_days_is_explained(open_page: Open, served: Server) -> None:
    page = open_page()
    headline = page.locator("#left .headline")
    page.locator("#after").fill("1990-01-01")
    page.locator("#before").fill("1990-02-01")
    expect(headline).to_contain_text("No photos from 1990-01-01 to 1990-02-01")
    expect(headline).to_contain_text("photos from 2023-05-06 to ")
    page.locator("#query").fill("a dog")
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#right .headline")).to_contain_text("No photos from 1990-01-01")
    page.get_by_role("button", name="Side by side").click()
    page.locator("#query").fill("")
    page.locator("#after").fill("1990-03-01")
    expect(headline).to_contain_text("the last day is before the first")
    expect(page.locator("#left .note")).to_contain_text("Swap")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#left .photo")).to_have_count(len(found(served, limit=1000)))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_small_photo_fills_the_viewer(open_page: Open, width: str) -> None:
    page = open_page(width=width)
    page.locator("#left .photo").filter(has_text="lying.jpg").click()
    page.wait_for_function("() => document.querySelector('#large').naturalWidth")
    shown = page.locator("#large").bounding_box()
    across, down = WIDTHS[width]
    assert shown and shown["width"] > 0.8 * min(across, 1180)
    assert shown["height"] > 0.6 * down


def test_focus_stays_where_it_is(
    open_page: Open, start: Callable[..., Server], photos: Path, tmp_path: Path
) -> None:
    """On a part's button that is pressed, and on a photo while the index grows."""
    (tmp_path / "photos").mkdir()
    bundle = tiny(tmp_path, "bundle")
    originals = sorted(photos.rglob("*.*"))
    for photo in originals[:6]:
        shutil.copy(photo, tmp_path / "photos")
    directory = indexed(bundle, tmp_path / "photos")
    page = open_page(start("-b", bundle.directory))
    page.get_by_role("button", name="also").click()
    page.locator("#words").fill("snow")
    page.locator("#words").press("Enter")
    page.get_by_role("button", name="Reverse").press("Enter")
    assert_focused(page, "snow: not wanted. Reverse")
    page.get_by_role("button", name="weight 1").press("Enter")
    assert_focused(page, "snow: weight 2. Change")
    page.get_by_role("button", name="Remove snow").click()
    page.locator("#query").press("ArrowDown")
    page.keyboard.press("ArrowRight")
    name = page.evaluate("document.activeElement.querySelector('.name').textContent")
    for photo in originals[6:9]:
        shutil.copy(photo, tmp_path / "photos")
    SearchEngine(bundle).index_folder(PhotoIndex.open(directory), tmp_path / "photos")
    expect(page.locator("#left .photo")).to_have_count(9)
    assert_focused(page, name)


def test_messages_are_for_a_browser(open_page: Open) -> None:
    """Options of the command line are for a terminal; long ones fit on a narrow screen."""
    page = open_page(width="phone")
    long = f"The file {'x' * 3000} cannot be read."
    problem = {"error": long, "hint": "Give a folder: --photos DIR."}
    page.route("**/api/search", lambda route: route.fulfill(status=409, json=problem))
    page.locator("#query").fill("a dog")
    alert = page.get_by_role("alert")
    expect(alert).to_have_text(f"{long} In a terminal: Give a folder: --photos DIR.")
    box = alert.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= WIDTHS["phone"][0]
    assert box["y"] >= 0
    page.unroute("**/api/search")
    page.route("**/api/search", lambda route: route.abort())
    page.locator("#query").fill("a cat")
    expect(alert).to_contain_text("The server does not answer.")
    page.unroute("**/api/search")
    page.locator("#query").fill("a bird")
    expect(alert).to_be_hidden(timeout=4000)  # earlier than it would go by itself
    open_page.heard.clear()  # type: ignore[attr-defined]


def folder_id(server: Server, name: str) -> str:
    folders = server.get("/api/indexes/first.index/folders")
    return next(str(folder["id"]) for folder in folders if folder["name"] == name)


@pytest.mark.parametrize("width", WIDTHS)
def test_two_sides_are_marked_where_they_differ(
    open_page: Open, served: Server, width: str
) -> None:
    page = open_page(width=width)
    ask(page)
    page.get_by_role("button", name="Side by side").click()
    sides = {"left": {"bundle": "first"}, "right": {"bundle": "second"}}
    expected = served.post("/api/compare", {"parts": [{"text": QUERY}], **sides})
    for side in sides:
        hits = expected[side]["hits"]
        page.evaluate("scrollTo(0, 1e6)")
        expect(page.locator(f"#{side} li[aria-posinset='{len(hits)}']")).to_be_in_viewport()
        page.evaluate("scrollTo(0, 0)")
        expect(page.locator(f"#{side} li[aria-posinset='1']")).to_be_in_viewport()
        for number, hit in enumerate(hits[:6], start=1):
            item = page.locator(f"#{side} li[aria-posinset='{number}']")
            expect(item.locator(".name")).to_have_text(hit["name"])
            if hit["only_here"]:
                expect(item.locator(".mark")).to_have_text("only here")
            elif hit["elsewhere"] == number:
                expect(item.locator(".mark")).to_have_count(0)
            else:
                arrow = "\u2191" if hit["elsewhere"] < number else "\u2193"
                expect(item.locator(".mark")).to_contain_text(f"{arrow} {hit['elsewhere']}")


def test_without_words_there_is_one_side_and_it_says_so(open_page: Open, served: Server) -> None:
    page = open_page(width="desktop")
    first = page.locator("#left li[aria-posinset='1']")
    expect(first).to_be_visible()
    whole = page.locator("#left").bounding_box()
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#left .note")).to_have_text("Side by side begins with your first words.")
    expect(page.locator("#right")).to_be_hidden()
    assert whole and page.locator("#left").bounding_box()["width"] == whole["width"]
    page.locator("#query").fill(QUERY)
    expect(page.locator("#right .headline")).to_contain_text("on both sides")
    expect(page.locator("#left .note")).to_be_hidden()
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#right")).to_be_hidden()
    expect(page.locator("#left .note")).to_be_hidden()


def test_an_answer_that_was_overtaken_is_not_shown(open_page: Open, served: Server) -> None:
    page = open_page()
    held: list[Any] = []
    page.route("**/api/search", lambda route: held.append(route))
    page.locator("#query").fill("a dog")
    page.locator("#query").fill("a red car")
    wait_until(page, lambda: len(held) == 2)
    held[1].continue_()
    expected = found(served, "a red car")
    assert_soon(page, expected)
    held[0].fulfill(json=served.search("a dog"))
    page.unroute("**/api/search")
    page.locator("#left .photo").first.click()  # what was put on the page by then stays there
    expect(page.locator("#name")).to_have_text(expected[0])
    assert_soon(page, expected)


def test_every_key_asks_at_once(open_page: Open) -> None:
    """However slow the answers are; those that were typed on are given up."""
    page = open_page()
    asked: list[Any] = []
    given_up: list[Any] = []
    page.on("requestfailed", lambda request: given_up.append(request))
    page.route("**/api/search", lambda route: asked.append(route))
    page.locator("#query").press_sequentially(QUERY)
    wait_until(page, lambda: len(asked) == len(QUERY))
    assert [json.loads(route.request.post_data)["parts"] for route in asked] == [
        [{"text": QUERY[:end]}] for end in range(1, len(QUERY) + 1)
    ]
    wait_until(page, lambda: len(given_up) == len(QUERY) - 1)


def test_a_picture_never_stands_over_anothers_name(open_page: Open, served: Server) -> None:
    """Also where new ones are long in coming, and an item that showed a photo shows another."""
    page = open_page()
    names = {hit["id"]: hit["name"] for hit in served.search(limit=1000)["hits"]}
    folders = [folder_id(served, name) for name in ("here", "there")]
    page.locator("#folder").select_option(folders[0])
    assert_soon(page, found(served, filter={"folder": folders[0]}, limit=1000))
    page.wait_for_function(
        "() => [...document.querySelectorAll('#left img')].every((one) => one.naturalWidth)"
    )
    page.route("**/thumbnail", lambda route: None)
    page.locator("#folder").select_option(folders[1])
    assert_soon(page, found(served, filter={"folder": folders[1]}, limit=1000))
    shown = page.evaluate(
        """() => [...document.querySelectorAll("#left li:has(img[src])")].map((one) => [
        one.querySelector("img").src.split("/").at(-2), one.querySelector(".name").textContent])"""
    )
    assert [names[photo] for photo, _ in shown] == [name for _, name in shown]


@pytest.mark.parametrize("ms", [0, 1000])
def test_a_picture_is_given_up_only_where_it_is_long_in_coming(
    open_page: Open, served: Server, ms: int
) -> None:
    """And with it its connection, which others could use."""
    page = open_page()
    address = page.url
    page.goto("about:blank")  # what that page was still loading is not held, and not given up
    held: list[Any] = []
    given_up: list[str] = []
    page.add_init_script("performance.now = () => window.ms ?? 0")
    page.route("**/thumbnail", lambda route: held.append(route))
    page.on("requestfailed", lambda request: given_up.append(request.url))
    page.goto(address)
    wait_until(page, lambda: len(held) == 4)
    names = {hit["id"]: Path(hit["folder"]).name for hit in served.search(limit=1000)["hits"]}
    folders = [names[route.request.url.split("/")[-2]] for route in held]
    other = "there" if folders[0] == "here" else "here"
    page.evaluate("ms => void (window.ms = ms)", ms)
    page.locator("#folder").select_option(folder_id(served, other))
    assert_soon(page, found(served, filter={"folder": folder_id(served, other)}, limit=1000))
    page.evaluate("() => new Promise(requestAnimationFrame)")
    if ms:
        wait_until(page, lambda: len(given_up) == folders.count(folders[0]))
    assert bool(given_up) == bool(ms)


def wait_until(page: Page, true: Callable[[], bool]) -> None:
    """For what the test itself is told: playwright tells it while it waits for the page."""
    until = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < until
        page.evaluate("() => new Promise(requestAnimationFrame)")


def test_ten_thousand_characters_are_taken(open_page: Open) -> None:
    page = open_page()
    page.locator("#query").fill("a dog on the beach " * 526)
    expect(page.locator("#left .note")).to_contain_text("beginning")


def test_who_does_not_see_the_page_is_told(open_page: Open, served: Server) -> None:
    page = open_page()
    ask(page)
    answer = served.search(QUERY)
    live = page.get_by_role("status")
    expect(live).to_contain_text(f"{answer['photos']} results, nearest first")
    item = page.get_by_role("listitem").first
    expect(item).to_have_attribute("aria-posinset", "1")
    expect(item).to_have_attribute("aria-setsize", str(answer["total"]))


def find_200(page: Page, served: Server) -> list[int]:
    """Answer searches with 0.jpg to 199.jpg. Returns the offsets that were asked for, as they are
    asked."""
    answer = served.search("a dog")
    hits = [
        {**answer["hits"][0], "id": f"{place:020x}", "name": f"{place}.jpg"} for place in range(200)
    ]
    asked: list[int] = []

    def search(route: Any) -> None:
        query = json.loads(route.request.post_data)
        offset = query.get("offset", 0)
        asked.append(offset)
        shown = hits[offset : offset + query["limit"]]
        route.fulfill(json={**answer, "hits": shown, "photos": 200, "total": 200})

    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "PNG")
    page.route("**/api/search", search)
    for picture in ("**/thumbnail", "**/view"):
        page.route(picture, lambda route: route.fulfill(body=pixel.getvalue()))
    page.locator("#query").fill("a dog")
    expect(page.locator("#left .headline")).to_have_text("200 results, nearest first")
    return asked


@pytest.mark.parametrize("changed", first_of(["indexes", "bundles"]))
def test_the_viewer_goes_on_from_its_photo_when_the_page_asks_again(
    open_page: Open, served: Server, changed: str
) -> None:
    """As it does when an index has grown, or a bundle was replaced."""
    page = open_page()
    asked = find_200(page, served)
    page.locator("#left .photo").first.click()
    for place in range(1, 71):
        page.keyboard.press("ArrowRight")
        expect(page.locator("#name")).to_have_text(f"{place}.jpg")
    status = served.get("/api/status")
    status[changed][0]["generation"] += 1
    before = len(asked)
    page.route("**/api/status", lambda route: route.fulfill(json=status))
    wait_until(page, lambda: len(asked) > before)
    page.evaluate("() => new Promise((then) => setTimeout(then, 50))")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#name")).to_have_text("71.jpg")
    page.keyboard.press("Escape")
    assert_focused(page, "71.jpg")


def fail_once(page: Page, address: str) -> list[Any]:
    """Let the first request to `address` fail; it is in the list, once it has."""
    failed: list[Any] = []

    def answer(route: Any) -> None:
        if failed:
            route.fallback()
        else:
            failed.append(route)
            route.abort()

    page.route(address, answer)
    return failed


def test_a_page_of_photos_that_fails_is_asked_for_again(open_page: Open, served: Server) -> None:
    page = open_page()
    find_200(page, served)
    failed = fail_once(page, "**/api/search")
    page.evaluate("scrollTo(0, 1e6)")
    wait_until(page, lambda: bool(failed))
    expect(page.get_by_role("alert")).to_be_visible()
    page.evaluate("scrollBy(0, -1)")
    last = min(json.loads(failed[0].request.post_data)["offset"] + 64, 200)
    expect(page.locator(f'#left li[aria-posinset="{last}"]')).to_be_in_viewport()
    open_page.heard.clear()  # type: ignore[attr-defined]


def test_photos_are_shown_even_if_the_folders_come_late(open_page: Open, served: Server) -> None:
    page = open_page()
    page.goto("about:blank")
    failed = fail_once(page, "**/folders")
    page.goto(served.url)
    expect(page.locator("#left .photo")).to_have_count(len(found(served, limit=1000)))
    assert failed
    open_page.heard.clear()  # type: ignore[attr-defined]


def test_keys_that_an_input_method_takes_are_its_own(open_page: Open) -> None:
    page = open_page()
    ask(page, "neko")
    page.evaluate(
        """() => {
            const composing = {isComposing: true, bubbles: true, cancelable: true};
            for (const key of ["Escape", "ArrowDown"])
                document.querySelector("#query").dispatchEvent(
                    new KeyboardEvent("keydown", {key, ...composing}));
        }"""
    )
    expect(page.locator("#query")).to_have_value("neko")
    page.locator("#query").press("Escape")
    expect(page.locator("#query")).to_have_value("")


def test_words_of_an_input_method_are_searched_for_when_they_are_whole(
    open_page: Open, served: Server
) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        """(words) => {
            const query = document.querySelector("#query");
            query.value = words;
            query.dispatchEvent(new InputEvent("input", {isComposing: true, bubbles: true}));
            query.dispatchEvent(new CompositionEvent("compositionend", {bubbles: true}));
        }""",
        QUERY,
    )
    assert_soon(page, found(served, QUERY))
    assert sum(url.endswith("/api/search") for url in asked) == 1


def test_photos_far_down_are_asked_for_in_pages(open_page: Open, served: Server) -> None:
    page = open_page()
    asked = find_200(page, served)
    page.locator("#query").press("ArrowDown")
    page.keyboard.press("End")
    last = page.locator('#left li[aria-posinset="200"]')
    expect(last).to_be_in_viewport()
    expect(last.locator(".name")).to_have_text("199.jpg")
    assert 192 in asked and set(asked) <= {0, 64, 128, 192}
    assert len(asked) == len(set(asked))
    assert_focused(page, "199.jpg")  # which was not loaded when the key was pressed
    page.keyboard.press("ArrowLeft")
    assert_focused(page, "198.jpg")


def test_an_answer_is_shown_with_its_times_and_with_what_was_not_read(
    open_page: Open, served: Server
) -> None:
    page = open_page()
    ms = {"tokenize": 0.12, "text": 4.2, "scan": 1.04, "rescore": 0.48, "total": 5.84}
    answers = [
        {**served.search("a dog"), "ms": ms},
        {**served.search("a dog"), "ms": None, "simulated": True, "unknown": ["\u72d7", "\u732b"]},
        {**served.search("a dog"), "ms": ms, "truncated": True},
    ]
    page.route("**/api/search", lambda route: route.fulfill(json=answers.pop(0)))
    numbers = page.locator("#left .numbers")
    expect(numbers).to_be_hidden()
    page.get_by_role("button", name="Details").click()
    notes = page.locator("#left .note")
    page.locator("#query").fill("a")
    expect(numbers.locator(".total")).to_have_text("5.8 ms")
    expect(numbers.locator(".stage-ms")).to_have_text(
        ["tokenize 0.1", "text 4.2", "scan 1.0", "rescore 0.5"]
    )
    expect(notes).to_be_hidden()
    page.locator("#query").fill("ab")
    expect(numbers.get_by_text("simulated, so no meaningful time")).to_be_visible()
    expect(numbers.locator(".total")).to_be_hidden()
    expect(notes).to_have_text("Not understood by the model: \u72d7, \u732b.")
    page.locator("#query").fill("abc")
    expect(notes).to_contain_text("Only the beginning of the text was used")
    expect(numbers.get_by_text("simulated")).to_be_hidden()


def test_index_again_indexes_what_is_new(
    open_page: Open, start: Callable[..., Server], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    first, second, *_ = sorted(photos.rglob("*.*"))
    shutil.copy(first, tmp_path / "photos")
    bundle = tiny(tmp_path, "bundle")
    page = open_page(start("-b", bundle.directory, "--photos", tmp_path / "photos"))
    expect(page.locator("#left .photo")).to_have_count(1)
    shutil.copy(second, tmp_path / "photos")
    page.get_by_role("button", name="Index again").click()
    expect(page.locator("#left .photo")).to_have_count(2)


_JOB = {
    **{"state": "running", "folder": "/home/me/Pictures", "done": 5, "total": 6000},
    **{"photos_per_s": 12.5, "left_s": None, "message": "Why."},
    "skipped": ["/p/a.jpg: It is broken.", "/p/b.jpg: It is empty."],
}
_INDEX = {"photos": 1, "being_written": False, "folders_to_index": ["/p"], "note": None}


def test_indexing_is_told_in_words(open_page: Open) -> None:
    page = open_page()
    told = "Indexing Pictures: 5 of 6,000 photos \u00b7 12.5 a second"
    another = "Another process is indexing. 1 photo can be searched so far."
    for job, index, message, button in (
        ({**_JOB, "total": 0}, {}, "Looking through Pictures\u2026", "Stop"),
        (_JOB, {}, told, "Stop"),
        ({**_JOB, "left_s": 89}, {}, f"{told} \u00b7 89 s left", "Stop"),
        ({**_JOB, "left_s": 150}, {}, f"{told} \u00b7 3 min left", "Stop"),
        ({**_JOB, "left_s": 7200}, {"note": "Gone."}, f"{told} \u00b7 2 h left", "Stop"),
        ({**_JOB, "state": "done"}, {}, "Indexed Why.", "Index again"),
        ({**_JOB, "state": "failed"}, {}, "Indexing failed: Why.", "Index again"),
        ({**_JOB, "state": "stopped"}, {}, "Why.", "Index again"),
        ({**_JOB, "state": "done"}, {"note": "Gone."}, "Gone.", "Index again"),
        (None, {"being_written": True}, another, "Index again"),
    ):
        shown = page.evaluate(
            """async (status) => {
                const { Job } = await import("/static/job.js");
                new Job(() => {}).draw(status);
                const skipped = [...document.querySelectorAll("#skipped:not([hidden]) li")];
                return [
                    ...["progress", "stop"].map((id) => document.getElementById(id).textContent),
                    skipped.map((item) => item.textContent),
                ];
            }""",
            {"job": job, "indexes": [{**_INDEX, **index}], "bundles": []},
        )
        skipped = _JOB["skipped"] if job and job["state"] != "running" else []
        assert shown == [message, button, skipped]
