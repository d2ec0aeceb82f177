"""Write docs/cli.md from `mcad-mobile --help` and each verb's."""

from __future__ import annotations

from pathlib import Path

import typer.main
from typer.testing import CliRunner

from mcad_mobile.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


def render() -> str:
    verbs = list(typer.main.get_group(app).commands)
    parts = ["# Command line\n\nMade from `--help` by `make docs`; a test keeps it true.\n"]
    for arguments in [[], *[[verb] for verb in verbs]]:
        name = " ".join(["mcad-mobile", *arguments])
        shown = CliRunner().invoke(
            app, [*arguments, "--help"], prog_name="mcad-mobile", terminal_width=96
        )
        text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## {name}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
