"""Servers as a user starts them, on photos that packages ship."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_socket import enable_socket, socket_allow_hosts

from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.browser import WIDTHS, Open
from tests.support.servers import Server, indexed, tiny
from tests.support.system_chromium import chromium

_PATIENCE_MS = 60_000  # a machine may have other things to do


@pytest.fixture(autouse=True)
def this_computer_alone(no_network: None) -> None:
    enable_socket()
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)


@pytest.fixture
def start(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> Iterator[Callable[..., Server]]:
    """Starts servers, which end with the test, before what it wrote is removed."""
    started: list[Server] = []

    def begin(*arguments: object, cache: Path | None = None) -> Server:
        started.append(Server(*arguments, cache=cache or tmp_path_factory.mktemp("cache")))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packaged photos in two folders, one of them lying on its side, taken in May 2023."""
    folder = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(packaged_photos()):
        place = folder / ("here", "there")[number % 2]
        place.mkdir(exist_ok=True)
        shutil.copy(photo, place)
    lying = Image.effect_noise((64, 32), 60).convert("RGB")
    lying.paste((255, 0, 0), (0, 0, 16, 32))  # at the left as it is stored, on top when upright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    exif.get_ifd(0x8769)[0x9003] = "2023:05:06 12:34:56"
    lying.save(folder / "here" / "lying.jpg", exif=exif, quality=95)
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[Server]:
    """Two bundles of one student, whose text towers differ, on one index. Tests change nothing
    of it."""
    folder = tmp_path_factory.mktemp("served")
    first, second = tiny(folder, "first"), tiny(folder, "second", seed=11)
    indexed(first, photos)
    server = Server("-b", first.directory, "-b", second.directory, cache=folder / "cache")
    yield server
    code, errors = server.stop()
    assert code == 130, errors
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Callable[..., BrowserContext]:
    """One of each kind for all tests of a file: the page keeps nothing in it."""

    @functools.cache
    def begin(width: str, scheme: str, **more: Any) -> BrowserContext:
        across, down = WIDTHS[width]
        made = browser.new_context(
            viewport={"width": across, "height": down},
            color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=width == "phone",
            is_mobile=width == "phone",
            **more,
        )
        made.set_default_timeout(_PATIENCE_MS)
        return made

    return begin


@pytest.fixture
def open_page(
    context: Callable[..., BrowserContext], served: Server, start: Callable[..., Server]
) -> Iterator[Open]:
    """Opens pages, which are closed before servers are stopped. At the end, nothing went wrong on
    their consoles, and nothing but the server was asked for anything."""
    heard: list[str] = []
    asked: list[str] = []
    pages: list[Page] = []

    def begin(
        server: Server = served, width: str = "desktop", scheme: str = "light", **more: Any
    ) -> Page:
        page = context(width, scheme, **more).new_page()
        pages.append(page)
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        expect(page.locator("#left .headline")).to_contain_text("result")
        return page

    begin.heard = heard  # type: ignore[attr-defined]
    yield begin
    for page in pages:
        page.close()
    assert heard == []
    assert {url.split("/")[2].split(":")[0] for url in asked} == {"127.0.0.1"}
