"""Count what becomes of bytes that others wrote, by kind of input and by outcome.

    python -m tests.fuzz.core --seconds 3600 --out build/fuzz
    FUZZ_RUNS=build/fuzz python -m benchmarks.fuzz

atheris, libFuzzer and Jazzer make inputs that reach new code: tests/fuzz. An input that ends in a
crash, or takes 25 s, ends the run. The index in C is fuzzed for a minute each target, or as long as
the runs that FUZZ_RUNS has. Writes benchmarks/results/fuzz.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.main_job import provenance, store
from tests.fuzz import compiled, core

RESULT = Path(__file__).parent / "results" / "fuzz.json"
_INPUTS = {"photos": 3000, "indexes": 3000, "bundles": 3000, "requests": 2000, "commands": 1000}
KINDS: dict[str, Callable[[Path, int], dict[str, int]]] = {
    **{kind: partial(compiled.python, kind) for kind in _INPUTS},
    "readers in Java": compiled.readers,
}


def main() -> None:
    outcomes = {}
    for kind, fuzz in KINDS.items():
        with tempfile.TemporaryDirectory() as work:
            outcomes[kind] = fuzz(Path(work), _INPUTS.get(kind, 4000))
        print(kind, outcomes[kind])
    with tempfile.TemporaryDirectory() as work:
        in_c = core.measure(Path(work))
    facts = provenance({"atheris": version("atheris")})
    result = {**facts, "outcomes": outcomes, "index in C": in_c}
    if not RESULT.exists():
        RESULT.write_text("[]")
    store(result, RESULT)


if __name__ == "__main__":
    main()
