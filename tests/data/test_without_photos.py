"""Where Flickr8k is absent, tests skip and say how to get it; in CI that is an error."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.long


TEST_WITH_PHOTOS = "tests/data/test_captions.py::test_flickr8k_has_its_official_splits"


@pytest.mark.parametrize(("ci", "code", "ends"), [("", 0, "1 skipped"), ("true", 1, "1 error")])
def test_absent_photos_are_named_with_what_to_do(tmp_path, ci, code, ends):
    nowhere = tmp_path / "nowhere"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST_WITH_PHOTOS],
        cwd=ROOT,
        env={**os.environ, "FLICKR8K": str(nowhere), "CI": ci, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert ends in done.stdout
    assert f"no photos at {nowhere}: give them by FLICKR8K=DIR (docs/development.md)" in done.stdout
