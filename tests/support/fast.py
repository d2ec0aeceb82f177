"""A pytest plugin for `make test-fast`: skips modules marked as long, and blocks torch, so that a
test that imports it fails."""

from __future__ import annotations

import sys
from pathlib import Path

_LONG = "pytestmark = pytest.mark.long"

sys.modules["torch"] = None  # type: ignore[assignment]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    marked = collection_path.suffix == ".py" and _LONG in collection_path.read_text("utf-8")
    return True if marked and collection_path.name.startswith("test_") else None
