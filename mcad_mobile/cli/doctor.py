"""mcad-mobile doctor"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.cli.output import JsonOption, load_bundle, print_table
from mcad_mobile.cli.results import print_json
from mcad_mobile.doctor import examine, examine_bundle


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="Also test each rung of this bundle on this machine."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what is installed, what each tool is needed for, and how to get what is missing.

    With a bundle, each of its rungs embeds the golden inputs, and is compared with what its file
    says: a rung that this processor gets wrong is named, with the reason.

    \b
      mcad-mobile doctor
      mcad-mobile doctor --bundle build/sd
    """
    findings = examine()
    if bundle is not None:
        findings += examine_bundle(load_bundle(bundle))
    if json:
        print_json([asdict(finding) for finding in findings])
        return
    rows = [
        [
            finding.tool,
            finding.version or "missing",
            finding.needed_for,
            "" if finding.version else finding.how_to_get,
        ]
        for finding in findings
    ]
    print_table("Tools", ["tool", "version", "needed for", "how to get it"], rows)
