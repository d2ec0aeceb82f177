"""Generate pages and tables of README.md and docs/ from the command line's help, the chip table and
benchmarks/results.

python -m scripts.make_docs            # write them: `make docs`
python -m scripts.make_docs --check    # exit with 1 and name the pages that differ: `make check`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scripts.pages import blocks
from scripts.pages.benchmarks import benchmarks_page
from scripts.pages.chips import chips_page
from scripts.pages.command_line import cli_page
from scripts.pages.llms import llms_page
from scripts.pages.results import ROOT

PAGES: dict[str, Callable[[], str]] = {
    **{name: partial(blocks.page, name) for name in blocks.BLOCKS},
    "docs/benchmarks.md": benchmarks_page,
    "docs/chips.md": chips_page,
    "docs/cli.md": cli_page,
    "llms.txt": llms_page,
}


def stale_pages(root: Path = ROOT) -> list[str]:
    """Return the pages under `root` that differ from the generated ones."""
    return [name for name, page in PAGES.items() if (root / name).read_text("utf-8") != page()]


def main(arguments: list[str], root: Path = ROOT) -> None:
    if arguments == ["--check"]:
        stale = stale_pages(root)
        sys.exit("\n".join(f"{name} is out of date: run make docs" for name in stale) or 0)
    for name, page in PAGES.items():
        (root / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
