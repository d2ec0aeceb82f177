"""The command, run as a user runs it, and bundles that it exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mcad_mobile.locks import alone

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
    """The default student's bundle for a target in `folder`, and what `export --json` said of it.
    Exported by the first of the processes that share the folder; tests only read it."""

    def __init__(self, target: str, folder: Path) -> None:
        self.directory = folder / target
        said = folder / f"{target}.json"
        with alone(folder / f"{target}.lock"):
            if not said.exists():
                document = mcad_json("export", "--target", target, "--out", self.directory)
                said.write_text(json.dumps(document))
        self.document = json.loads(said.read_text())
