"""The licence of a student's weights: from the model card beside them or weights_licences.toml, and
into the card of a student that is trained from them."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

import msgspec

from mcad_mobile.base.documents import Record, Word
from mcad_mobile.base.licences import UNKNOWN, find_licence, licence_text

TEXTS = ("LICENSE*", "LICENCE*", "COPYING*")
NOTICES = ("NOTICE*",)
# A field's value ends before the next line that starts with a word.
_FIELD = r"^{}:(.*(?:\n(?:[ \t-].*)?)*)"
_COMMENT = re.compile(r"(^|[ \t])#.*", re.MULTILINE)
_BETWEEN = re.compile(r"""[\n,\[\]()"'>|]|\s(?:and|or|with)\s""", re.IGNORECASE)


@dataclass(frozen=True)
class WeightsLicence:
    """A licence's name, or "unknown"; the files with its text and with the weights' NOTICE, if
    there are any; and whose the copyright is, if it is known."""

    name: str = UNKNOWN
    text: Path | None = None
    notice: Path | None = None
    owner: str = ""

    def document(self, source: str) -> bytes | None:
        """Return the text that goes with the weights, which came from `source`, and behind it their
        NOTICE; None if neither is known. BuildError: see licence_text."""
        texts = [path.read_bytes() for path in (self.text, self.notice) if path is not None]
        if self.text is None:
            standard = licence_text(self.name, self.owner or f"the authors of {source}")
            texts = [standard.encode(), *texts] if standard is not None else texts
        return b"\n".join(texts) or None


class PublishedWeights(Record, frozen=True):
    """An entry of weights_licences.toml: model family, name patterns, licence, page that states it,
    and whose the copyright is."""

    family: Word
    names: tuple[Word, ...]
    licence: Word
    page: Word
    copyright: str = ""


def weights_licence(folder: Path | None, *names: str) -> WeightsLicence:
    """Return the licence of the weights in `folder` (None: there are none), published as one of
    `names`, open_clip's (NAME:TAG) or a hub's."""
    fitting = (
        entry
        for entry in published_weights()
        if any(fnmatchcase(known, pattern) for known in names for pattern in entry.names)
    )
    published = next(fitting, None)
    name = None if folder is None else _card_licence(folder)
    if name is None:
        name = UNKNOWN if published is None else published.licence
    licence = WeightsLicence(find_licence(name).name)
    if published is not None and published.licence == licence.name:
        licence = replace(licence, owner=published.copyright)
    if folder is None:
        return licence
    return replace(licence, text=_first(folder, TEXTS), notice=_first(folder, NOTICES))


@functools.cache
def published_weights() -> tuple[PublishedWeights, ...]:
    """Return the entries of weights_licences.toml."""
    file = resources.files("mcad_mobile.students") / "weights_licences.toml"
    entries = tomllib.loads(file.read_text("utf-8"))["weights"]
    return msgspec.convert(entries, tuple[PublishedWeights, ...])


def _first(folder: Path, patterns: Iterable[str]) -> Path | None:
    """Return the first file that fits, in the order of the patterns."""
    paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return next(filter(Path.is_file, paths), None)


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
    if all(name.lower() == "other" for name in named):
        return None
    return next((name for name in named if find_licence(name).limit), named[0])


def _named(fields: str, field: str) -> list[str]:
    """Return the licences that a field names: one, a YAML list, or names joined by commas, AND, OR.
    Read by hand, because no YAML library is required."""
    values = re.findall(_FIELD.format(field), fields, re.MULTILINE)
    items = (item.strip(" \t-") for value in values for item in _BETWEEN.split(value))
    return [item for item in items if item]


def write_model_card(folder: Path, about: str, weights: str, start: WeightsLicence) -> None:
    """Write the card of a student trained from `weights` with the licence `start`, and that
    licence's text.

    A limit of their licence holds for the student, too. Without one its licence is unknown: the
    photos and captions that it was trained on have licences, too, which only the user knows.
    """
    licence = find_licence(start.name)
    card = f"---\nlicense: {licence.name if licence.limit else UNKNOWN}\n---\n{about}\n\n"
    card += f"The licence of the weights that training started from: {licence.name}.\n"
    if not licence.limit:
        card += "Name yours above, as `license:`, if your photos and captions allow one.\n"
    (folder / "README.md").write_text(card, "utf-8")
    text = start.document(weights)
    if text is not None:
        (folder / "LICENSE").write_bytes(text)
