"""Bundles of the default student, exported once a session by the command itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = str(Path(sys.executable).with_name("mcad-mobile"))


def mcad(*arguments: object, code: int = 0) -> str:
    """Run the command; its standard output. Fails unless it exits with `code`."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def mcad_json(*arguments: object) -> Any:
    """Run the command with --json; the document, which must be all of its standard output."""
    return json.loads(mcad(*arguments, "--json"))


class Exported:
    """A bundle's folder and what `export --json` said of it."""

    def __init__(self, target: str, directory: Path) -> None:
        self.directory = directory
        self.document = mcad_json("export", "--target", target, "--out", directory)


@pytest.fixture(scope="session")
def snapdragon(tmp_path_factory) -> Exported:
    return Exported("snapdragon", tmp_path_factory.mktemp("bundles") / "snapdragon")


@pytest.fixture(scope="session")
def dimensity(tmp_path_factory) -> Exported:
    return Exported("dimensity", tmp_path_factory.mktemp("bundles") / "dimensity")


@pytest.fixture(scope="session")
def cpu(tmp_path_factory) -> Exported:
    return Exported("cpu", tmp_path_factory.mktemp("bundles") / "cpu")


@pytest.fixture
def exported(request) -> Exported:
    """The bundle that a test is parametrized with, by its fixture's name."""
    return request.getfixturevalue(request.param)
