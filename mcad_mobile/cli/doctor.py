"""mcad-mobile doctor"""

from __future__ import annotations

from dataclasses import asdict

from mcad_mobile.cli.output import JsonOption, print_json, print_table
from mcad_mobile.doctor import examine


def doctor(json: JsonOption = False) -> None:
    """Say what is installed, what each tool is needed for, and how to get what is missing."""
    findings = examine()
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
