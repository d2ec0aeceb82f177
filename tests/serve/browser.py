"""Chromium, and axe-core from npm."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from mcad_mobile.android.downloads import Download, fetch

WIDTHS = {"desktop": (1280, 860), "phone": (390, 844)}
AXE = Download(
    name="axe-core-4.14.1.min.js",
    sha256="29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
    needed_for="tests of the page's accessibility",
    registry="npm",
    package="axe-core",
    version="4.14.1",
    package_sha256="e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
    member="package/axe.min.js",
    megabytes=1,
)


def chromium() -> str:
    """The system's. Where it is absent, tests skip; in CI they fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is missing, and under CI=true nothing may be skipped")
        pytest.skip("chromium is not installed")
    return found


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong, a line each: all of its rules, best practices among them."""
    page.evaluate(fetch(AXE).read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
