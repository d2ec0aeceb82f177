"""The limits of `make check`: what counts, and what is said above one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_limits import figures, main

BLOCK = "<!-- sizes: made by `make docs` -->\n| many | words |\n<!-- sizes: end -->\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A project with a little of everything that is limited."""
    write(tmp_path / "mcad_mobile/base/a.py", "one = 1\ntwo = 2\n")
    write(tmp_path / "mcad_mobile/native.c", "int x;\n")
    write(tmp_path / "android_demo/app/A.java", "class A {\n}\n")
    write(tmp_path / "benchmarks/a.py", "a\n")
    write(tmp_path / "benchmarks/a.c", "a\nb\n")
    write(tmp_path / "scripts/a.sh", "a\n")
    write(tmp_path / "tests/test_a.py", "monkeypatch.setattr(a, b)\nmonkeypatch.setenv(a, b)\n")
    write(tmp_path / "docs/page.md", f"three | more words - \n{BLOCK}and one\n")
    write(tmp_path / "docs/adr/1.md", "decided\n")
    write(tmp_path / "docs/cli.md", "a page that make docs writes\n")
    write(tmp_path / "README.md", f"{BLOCK}read me\n{BLOCK}")
    return tmp_path


def test_what_is_written_by_hand_counts_and_nothing_else(house: Path) -> None:
    found = {name: figure for name, (figure, _) in figures(house).items()}
    assert found == {
        "lines of Python in mcad_mobile": 2,
        "files of Python in mcad_mobile": 1,
        "lines of Java in android_demo": 2,
        "lines in benchmarks": 3,
        "lines in scripts": 1,
        "lines of Python in tests": 2,
        "calls of monkeypatch.setattr in tests": 1,
        "words in hand-written docs": 6,
        "words in README.md": 2,
    }


def test_a_figure_above_its_limit_is_named_with_how_much_is_too_much(house: Path, capsys) -> None:
    write(house / "README.md", "word " * 500)
    main(house)
    assert "500 of    500 words in README.md" in capsys.readouterr().out
    write(house / "README.md", "word " * 507)
    with pytest.raises(SystemExit) as stopped:
        main(house)
    assert stopped.value.code == 1
    assert "Too much by 7: words in README.md" in capsys.readouterr().err
