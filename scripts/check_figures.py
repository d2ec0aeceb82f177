"""Say which figures of hand-written pages have no source, or are not what is stored.

    python scripts/check_figures.py    # by file and line; a part of `make check`

How pages are read: figures.py. What they say: sentences/.
"""

from __future__ import annotations

import sys
from pathlib import Path

import figures
from figures import Sentence
from sentences import sentences
from sentences.results import ROOT, TARGET

Pages = dict[str, list[Sentence]]
MADE = ("benchmarks.md", "chips.md", "cli.md")  # by make_docs.py, all of them


def hand_written(root: Path = ROOT) -> list[str]:
    """The pages whose figures are checked: a new one in docs/ is among them."""
    docs = sorted(page.name for page in (root / "docs").glob("*.md"))
    others = ["README.md", "models/mcad-s/README.md", "android_demo/README.md"]
    return others + [f"docs/{name}" for name in docs if name not in MADE]


def complaints(pages: Pages, root: Path = ROOT) -> list[str]:
    """What is wrong with the pages' figures, a line each."""
    found = [
        f"scripts/sentences: {sentence.why!r} is no file, address or target"
        for known in pages.values()
        for sentence in known
        if sentence.why and not _stands(sentence.why)
    ]
    for page in dict.fromkeys([*hand_written(root), *pages]):
        text = (root / page).read_text("utf-8")
        known = pages.get(page, [])
        found += [problem.told(page, text) for problem in figures.problems(text, known)]
    return found


def renew(pages: Pages, root: Path = ROOT) -> None:
    """Write what is stored into the pages."""
    for page, known in pages.items():
        text = (root / page).read_text("utf-8")
        if (new := figures.renewed(text, known)) != text:
            (root / page).write_text(new, "utf-8")


def _stands(why: str) -> bool:
    return why == TARGET or why.startswith("https://") or (ROOT / why).is_file()


def main() -> None:
    found = complaints(sentences())
    print("\n".join(found) or "Every figure in README, docs and the model card has its source.")
    if found:
        print(f"\n{figures.WHAT_TO_DO}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
