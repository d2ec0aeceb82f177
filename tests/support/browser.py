"""Chromium, axe-core, and actions on the page."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.servers import Server

Open = Callable[..., Page]
QUERY = "a dog on the beach"
WIDTHS = {"desktop": (1280, 860), "phone": (390, 844)}
AXE = files("axe_playwright_python") / "axe.min.js"


def violations(page: Any, *rules: str) -> list[str]:
    """Return axe-core's violations, one per line, by these rules, or by all including best
    practices."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(
        """rules => axe.run(document, {resultTypes: ['violations'],
        ...(rules.length ? {runOnly: {type: 'rule', values: rules}} : {})})""",
        list(rules),
    )
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def found(server: Server, *parts: object, **more: object) -> list[str]:
    return [hit["name"] for hit in server.search(*parts, **more)["hits"]]


def ask(page: Page, text: str = QUERY) -> None:
    """Type, and wait for the answer."""
    page.locator("#query").fill(text)
    expect(page.locator("#left .numbers .total")).to_contain_text("ms")
    expect(page.locator("#left .headline")).to_contain_text("nearest first")


def assert_focused(page: Page, expected: str) -> None:
    """Wait for the focus: when a dialog closes, the browser restores the focus first, then the page
    moves it to the photo shown last."""
    page.wait_for_function(
        """expected => (document.activeElement.querySelector(".name")?.textContent
        ?? document.activeElement.ariaLabel) === expected""",
        arg=expected,
    )


def assert_soon(page: Page, expected: list[str], side: str = "left") -> None:
    """Wait until the page shows these photos, in the order a screen reader gets them."""
    page.wait_for_function(
        """([side, expected]) => JSON.stringify(expected) === JSON.stringify(
        [...document.querySelectorAll(`#${side} .photo .name`)].map((name) => name.textContent))""",
        arg=[side, expected],
    )
