"""Licences by name, and whether weights under them may be shipped in an app (licences.toml)."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from mcad_mobile.errors import BuildError, install_line

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """A licence. `page` is the URL of its text. `limit` says what it forbids ("allows research
    only"), or is empty if an app with the weights may be given to anyone. `terms` is its text
    without the copyright, if it is known."""

    name: str
    page: str
    limit: str
    spdx: bool = False
    terms: str = ""


def find_licence(name: str) -> Licence:
    """Return the licence that a model card or a bundle calls `name`, ignoring case; one that is
    not in the table has a limit, too."""
    known = _licences().get(name.lower())
    if known is not None:
        return known
    if name.lower() in ("", UNKNOWN):
        return Licence(UNKNOWN, "", "may not let you ship them")
    return Licence(name, "", "mcad-mobile does not know")


def licence_text(name: str, owner: str) -> str | None:
    """Return the text of the licence `name` of `owner`'s work; None if it is not known.
    BuildError if our own, which is Apache's, is missing."""
    licence = find_licence(name)
    if licence.name == "Apache-2.0":
        return own_text("LICENSE")
    return f"Copyright (c) {owner}\n\n{licence.terms}" if licence.terms else None


def own_text(name: str) -> str:
    """Read our LICENSE or NOTICE from the checkout or the installed wheel. BuildError."""
    from importlib.metadata import PackageNotFoundError, distribution

    checkout = Path(__file__).parents[2] / name
    if checkout.is_file():
        return checkout.read_text("utf-8")
    try:
        text = distribution("mcad-mobile").read_text(f"licenses/{name}")
    except PackageNotFoundError:
        text = None
    if text is None:
        raise missing_text(f"mcad-mobile's {name}")
    return text


def missing_text(text: str) -> BuildError:
    """Return an error for a licence text that an installed package lacks."""
    return BuildError(
        f"{text} is missing from its package, and an app must carry it.",
        f"Install again: {install_line(again=True)}.",
    )


@functools.cache
def _licences() -> dict[str, Licence]:
    text = resources.files("mcad_mobile.base").joinpath("licences.toml").read_text("utf-8")
    return {
        name.lower(): Licence(
            name,
            facts.get("page") or f"https://spdx.org/licenses/{name}.html",
            facts.get("limit", ""),
            spdx="page" not in facts,
            terms=facts.get("terms", ""),
        )
        for name, facts in tomllib.loads(text).items()
    }
