"""What libraries print and log is dropped while they are asked to be quiet, and only then."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import warnings
from pathlib import Path

import pytest

from mcad_mobile.base.standard_output import (
    STDOUT,
    advice_muted,
    muted,
    printable_output,
    quiet,
)
from tests.support.processes import run_python


def talk(words: str) -> None:
    """As libraries in C do: to the descriptors, and into C's buffer."""
    os.write(1, f"{words} to 1\n".encode())
    os.write(2, f"{words} to 2\n".encode())
    ctypes.CDLL(None).printf(f"{words} into a buffer\n".encode())


def test_a_block_is_quiet_and_what_is_around_it_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    print("before")
    with quiet():
        print("hidden")
        print("hidden", file=sys.stderr)
        talk("hidden")
        warnings.warn("hidden", stacklevel=1)
    talk("after")
    ctypes.CDLL(None).fflush(None)
    heard = capfd.readouterr()
    assert "hidden" not in heard.out + heard.err
    assert heard.out.splitlines() == ["before", "after to 1", "after into a buffer"]
    assert heard.err == "after to 2\n"
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == descriptors


@pytest.mark.parametrize(("json_only", "out"), [(False, "M\\xfcll\n1\n"), (True, "1\n")])
def test_results_are_printed_as_the_locale_can_and_beside_json_nothing_is(
    json_only: bool, out: str
) -> None:
    code = (
        "from mcad_mobile.base.standard_output import print_json, reserve_standard_output\n"
        f"reserve_standard_output(json_only={json_only})\n"
        "print('M\\xfcll')\n"
        "print_json(1)\n"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_python("-c", code, env=ascii_only, check=True)
    assert done.stdout == out
    assert done.stderr == ("M\\xfcll\n" if json_only else "")


@pytest.mark.parametrize("terminal", [True, False])
def test_colours_reach_a_terminal_and_nothing_else_unprintable_does(terminal: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    with contextlib.redirect_stdout(Terminal()) as out, printable_output():
        print("a\x07\x1b[31mred\x1b[0m\udc80\u202e")
    colours = ("\x1b[31m", "\x1b[0m") if terminal else ("\\x1b[31m", "\\x1b[0m")
    assert out.getvalue() == "a\\x07{}red{}\\x80\\u202e\n".format(*colours)


def test_only_the_descriptors_that_are_named_are_muted(capfd: pytest.CaptureFixture[str]) -> None:
    with muted(STDOUT):
        talk("inside")
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("", "inside to 2\n")


def test_advice_is_dropped_and_errors_are_not(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    level = root.level
    with advice_muted(logging.ERROR):
        root.warning("advice")
        root.error("an error")
    root.log(max(level, 1), "later")
    assert [record.message for record in caplog.records] == ["an error", "later"]
    assert root.level == level
