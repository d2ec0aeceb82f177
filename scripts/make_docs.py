"""Write the pages that are made from something else: docs/cli.md from `--help`; docs/benchmarks.md
and tables of docs/targets.md and README.md from benchmarks/results; docs/chips.md from the table of
targets; and stored figures into the sentences of other pages (scripts/sentences)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pages.benchmarks import benchmarks_page
from pages.chips import chips_page
from pages.command_line import cli_page
from pages.results import ROOT
from pages.sections import readme_page, scale_page, targets_page

PAGES: dict[Path, Callable[[], str]] = {
    ROOT / "README.md": readme_page,
    ROOT / "docs" / "cli.md": cli_page,
    ROOT / "docs" / "benchmarks.md": benchmarks_page,
    ROOT / "docs" / "chips.md": chips_page,
    ROOT / "docs" / "targets.md": targets_page,
    ROOT / "docs" / "scale.md": scale_page,
}


if __name__ == "__main__":
    import check_figures
    from sentences import sentences

    for page, render in PAGES.items():
        page.write_text(render(), "utf-8")
    check_figures.renew(sentences())
