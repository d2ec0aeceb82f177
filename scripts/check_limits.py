"""Print the project's figures with their limits; exit with 1 above one: `make check`.

What `make docs` writes does not count: pages, and blocks between its comments. Signs are no words.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_GENERATED_PAGES = ("benchmarks.md", "chips.md", "cli.md")
_GENERATED_BLOCK = re.compile(r"<!-- (\w+): made by `make docs` -->.*?<!-- \1: end -->", re.DOTALL)


def figures(root: Path) -> dict[str, tuple[int, int]]:
    """Return the figure and the limit of each rule."""
    package, tests = _files(root / "mcad_mobile", "py"), _files(root / "tests", "py")
    pages = [page for page in _files(root / "docs", "md") if page.name not in _GENERATED_PAGES]
    replaced = sum(path.read_text("utf-8").count("monkeypatch.setattr(") for path in tests)
    return {
        "lines of Python in mcad_mobile": (_lines(package), 41_480),
        "files of Python in mcad_mobile": (len(package), 239),
        "lines of Python in tests": (_lines(tests), 59_814),
        "lines of Java in android_demo": (_lines(_files(root / "android_demo", "java")), 20_946),
        "lines in benchmarks": (_lines(_files(root / "benchmarks", "py", "c")), 4_940),
        "lines in scripts": (_lines(_files(root / "scripts", "py", "sh")), 1_278),
        "calls of monkeypatch.setattr in tests": (replaced, 200),
        "words in hand-written docs": (_words(pages), 18_915),
        "words in README.md": (_words([root / "README.md"]), 500),
    }


def _files(folder: Path, *suffixes: str) -> list[Path]:
    return [path for suffix in suffixes for path in folder.rglob(f"*.{suffix}")]


def _lines(paths: list[Path]) -> int:
    return sum(path.read_bytes().count(b"\n") for path in paths)


def _words(pages: list[Path]) -> int:
    by_hand = (_GENERATED_BLOCK.sub("", page.read_text("utf-8")) for page in pages)
    return sum(len(re.findall(r"\S*[^\W_]\S*", text)) for text in by_hand)


def main(root: Path = ROOT) -> None:
    over = ""
    for name, (figure, limit) in figures(root).items():
        print(f"{figure:>6,} of {limit:>6,} {name}")
        over += f"Too much by {figure - limit:,}: {name}\n" * (figure > limit)
    if over:
        print(f"{over}Whoever adds, cuts.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
