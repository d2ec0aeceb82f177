"""The command line: one thin file per command."""

from mcad_mobile.cli.command import main

__all__ = ["main"]
