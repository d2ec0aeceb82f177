"""The licence of a student's weights: from the model card beside them, else licences.toml."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

import msgspec

from mcad_mobile.base.documents import Record, Word
from mcad_mobile.base.licences import UNKNOWN, find_licence

_TEXTS = ("LICENSE*", "LICENCE*", "COPYING*")
_LICENCE_FIELD = re.compile(r"""^(license|license_name):[\s\["']*([^\s\]"',]+)""", re.MULTILINE)


@dataclass(frozen=True)
class WeightsLicence:
    """A licence's name, or "unknown", and the file with its text, if there is one."""

    name: str = UNKNOWN
    text: Path | None = None


class PublishedWeights(Record, frozen=True):
    """An entry of licences.toml: model family, name patterns, licence, page that states it."""

    family: Word
    names: tuple[Word, ...]
    licence: Word
    page: Word


def weights_licence(folder: Path | None, *names: str) -> WeightsLicence:
    """Return the licence of the weights in `folder` (None: there are none), published as one of
    `names`, open_clip's (NAME:TAG) or a hub's."""
    name = None if folder is None else _card_licence(folder)
    if name is None:
        fitting = (
            entry.licence
            for entry in published_weights()
            if any(fnmatchcase(known, pattern) for known in names for pattern in entry.names)
        )
        name = next(fitting, UNKNOWN)
    files: Iterable[Path] = (
        () if folder is None else (path for kind in _TEXTS for path in sorted(folder.glob(kind)))
    )
    return WeightsLicence(find_licence(name).name, next(filter(Path.is_file, files), None))


@functools.cache
def published_weights() -> tuple[PublishedWeights, ...]:
    """Return the entries of licences.toml."""
    text = resources.files("mcad_mobile.students").joinpath("licences.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["weights"], tuple[PublishedWeights, ...])


def _card_licence(folder: Path) -> str | None:
    """Return the licence in a model card's front matter, if there is one."""
    try:
        card = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    found = dict(_LICENCE_FIELD.findall(front[1])) if front else {}
    name: str | None = found.get("license")
    if name in ("other", UNKNOWN, None):
        name = found.get("license_name")
    return name
