"""Ctrl-C and systems without what we build on: a sentence, the right exit code, and no trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.index import PhotoIndex
from tests.support.processes import run_python
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.long


# A Ctrl-C as soon as the verb's long work begins, or (index) as its second photo does.
INTERRUPTED = """
import importlib, os, signal, sys
from mcad_mobile.cli import main

module, name = sys.argv.pop(1).split(":")
found = importlib.import_module(module)
run = getattr(found, name)

def interrupted(*arguments, **options):
    if name == "sync_folder":
        engine, index, folder, progress = arguments

        def stop(step, done, total):
            if done == 1:
                os.kill(os.getpid(), signal.SIGINT)
            progress(step, done, total)

        return run(engine, index, folder, stop, **options)
    os.kill(os.getpid(), signal.SIGINT)
    return run(*arguments, **options)

setattr(found, name, interrupted)
main()
"""
# As on Windows: there is no such module.
WITHOUT_FCNTL = """
import sys
sys.modules["fcntl"] = None
from mcad_mobile.cli import main
main()
"""


@pytest.mark.parametrize(
    ("begins", "arguments", "message"),
    [
        ("mcad_mobile.cli.export:find_targets", ("export", "-t", "cpu", "-o", "x"), "start over"),
        ("mcad_mobile.cli.bench:load_bundle", ("bench", "-b", "x"), "No measurement is kept"),
        ("mcad_mobile.cli.app:load_bundle", ("app", "-b", "x", "-o", "x.apk"), "--out"),
        (
            "mcad_mobile.cli.library:load_bundle",
            ("library", "-b", "x", "-o", "x.aar"),
            "--out",
        ),
        ("mcad_mobile.cli.report:load_documents", ("report", "x.json"), "Unfinished output"),
        (
            "mcad_mobile.cli.report:load_documents",
            ("report", "x.json", "--json"),
            "Unfinished output",
        ),
        ("mcad_mobile.cli.evaluate:load_captions", ("eval", "--data", "x"), "start over"),
        ("mcad_mobile.cli.distill:require", ("distill", "--data", "x", "-o", "y"), "continues"),
        ("mcad_mobile.cli.search:load_bundle", ("search", "x", "-b", "x"), "Nothing was changed."),
        ("mcad_mobile.cli.embed:load_bundle", ("embed", "x", "-b", "x", "-o", "y"), "Finished sha"),
    ],
)
def test_an_interrupted_verb_says_what_is_kept(
    begins: str, arguments: tuple[str, ...], message: str
) -> None:
    done = run_python("-c", INTERRUPTED, begins, *arguments)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("interrupted: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_index_keeps_what_it_says_it_keeps(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "bundle")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, path in enumerate(packaged_photos()[:3]):
        (photos / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    begins = "mcad_mobile.engine.sync:sync_folder"
    done = run_python("-c", INTERRUPTED, begins, "index", photos, "-b", tmp_path / "bundle")
    assert done.returncode == 130, done.stderr
    assert "interrupted: Photos embedded so far are in the index" in done.stderr
    assert PhotoIndex.open(tmp_path / "bundle.index").photos == 1


# A Ctrl-C as soon as a module is imported.
AT_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupt())
from mcad_mobile.cli import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "numpy", "mcad_mobile.cli.serve"])
def test_an_interrupt_while_the_program_is_still_imported_is_no_traceback(module: str) -> None:
    done = run_python("-c", AT_IMPORT, module, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_help_is_given_where_there_are_no_file_locks_and_the_rest_refused() -> None:
    for arguments in ((), ("index",)):
        helped = run_python("-c", WITHOUT_FCNTL, *arguments, "--help")
        assert (helped.returncode, helped.stderr) == (0, "")
        assert "Usage" in helped.stdout
    refused = run_python("-c", WITHOUT_FCNTL, "index", "x", "-b", "y")
    assert refused.returncode == 1
    assert re.match("error: mcad-mobile runs on Linux and macOS.*\n.*WSL", refused.stderr)
    assert "Traceback" not in refused.stderr
