"""The system's browser, which shows pages as users see them."""

from __future__ import annotations

import os
import shutil

import pytest


def chromium() -> str:
    """Return Chromium's path. If it is absent, tests skip; in CI they fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is missing, and under CI=true nothing may be skipped")
        pytest.skip("chromium is not installed")
    return found
