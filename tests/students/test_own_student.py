"""A pair of torch modules of one's own: the page's example runs, is exported and searched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mcad_mobile as mcad
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.errors import StudentError
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```python\n(# my_student\.py\n.*?)```", PAGE, re.S)
SPEC = "my_student:make_student"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_student", raising=False)
    (tmp_path / "my_student.py").write_text(EXAMPLE)
    return tmp_path / "my_student.py"


def test_the_example_of_the_page_is_exported_by_the_command_line_and_searched(module: Path) -> None:
    assert EXAMPLE.count("\n") <= 30
    out = module.parent / "bundle"
    export = ("export", "--student", SPEC, "--target", "cpu", "--out", str(out), "--json")
    code = "from mcad_mobile.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *export],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    bundle = mcad.Bundle.load(out)
    assert bundle.student.name == "mine" and bundle.student.licence == "MIT"
    engine, made = mcad.SearchEngine(bundle), mcad.load_student(SPEC)
    assert made.dim == bundle.dim == 32
    texts = made.read(["a cat"])
    assert engine.tokenizer("a cat").ids.tolist() == texts.ids[0].tolist()
    with mcad.open_index(bundle, create=True) as index:
        engine.index_photos(index, packaged_photos()[:2])
        assert len(engine.search(index, "a cat").results) == 2


def test_towers_of_different_widths_share_no_space(module: Path) -> None:
    module.write_text(EXAMPLE.replace("nn.Linear(64, 32)", "nn.Linear(64, 16)", 1))
    with pytest.raises(StudentError, match=r"\[1, 16\].*\[1, 32\]|\[1, 32\].*\[1, 16\]"):
        mcad.load_student(SPEC)


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ("my_student:other", EXAMPLE, "other"),
        (SPEC, "def make_student(): return 5", "returned int"),
        (SPEC, "import no_such_library", "no_such_library"),
    ],
)
def test_a_function_that_gives_no_student_is_an_error_with_its_name(
    module: Path, spec: str, code: str, message: str
) -> None:
    module.write_text(code)
    with pytest.raises(StudentError, match=message) as caught:
        mcad.load_student(spec)
    assert spec in caught.value.message


def test_photos_are_preprocessed_as_the_student_was_trained(module: Path) -> None:
    made = mcad.load_student(SPEC)
    grey = made.preprocess.mean
    assert np.allclose(grey, (0.5, 0.5, 0.5)) and made.preprocess.resize == "squash"
    assert made.preprocess.size == 64
