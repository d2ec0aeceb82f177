"""Break the program a little, many times, and see whether the tests beside it notice.

mutmut makes the mutants; they run here, as its own runner neither reaches what tests start as
processes nor what stands outside functions. Each is written into a copy of the tree and tested by
a process forked from one in which the heavy libraries are loaded. A seeded sample for each area of
mutants.toml; the last result is kept in benchmarks/results/mutants.json, with why survivors live.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from forked_tests import BUILD, PACKAGE, ROOT, TREE, Chosen, Watch, forked
from mutate import Mutant, mutants_of

STORED = ROOT / "benchmarks" / "results" / "mutants.json"
# What a mutant may take, as a multiple of what its tests take without it, and on top of that.
SLOWER, GRACE_S = 6.0, 60.0
_BASELINE_S = 3600.0
# A test that takes longer is not asked: that other tests should notice.
_LONGEST_S = 60.0
_NO_TESTS = 5  # pytest's exit code
# git ignores them, and half of the index's tests need the first.
LIBRARIES = [f"{PACKAGE}/index/_kernel.so", f"{PACKAGE}/_resize.so"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    areas = every_area()
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(areas)}; or all")
    parser.add_argument("--samples", type=int, default=40, help="mutants of an area (40)")
    parser.add_argument("--seed", type=int, default=14, help="which mutants are drawn (14)")
    parser.add_argument("--survivors", action="store_true", help="only those that survived before")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    given = parser.parse_args()
    if unknown := set(given.areas) - set(areas):
        parser.error(f"no area is named {', '.join(sorted(unknown))}; there are {', '.join(areas)}")
    deadline = time.monotonic() + given.seconds
    copy_tree()
    for name in given.areas or areas:
        if not run_area(name, areas[name], given, deadline):
            sys.exit(f"Stopped after {given.seconds:.0f} s; the same command goes on from here.")


def run_area(
    name: str, area: dict[str, list[str]], given: argparse.Namespace, deadline: float
) -> bool:
    """Try an area's sample and store what came out; False when time ran out before its end
    (what is stored says how many were tried)."""
    everything = {mutant.key: mutant for path in sources(area) for mutant in mutants_of(ROOT, path)}
    drawn = sorted(
        everything, key=lambda key: hashlib.sha256(f"{given.seed} {key}".encode()).hexdigest()
    )
    sample = [everything[key] for key in drawn[: given.samples]]
    notes = BUILD / f"{name}-{given.seed}.json"
    baseline = Baseline(area)
    outcomes: dict[str, str] = {}
    if notes.exists():
        noted = json.loads(notes.read_text("utf-8"))
        if given.survivors:
            outcomes = {key: said for key, said in noted["said"].items() if said != "survived"}
        elif noted["of"] == baseline.of:  # a run that was stopped goes on
            outcomes = noted["said"]
    print(f"{name}: {len(sample)} of {len(everything)} mutants, {len(baseline.seconds)} tests")
    for mutant in sample:
        if mutant.key in outcomes:
            continue
        if time.monotonic() > deadline:
            break
        outcomes[mutant.key] = baseline.judge(mutant)
        notes.write_text(json.dumps({"of": baseline.of, "said": outcomes}), "utf-8")
        if outcomes[mutant.key] == "survived":
            print(f"  survived  {mutant.where}  {mutant.change}", flush=True)
    judged = {one: outcomes[one.key] for one in sample if one.key in outcomes}
    if judged:
        store(name, area, given.seed, len(everything), judged)
    return len(judged) == len(sample)


def store(
    name: str, area: dict[str, list[str]], seed: int, total: int, outcomes: dict[Mutant, str]
) -> None:
    """Write an area's result; what was said of a survivor before is kept."""
    stored: dict[str, Any] = json.loads(STORED.read_text("utf-8")) if STORED.exists() else {}
    before = {
        (said["where"].split(":")[0], said["change"]): said
        for said in stored.get("areas", {}).get(name, {}).get("survivors", [])
    }
    survivors = []
    for mutant, outcome in sorted(outcomes.items(), key=lambda pair: pair[0].where):
        if outcome == "survived":
            said = before.get((mutant.path, mutant.change), {})
            survivors.append(
                {
                    "where": mutant.where,
                    "change": mutant.change,
                    "equivalent": said.get("equivalent", False),
                    "reason": said.get("reason", ""),
                }
            )
    equivalent = sum(survivor["equivalent"] for survivor in survivors)
    killed = len(outcomes) - len(survivors)
    live = len(outcomes) - equivalent
    stored["tool"] = f"mutmut {importlib.metadata.version('mutmut')}"
    stored.setdefault("areas", {})[name] = {
        "modules": area["modules"],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD").strip(),
        "seed": seed,
        "mutants": total,
        "sampled": len(outcomes),
        "equivalent": equivalent,
        "killed": killed,
        "killed_of_live": round(killed / live, 3) if live else 1.0,
        "survivors": survivors,
    }
    stored["not_run"] = [one for one in every_area() if one not in stored["areas"]]
    STORED.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"  {killed} of {live} live mutants killed, {equivalent} equivalent", flush=True)


def every_area() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def sources(area: dict[str, list[str]]) -> list[str]:
    found = []
    for module in area["modules"]:
        path = ROOT / PACKAGE / module
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        found += [str(file.relative_to(ROOT)) for file in files]
    return found


# --- tests --------------------------------------------------------------------------------------


class Baseline:
    """An area's tests without a mutant: how long each takes, which lines it runs, and which start
    processes, whose lines are not seen. `of` stands for these tests and modules."""

    def __init__(self, area: dict[str, list[str]]) -> None:
        files = [f"tests/{test}" for test in area["tests"]]
        digest = hashlib.sha256(json.dumps(area["modules"]).encode())
        for path in sorted({*files, *sources(area)}):
            digest.update((ROOT / path).read_bytes())
        self.of = digest.hexdigest()[:16]
        cached = BUILD / f"baseline-{self.of}.json"
        if not cached.exists():
            watch = Watch(set(sources(area)), cached)
            code = forked(files, watch, _BASELINE_S)
            if code:
                cached.unlink(missing_ok=True)  # of those that ran before the one that failed
                log = (BUILD / "log.txt").read_text("utf-8")[-4000:]
                sys.exit(f"{log}\nThe tests fail without a mutant (exit {code}).")
        known = json.loads(cached.read_text("utf-8"))
        for library in known["libraries"]:  # imported once, not for each mutant
            with contextlib.suppress(Exception):
                importlib.import_module(library)
        self.seconds: dict[str, float] = {
            test: seconds for test, seconds in known["seconds"].items() if seconds <= _LONGEST_S
        }
        self._lines: dict[str, dict[str, list[str]]] = known["lines"]
        self._starters: list[str] = [test for test in known["starters"] if test in self.seconds]

    def judge(self, mutant: Mutant) -> str:
        """Say whether a test notices: those that run the line first, the fast ones before the
        slow ones, then those in the same files and those that start processes."""
        by_line = self._lines.get(mutant.path, {})
        first = {test for line in mutant.lines for test in by_line.get(str(line), [])}
        if "" in first or not first:  # it runs when the module is imported, or nobody saw it run
            first = set(self.seconds)
        files = {test.split("::")[0] for test in first}
        then = {test for test in self.seconds if test.split("::")[0] in files}
        source = TREE / mutant.path
        for tests in (first & self.seconds.keys(), (then | {*self._starters}) - first):
            if not tests:
                continue
            order = sorted(tests, key=self.seconds.__getitem__)
            limit = SLOWER * sum(self.seconds[test] for test in tests) + GRACE_S
            before = source.read_text("utf-8")
            try:
                _write(source, mutant.code())
                code = forked(sorted({t.split("::")[0] for t in order}), Chosen(order), limit)
                if code == _NO_TESTS:
                    sys.exit(f"None of {len(order)} tests was found for {mutant.where}.")
                if code:
                    return "killed"
            finally:
                _write(source, before)
        return "survived"


# --- the copy of the tree -----------------------------------------------------------------------


def copy_tree() -> None:
    """Copy what git knows of, and what it does not ignore, into build/, and compiled C."""
    if missing := [path for path in LIBRARIES if not (ROOT / path).is_file()]:
        sys.exit(f"{missing[0]} is missing: python hatch_build.py compiles it.")
    for path in [*_tracked(), *LIBRARIES]:
        source, target = ROOT / path, TREE / path
        if not source.is_file():
            target.unlink(missing_ok=True)
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
    # Beside the copy, too, lie the photos that tests look for there.
    shared = TREE.parent / "shared"
    if (ROOT.parent / "shared").is_dir() and not shared.exists():
        shared.symlink_to(ROOT.parent / "shared")


def _tracked() -> list[str]:
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z")
    return [path for path in listed.split("\0") if path]


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def _write(path: Path, code: str) -> None:
    """Python knows a stale compiled file by the source's time in seconds: each write moves it."""
    later = int(path.stat().st_mtime) + 1
    path.write_text(code, "utf-8")
    os.utime(path, (later, later))


if __name__ == "__main__":
    main()
