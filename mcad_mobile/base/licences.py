"""Licences by name, and whether weights under them may be shipped in an app (licences.toml)."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """A licence. `page` is the URL of its text. `limit` says what it forbids ("allows research
    only"), or is empty if an app with the weights may be given to anyone."""

    name: str
    page: str
    limit: str
    spdx: bool = False


def find_licence(name: str) -> Licence:
    """Return the licence that a model card or a bundle calls `name`, ignoring case; one that is
    not in the table has a limit, too."""
    known = _licences().get(name.lower())
    if known is not None:
        return known
    if name.lower() in ("", UNKNOWN):
        return Licence(UNKNOWN, "", "may not let you ship them")
    return Licence(name, "", "mcad-mobile does not know")


@functools.cache
def _licences() -> dict[str, Licence]:
    text = resources.files("mcad_mobile.base").joinpath("licences.toml").read_text("utf-8")
    return {
        name.lower(): Licence(
            name,
            facts.get("page") or f"https://spdx.org/licenses/{name}.html",
            facts.get("limit", ""),
            spdx="page" not in facts,
        )
        for name, facts in tomllib.loads(text).items()
    }
