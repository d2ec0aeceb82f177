"""The command line: one thin file per verb."""

from mcad_mobile.cli.app import app, main

__all__ = ["app", "main"]
