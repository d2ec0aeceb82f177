"""mcad-mobile doctor"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.cli.output import JsonOption, load_bundle
from mcad_mobile.cli.results import print_json
from mcad_mobile.doctor import examine, examine_bundle, examine_verbs


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="Also test each rung of this bundle on this machine."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say which verbs work here, what is installed, and how to get what is missing.

    With a bundle, each of its rungs embeds the golden inputs, and is compared with what its file
    says: a rung that this processor gets wrong is named, with the reason.

    \b
      mcad-mobile doctor
      mcad-mobile doctor --bundle build/sd
    """
    verbs, findings = examine_verbs(), examine()
    if bundle is not None:
        findings += examine_bundle(load_bundle(bundle))
    if json:
        print_json([asdict(finding) for finding in [*verbs, *findings]])
        return
    print("What works here")
    for verb in verbs:
        print(f"  {'yes' if verb.version else 'no ':3}  {verb.tool}")
        if verb.how_to_get:
            print(f"       {verb.how_to_get}")
    print("\nWhat is installed")
    width = max(len(finding.tool) for finding in findings)
    for finding in findings:
        if finding.version:
            print(f"  {finding.tool:{width}}  {finding.version}")
    missing = [finding for finding in findings if not finding.version]
    if missing:
        print("\nWhat is missing, what it is for, and how to get it")
    for finding in missing:
        print(f"  {finding.tool}: {finding.needed_for}\n    {finding.how_to_get}")
