"""mkdocs hooks: the site includes pages outside docs/, and links lead to both."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"),
    *("LICENSE", "NOTICE", "llms.txt"),
    *("models/mcad-s/README.md", "models/mcad-s/LICENSE"),
    *("models/mcad-m/README.md", "models/mcad-m/LICENSE"),
    *("models/mcad-o/README.md", "models/mcad-o/LICENSE"),
    "benchmarks/README.md",
    *("android_demo/README.md", "android_demo/stubs/README.md"),
)
LINK = re.compile(r"""(\]\(|<img src=")([^)#:"]+)(#[^)]*)?([)"])""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in OUTSIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links rewritten for the site, where docs/ is the root."""
    here = page.file.src_uri
    folder = posixpath.dirname(here if here in OUTSIDE else f"docs/{here}")

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        uri = target if target in OUTSIDE else target.removeprefix("docs/")
        path = posixpath.relpath(uri, posixpath.dirname(here) or ".")
        return f"{link[1]}{path}{link[3] or ''}{link[4]}"

    return LINK.sub(on_site, markdown)
