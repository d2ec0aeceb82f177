"""A release changes the version everywhere at once."""

from __future__ import annotations

import re
import tomllib

import pytest

from mcad_mobile.base import VERSION
from tests.support.paths import ROOT

PLACES = {
    "mcad_mobile/base/__init__.py": r'VERSION = "(.+)"',
    "android_demo/runner/src/main/java/io/github/mcadmobile/runner/Main.java": r'VERSION = "(.+)"',
    "android_demo/app/build.gradle": r"versionName = '(.+)'",
    "docs/for-app-developers.md": r"io\.github\.mcadmobile:mcad-search:([\d.]+)",
}


@pytest.mark.parametrize("file", PLACES)
def test_every_file_that_holds_the_version_holds_that_of_pyproject(file):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = re.findall(PLACES[file], (ROOT / file).read_text("utf-8"))
    assert found == [project["version"]]


def test_the_package_says_the_version_that_was_installed():
    from importlib.metadata import version

    assert version("mcad-mobile") == VERSION
