"""Run tests on a copy of the tree, in a fork of this process: all of some files, while they are
watched, or some of them, in an order that was chosen."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "mutants"
TREE = BUILD / "tree"
PACKAGE = "mcad_mobile"


class Watch:
    """A pytest plugin: coverage by test, durations, and who starts processes."""

    def __init__(self, paths: set[str], out: Path) -> None:
        self._paths, self._out = paths, out
        self._test = ""
        self._starters: set[str] = set()
        self._seconds: dict[str, float] = {}
        self._coverage: Any = None

    def pytest_cmdline_parse(self) -> None:
        """Before any conftest is imported, and with it what is tested."""
        import coverage

        folder = str(TREE / PACKAGE)
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source=[folder])
        self._coverage.start()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: object) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec") and self._test:
            self._starters.add(self._test)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self._seconds[report.nodeid] = 0.0
        if report.nodeid in self._seconds:
            self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {
            path: data.contexts_by_lineno(str(TREE / path))
            for path in self._paths
            if str(TREE / path) in data.measured_files()
        }
        starters = sorted(self._starters & self._seconds.keys())
        installed = {
            name.partition(".")[0]
            for name, module in sys.modules.items()
            if "site-packages" in (getattr(module, "__file__", None) or "")
        }
        libraries = [name for name in sys.modules if name.partition(".")[0] in installed]
        self._out.write_text(
            json.dumps(
                {
                    "seconds": self._seconds,
                    "lines": lines,
                    "starters": starters,
                    "libraries": libraries,
                }
            ),
            "utf-8",
        )


class Chosen:
    """A pytest plugin: these tests, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place),
            key=lambda item: self._place[item.nodeid],
        )


def forked(files: list[str], plugin: object, limit_s: float) -> int:
    """Run pytest in a fork of this process, on the copy of the tree; its exit code, or 124."""
    child = os.fork()
    if not child:
        os.setsid()
        code = 70
        try:
            code = _pytest(files, plugin)
        finally:
            os._exit(code)
    end = time.monotonic() + limit_s
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                child = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return 124
    finally:
        if child:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _pytest(files: list[str], plugin: object) -> int:
    import pytest

    os.chdir(TREE)
    log = os.open(BUILD / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.path[:] = [str(TREE), *(entry for entry in sys.path if entry not in (str(ROOT), ""))]
    os.environ["PYTHONPATH"] = str(TREE)
    options = ("-x", "-q", "--hypothesis-seed=0", f"--basetemp={BUILD / 'tmp'}")
    quiet = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    return int(pytest.main([*options, *quiet, *files], plugins=[plugin]))
