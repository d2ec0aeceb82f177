"""`make check` refuses results that no script of their commit wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.results_check import digest_of, faults, has_history

SCRIPT = b"print(1)\n"
OLD = {"p50_ms": 3.0, "commit": "0123abcd"}


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, str]:
    """A repository of one script and one result from before the rule, and its commit."""
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results.parent / "speed.py").write_bytes(SCRIPT)
    (results / "old.json").write_text(json.dumps([OLD]))
    (results / "BEFORE.txt").write_text(f"{digest_of(OLD)} old.json\n")

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "a")
    return tmp_path, git("rev-parse", "--short", "HEAD")


def store(root: Path, name: str, document: object) -> list[str]:
    (root / "benchmarks" / "results" / name).write_text(json.dumps(document))
    return list(faults(root))


def test_what_a_script_wrote_and_what_is_older_than_the_rule_are_accepted(checkout) -> None:
    root, commit = checkout
    digest = hashlib.sha256(SCRIPT).hexdigest()
    written = {"commit": commit, "script": "speed.py", "script_sha256": digest, "p50_ms": 2.0}
    assert store(root, "new.json", written) == []
    assert store(root, "old.json", [OLD, written]) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"script_sha256": "0" * 64}, "did not write it"),
        ({"script": "gone.py"}, "has no benchmarks/gone.py"),
        ({"commit": "fedcba98"}, "commit fedcba98 has no"),
        ({"commit": "--output=x"}, "has no"),
    ],
)
def test_what_no_script_of_the_commit_wrote_is_refused(checkout, change, why: str) -> None:
    root, commit = checkout
    digest = hashlib.sha256(SCRIPT).hexdigest()
    written = {"commit": commit, "script": "speed.py", "script_sha256": digest}
    (fault,) = store(root, "new.json", {**written, **change})
    assert fault.startswith("new.json: ") and why in fault


def test_a_copy_without_commits_is_not_blamed_for_lacking_them(checkout, tmp_path) -> None:
    root, commit = checkout
    written = {"commit": commit, "script": "speed.py", "script_sha256": "0" * 64}
    assert has_history(root)
    shutil.move(root / ".git", tmp_path / "elsewhere.git")
    assert not has_history(root)
    assert store(root, "new.json", written) == []
    assert len(store(root, "unnamed.json", {"p50_ms": 1.0})) == 1
    assert len(store(root, "old.json", [{**OLD, "p50_ms": 1.0}])) == 2


def test_an_old_result_that_was_changed_or_renamed_is_refused(checkout) -> None:
    root, _ = checkout
    assert len(store(root, "renamed.json", OLD)) == 1
    assert len(store(root, "old.json", [{**OLD, "p50_ms": 1.0}])) == 2
