"""`mcad-mobile` itself: its help, its version, and folders that are not there."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mcad_mobile import __version__
from mcad_mobile.cli.command import app
from mcad_mobile.errors import PhotoError
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.mark.parametrize("words", [["-h"], ["search", "-h"], ["export", "-h"]])
def test_h_is_short_for_help(words):
    short = CliRunner().invoke(app, words)
    long = CliRunner().invoke(app, [*words[:-1], "--help"])
    assert short.exit_code == 0
    assert short.output == long.output
    assert "Usage:" in short.output


def test_the_version_names_the_program():
    assert CliRunner().invoke(app, ["--version"]).output == f"mcad-mobile {__version__}\n"


def test_a_folder_that_is_missing_is_said_to_be(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "bundle")
    command = ["index", str(tmp_path / "nowhere"), "--bundle", str(bundle.directory)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, PhotoError)
    assert "nowhere does not exist" in result.exception.message
