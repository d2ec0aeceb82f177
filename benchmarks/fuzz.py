"""Count what becomes of bytes that others wrote, by kind of input and by outcome.

    python -m benchmarks.fuzz

atheris, libFuzzer and Jazzer make inputs that reach new code: tests/fuzz. An input that ends in a
crash, or takes 25 s, ends the run. Writes benchmarks/results/fuzz.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.main_job import provenance, store
from tests.fuzz import compiled

RESULT = Path(__file__).parent / "results" / "fuzz.json"
_INPUTS = {"photos": 3000, "indexes": 3000, "bundles": 3000, "requests": 2000, "commands": 1000}
KINDS: dict[str, Callable[[Path, int], dict[str, int]]] = {
    **{kind: partial(compiled.python, kind) for kind in _INPUTS},
    "kernels in C": compiled.kernels,
    "readers in Java": compiled.readers,
}


def main() -> None:
    outcomes = {}
    for kind, fuzz in KINDS.items():
        with tempfile.TemporaryDirectory() as work:
            outcomes[kind] = fuzz(Path(work), _INPUTS.get(kind, 4000))
        print(kind, outcomes[kind])
    result = {**provenance({"atheris": version("atheris")}), "outcomes": outcomes}
    if not RESULT.exists():
        RESULT.write_text("[]")
    store(result, RESULT)


if __name__ == "__main__":
    main()
