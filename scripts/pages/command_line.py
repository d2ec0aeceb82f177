"""docs/cli.md, from `--help`."""

from __future__ import annotations

import typer.main
from typer.testing import CliRunner

from mcad_mobile.cli.command import app


def cli_page() -> str:
    commands = list(typer.main.get_group(app).commands)
    parts = [
        "# Command line\n\nFor people at a terminal: this is `--help` of every command. "
        "`make docs` writes it. For a first use, read the [quickstart](quickstart.md).\n"
    ]
    for arguments in [[], *[[command] for command in commands]]:
        name = " ".join(["mcad-mobile", *arguments])
        shown = CliRunner().invoke(
            app, [*arguments, "--help"], prog_name="mcad-mobile", terminal_width=96
        )
        text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## {name}\n\n```\n{text}\n```\n")
    return "\n".join(parts)
