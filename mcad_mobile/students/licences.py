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
# A field's value ends before the next line that starts with a word.
_FIELD = r"^{}:(.*(?:\n(?:[ \t-].*)?)*)"
_COMMENT = re.compile(r"(^|[ \t])#.*", re.MULTILINE)
_BETWEEN = re.compile(r"""[\n,\[\]()"'>|]|\s(?:and|or|with)\s""", re.IGNORECASE)


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
    """Return the licence in a model card's front matter, if there is one; of several, the first
    with a limit."""
    try:
        card = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    fields = _COMMENT.sub("", front[1]) if front else ""
    named, specific = _named(fields, "license"), _named(fields, "license_name")
    vague = {name for name in named if name.lower() in ("other", UNKNOWN)}
    if specific and (vague or not named):
        named = [*(name for name in named if name not in vague), *specific]
    if named in ([], ["other"]):
        return None
    return next((name for name in named if find_licence(name).limit), named[0])


def _named(fields: str, field: str) -> list[str]:
    """Return the licences that a field names: one, a YAML list, or names joined by commas, AND, OR.
    Read by hand, because no YAML library is required."""
    values = re.findall(_FIELD.format(field), fields, re.MULTILINE)
    items = (item.strip(" \t-") for value in values for item in _BETWEEN.split(value))
    return [item for item in items if item]
