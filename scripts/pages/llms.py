"""llms.txt: the site's pages, from mkdocs.yml and each page's first sentence."""

from __future__ import annotations

import re
from typing import Any

import yaml

from scripts.pages.results import ROOT

HEAD = """\
# mcad-mobile

> Search the photos on a phone with words, offline: export image and text encoders for phone
> chips, index photo embeddings, search, and measure memory and latency. A Python package, a
> command line and an Android library.
"""


def llms_page() -> str:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    return "\n".join([HEAD, *(line for entry in nav for line in _lines(entry))]) + "\n"


def _lines(entry: dict[str, Any]) -> list[str]:
    ((title, inside),) = entry.items()
    if isinstance(inside, list):
        return ["", f"## {title}", "", *(line for page in inside for line in _lines(page))]
    inside_docs = ROOT / "docs" / inside
    path = inside_docs if inside_docs.is_file() else ROOT / inside
    return [f"- [{title}]({path.relative_to(ROOT)}): {_purpose(path.read_text('utf-8'))}"]


def _purpose(page: str) -> str:
    """Return the first sentence of the first paragraph below the title."""
    below = page.partition("\n# ")[2] if page.startswith("---\n") else page.strip()
    paragraph = re.split(r"\n\s*\n", below)[1].replace("\n", " ")
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph)
    return re.split(r"(?<=\.) (?=[A-Z`*])", plain)[0]
