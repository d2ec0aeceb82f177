"""What a process that searches takes, in this checkout and in another: memory, and time to start.

python -m benchmarks.search_process --bundle build/cpu --against ../before

Processes of the two alternate, so that what else happens on the machine meets both. Memory is read
from /proc/self/smaps_rollup at the end: private pages are this process's alone, PSS divides shared
ones. Time is the processor's (user and system). The lean process is what a phone runs: bundle,
engine, index and 15 searches, without the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bench.samples import synthetic_index
from mcad_mobile.bundle import Bundle
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "search_process.json"
PHOTOS = 5000
_ROOT = Path(__file__).parents[1]
_END = """
def end():
    import json, resource, sys
    lines = open("/proc/self/smaps_rollup").read().splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    used = resource.getrusage(resource.RUSAGE_SELF)
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    found = {"pss": kib["Pss"] / 1024, "rss": kib["Rss"] / 1024, "private": private / 1024}
    print(json.dumps({**found, "cpu_ms": 1e3 * (used.ru_utime + used.ru_stime)}), file=sys.stderr)
"""
_PROGRAMS = {
    "import of the engine": "import mcad_mobile.engine\nend()",
    "lean search": """
from pathlib import Path
from mcad_mobile.bundle import Bundle
from mcad_mobile.engine import SearchEngine
from mcad_mobile.index import PhotoIndex
engine = SearchEngine(Bundle.load(Path({bundle!r}), verify=False))
index = PhotoIndex.open(Path({index!r}))
for query in ["a dog on the beach", "two children", "a red car"] * 5:
    engine.search(index, query)
end()
""",
    "mcad-mobile search": """
import atexit, sys
atexit.register(end)
sys.argv = ["mcad-mobile", "search", "a dog", "--bundle", {bundle!r}, "--index", {index!r}]
from mcad_mobile.cli import main
main()
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--against", type=Path, required=True, help="another checkout")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    trees = {"before": arguments.against.resolve(), "now": _ROOT}
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        synthetic_index(Bundle.load(arguments.bundle), index, PHOTOS)
        places = {"bundle": str(arguments.bundle.resolve()), "index": str(index)}
        for number in range(arguments.runs + 1):  # the first compiles, and does not count
            for name, program in _PROGRAMS.items():
                for tree in sorted(trees, reverse=number % 2 == 1):
                    run = _run(trees[tree], _END + program.format(**places))
                    if number:
                        found.setdefault(name, {}).setdefault(tree, []).append(run)
    result = {
        "device": device_facts(),
        "tools": tool_versions(("numpy", "onnxruntime", "msgspec")),
        "runs": arguments.runs,
        "photos": PHOTOS,
        "medians": {name: _medians(runs) for name, runs in found.items()},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result["medians"], indent=2))


def _run(tree: Path, program: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return measured


def _medians(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        tree: {key: statistics.median(run[key] for run in taken) for key in taken[0]}
        for tree, taken in runs.items()
    }
    told["grown"] = {key: told["now"][key] - told["before"][key] for key in told["now"]}
    return {side: {key: round(value, 2) for key, value in of.items()} for side, of in told.items()}


if __name__ == "__main__":
    main()
