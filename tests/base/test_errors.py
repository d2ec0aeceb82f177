"""What cannot be imported is told with the way to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcad_mobile
from mcad_mobile import errors
from mcad_mobile.errors import McadError, MissingExtra, install_line, require
from tests.support.processes import run_python


@pytest.mark.parametrize("error", ["OSError", "RuntimeError", "AttributeError", "ImportError"])
def test_a_library_that_is_there_and_does_not_load_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    (tmp_path / "broken_library.py").write_text(f"raise {error}('libgone.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"broken_library .*libgone\.so") as caught:
        require("broken_library", "export")
    assert install_line("export") in caught.value.hint
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text(f"raise {error}('libgone.so is missing')")
    with pytest.raises(MissingExtra, match=r"package\.inner .*libgone\.so") as caught:
        require("package.inner", "export")
    removes = "pip uninstall package, then" in caught.value.hint
    assert removes == (error != "ImportError")


def test_an_error_is_its_message_and_a_line_that_says_what_to_do() -> None:
    assert str(McadError("It is away.", "Wait.")) == "It is away.\n  Wait."
    assert str(McadError("It is away.")) == "It is away."
    crash = errors.RunnerCrashed(-11, "search", "loaded\nout of memory")
    assert (crash.code, crash.step, crash.last_line) == (-11, "search", "out of memory")
    assert "code -11 during `search`; its last lines:\nloaded\nout of memory" in crash.message
    assert "code 3; its" in errors.RunnerCrashed(3, "", "x").message


def test_an_extra_is_installed_from_the_checkout_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Path(mcad_mobile.__file__).parents[1]
    monkeypatch.chdir(checkout)
    assert install_line("export") == "pip install -c constraints.txt -e '.[export]'"
    assert install_line() == "pip install -c constraints.txt -e ."
    monkeypatch.chdir(tmp_path)
    there = f"-c {checkout}/constraints.txt -e"
    assert install_line("export,serve") == f"pip install {there} '{checkout}[export,serve]'"
    assert install_line("", again=True) == f"pip install --force-reinstall {there} {checkout}"
    update = f"Update mcad-mobile: git pull in {checkout}, then pip install {there} {checkout}"
    assert errors.update_hint() == update


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        ("", "pip install 'mcad-mobile[export]'"),
        (
            '{"url": "file:///my%20wheels/mcad_mobile-0.1.0-py3-none-any.whl"}',
            "pip install '/my wheels/mcad_mobile-0.1.0-py3-none-any.whl[export]'",
        ),
        (
            '{"url": "https://example.org/mcad_mobile.whl"}',
            "pip install 'mcad-mobile[export] @ https://example.org/mcad_mobile.whl'",
        ),
    ],
    ids=["index", "wheel", "address"],
)
def test_an_extra_is_installed_from_where_the_package_came(
    tmp_path: Path, origin: str, line: str
) -> None:
    """In a folder that looks as pip leaves it (PEP 610)."""
    package, facts = tmp_path / "mcad_mobile", tmp_path / "mcad_mobile-0.1.0.dist-info"
    package.mkdir()
    facts.mkdir()
    (package / "__init__.py").touch()
    source = Path(mcad_mobile.__file__).with_name("errors.py")
    (package / "errors.py").write_text(source.read_text("utf-8"), "utf-8")
    (facts / "METADATA").write_text("Name: mcad-mobile\nVersion: 0.1.0\n")
    if origin:
        (facts / "direct_url.json").write_text(origin)
    code = "from mcad_mobile.errors import *; print(install_line('export'))"
    done = run_python("-c", code, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, check=True)
    assert done.stdout.strip() == line
