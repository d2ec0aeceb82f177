"""Chromium, axe-core, and what tests do on the page."""

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
    """What axe-core finds wrong, a line each: by these rules, or by all that it has, best practices
    among them."""
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
    expect(page.locator("#left .numbers .total")).to_be_visible()
    expect(page.locator("#left .headline")).to_contain_text("nearest first")


def assert_focused(page: Page, expected: str) -> None:
    """Soon: where a dialog closes, the browser gives the focus back first, and the page then moves
    it to the photo that was shown last."""
    page.wait_for_function(
        """expected => (document.activeElement.querySelector(".name")?.textContent
        ?? document.activeElement.ariaLabel) === expected""",
        arg=expected,
    )


def assert_soon(page: Page, expected: list[str], side: str = "left") -> None:
    """Photos in the order of the page, as a screen reader is told them."""
    page.wait_for_function(
        """([side, expected]) => JSON.stringify(expected) === JSON.stringify(
        [...document.querySelectorAll(`#${side} .photo .name`)].map((name) => name.textContent))""",
        arg=[side, expected],
    )
