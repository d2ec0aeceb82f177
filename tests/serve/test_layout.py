"""The page's layout and its text for screen readers: wide and narrow, light and dark, with many
photos, with photos that are gone, while an index grows, and when the server has ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import create_index
from tests.support.browser import QUERY, Open, ask, violations
from tests.support.servers import Server, indexed, tiny


@pytest.mark.parametrize(
    ("width", "scheme", "rules"),
    [
        ("desktop", "light", ()),
        pytest.param("phone", "light", (), marks=pytest.mark.slow),
        # All else is the same in the dark.
        pytest.param("desktop", "dark", ("color-contrast",), marks=pytest.mark.slow),
    ],
)
def test_the_page_fits_and_axe_finds_nothing(
    open_page: Open, width: str, scheme: str, rules: tuple[str, ...]
) -> None:
    """In each of its states, for what axe-core sees of the tree that screen readers read."""
    page = open_page(width=width, scheme=scheme, bypass_csp=True)  # axe is put in from outside

    def look() -> None:
        page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
        assert violations(page, *rules) == []

    look()
    ask(page)
    page.get_by_role("button", name="also").click()
    page.locator("#words").fill("snow")
    page.locator("#words").press("Enter")
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator("#left .headline")).to_contain_text("nearest first")
    if width == "phone":
        page.get_by_role("button", name="Filters").click()
    look()
    page.get_by_role("button", name="Remove snow").click()
    page.get_by_role("button", name="Side by side").click()
    page.get_by_role("button", name="Details").click()
    expect(page.locator("#right .numbers .total")).to_be_visible()
    look()
    page.locator("#left .photo").first.click()
    expect(page.locator("#large")).to_be_visible()
    look()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.locator("#keyboard")).to_be_visible()
    look()


def test_axe_would_find_something(open_page: Open) -> None:
    page = open_page(bypass_csp=True)
    page.evaluate("document.querySelector('#help').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('#help').replaceChildren()")
    page.evaluate("document.querySelector('#help').removeAttribute('title')")
    assert any("button-name" in line for line in violations(page))


def test_motion_is_reduced_for_whom_it_is_too_much(open_page: Open) -> None:
    page = open_page()
    image = page.locator("#left .frame img").first
    expect(image).not_to_have_css("transition-duration", "0s")
    page.emulate_media(reduced_motion="reduce")
    expect(image).to_have_css("transition-duration", "0s")


def test_dark_is_dark_and_light_is_light(open_page: Open) -> None:
    page = open_page()
    paper = "getComputedStyle(document.body).backgroundColor"
    brightness = {}
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        brightness[scheme] = sum(map(int, page.evaluate(paper)[4:-1].split(","))) / 3
    assert brightness["light"] > 230
    assert brightness["dark"] < 40


@pytest.mark.slow
def test_ten_thousand_photos_are_scrolled_with_few_of_them_in_the_document(
    open_page: Open, start: Callable[..., Server], tmp_path: Path
) -> None:
    """Where the last one is reached, by keyboard, and what is asked next is shown from the top."""
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
    expect(page.locator("#left .headline")).to_contain_text("10,000 results")
    for text, headline in (("", "10,000 results"), (QUERY, "nearest first")):
        page.locator("#query").fill(text)
        expect(page.locator("#left .headline")).to_contain_text(headline)
        expect(page.locator('#left li[aria-posinset="1"]')).to_be_in_viewport()
        # Rows beyond the window are kept ready once typing rests.
        page.wait_for_function(
            """() => [...document.querySelectorAll('#left li')].some(
            (one) => one.getBoundingClientRect().top > innerHeight)"""
        )
        page.locator("#query").press("ArrowDown")
        page.keyboard.press("End")
        expect(page.locator('#left li[aria-posinset="10000"]')).to_be_in_viewport()
        page.wait_for_function("() => document.querySelectorAll('#left li').length < 300")
        page.keyboard.press("Escape")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#left .frame img')].some((one) => one.naturalWidth)"
    )


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
    page.locator("#left .photo").filter(has_text=evil).click()
    expect(page.locator("#name")).to_have_text(evil)
    expect(page.locator("b b, option b")).to_have_count(0)
    expect(page).to_have_title("mcad-mobile")


def test_indexing_is_seen_and_stopped(
    open_page: Open, start: Callable[..., Server], tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(20_000):
        (tmp_path / "photos" / f"{number}.jpg").hardlink_to(next(photos.rglob("rocket.jpg")))
    bundle = tiny(tmp_path, "bundle")
    page = open_page(start("-b", bundle.directory, "--photos", tmp_path / "photos"))
    expect(page.locator("#progress")).to_contain_text("of 20,000 photos")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#progress")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Index again")).to_be_visible()
    expect(page.locator("#left .photo").first).to_be_visible()


@pytest.mark.slow
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
    expect(page.locator("#left .photo").first).to_be_visible()
    open_page.heard.clear()  # type: ignore[attr-defined]
