"""The command, run as users run it, and bundles that it exports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcad_mobile.base.locks import open_locked
from mcad_mobile.targets import find_target

COMMAND = str(Path(sys.executable).with_name("mcad-mobile"))
# The command, but the HTP simulator gets only the golden inputs, at two seconds of a core each.
SIMULATED = 2
_FEW_SIMULATED = f"""
from functools import partial
from mcad_mobile.cli import main
from mcad_mobile.export import pipeline
pipeline.ExportOptions = partial(pipeline.ExportOptions, simulated_inputs={SIMULATED})
main()
"""
# Exported by one command: a Snapdragon bundle contains the CPU's files, built once.
_TOGETHER = ("snapdragon", "cpu")


def mcad(*arguments: object, code: int = 0, command: Sequence[str] = (COMMAND,)) -> str:
    """Run the command, which must exit with `code`; return its output (if not 0, its errors)."""
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def mcad_json(*arguments: object) -> Any:
    """Run with --json; return the document, which must be all of its standard output."""
    return json.loads(mcad(*arguments, "--json"))


class Exported:
    """The default student's bundle for a target in `folder`, and the output of `export --json`. The
    first process that shares the folder exports it; tests only read it."""

    def __init__(self, target: str, folder: Path) -> None:
        self.target, chip = target, find_target(target).id
        self.directory = folder / chip
        targets = _TOGETHER if target in _TOGETHER else (target,)
        path = folder / f"{targets[0]}.json"
        with open_locked(path.with_suffix(".lock")):
            if not path.exists():
                command = (sys.executable, "-c", _FEW_SIMULATED)
                chips = [word for name in targets for word in ("--target", name)]
                out = ("--out", folder if len(targets) > 1 else self.directory)
                path.write_text(mcad("export", *chips, *out, "--json", command=command))
        documents = json.loads(path.read_text())
        several = documents if isinstance(documents, list) else [documents]
        (self.document,) = (entry for entry in several if entry["target"] == chip)
