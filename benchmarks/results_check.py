"""Refuse stored results that their script did not write: `make check`.

A result names its commit, its script and the SHA-256 of that script; the commit must hold this very
script. Results from before this rule are listed, by their own SHA-256, in results/BEFORE.txt, so
that nobody changes one by hand. A list gets no new lines. An archive of the sources and a shallow
clone have no commits to look in; there, this is said.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def faults(root: Path) -> Iterator[str]:
    """Yield a sentence about each result in the checkout `root` that no script is known to have
    written."""
    results = root / "benchmarks" / "results"
    complete = has_history(root)
    before = set((results / "BEFORE.txt").read_text("utf-8").split("\n"))
    for path in sorted(results.rglob("*.json")):
        name = path.relative_to(results)
        document = json.loads(path.read_text("utf-8"))
        for result in document if isinstance(document, list) else [document]:
            if f"{digest_of(result)} {name}" in before:
                continue
            if "script_sha256" not in result:
                yield f"{name}: it names no script, or was changed by hand; measure it again"
            elif complete and (why := _why_not(root, result)) is not None:
                yield f"{name}: {why}; measure it again, after a commit"


def has_history(root: Path) -> bool:
    """Return whether all commits before this one can be looked in."""
    asked = ["git", "-C", str(root), "rev-parse", "--is-shallow-repository"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() == "false"


def digest_of(result: Any) -> str:
    """Return the SHA-256 of a stored result, whatever the order and layout of its fields."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def _why_not(root: Path, result: dict[str, Any]) -> str | None:
    commit, script = str(result["commit"]), str(result["script"])
    show = ["git", "-C", str(root), "show", "--end-of-options", f"{commit}:benchmarks/{script}"]
    shown = subprocess.run(show, capture_output=True, timeout=60, check=False)
    if shown.returncode:
        return f"commit {commit} has no benchmarks/{script}"
    if hashlib.sha256(shown.stdout).hexdigest() != result["script_sha256"]:
        return f"benchmarks/{script} of commit {commit} did not write it"
    return None


if __name__ == "__main__":
    found = [*faults(ROOT)]
    if not has_history(ROOT):
        print("Results were not compared with their commits, which this copy does not have.")
    sys.exit("\n".join(found) if found else 0)
