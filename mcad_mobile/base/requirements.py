"""What this package's extras install, and the versions of installed tools."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from mcad_mobile.base import VERSION

_PACKAGE = "mcad-mobile"
# PEP 508, such as "onnxruntime-qnn>=2.7; platform_system == 'Linux' and extra == 'snapdragon'".
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRAS = re.compile(r"\[([^\]]*)\]")
_CONDITION = re.compile(r"(\w+) == [\"']([^\"']+)[\"']")
_BEFORE = re.compile(r"python_version < [\"']3\.(\d+)[\"']")


@dataclass(frozen=True)
class Requirement:
    """A distribution that an extra installs ("" is a bare install); `only_on` names the platform
    or Pythons that it needs if this machine does not match, else None."""

    name: str
    extra: str
    only_on: str | None = None


def requirements() -> list[Requirement]:
    """Return every distribution with each extra that installs it; [] in a checkout on
    PYTHONPATH."""
    return [read for read in map(_read, _lines()) if read.name != _PACKAGE]


def extras_within(extra: str) -> set[str]:
    """Return the extra and those it includes ("distill" includes "export")."""
    found = {extra}
    for line in _lines():
        read, inside = _read(line), _EXTRAS.search(line.partition(";")[0])
        if (read.name, read.extra) == (_PACKAGE, extra) and inside:
            found |= {more for name in inside[1].split(",") for more in extras_within(name.strip())}
    return found


def _lines() -> list[str]:
    try:
        return metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []


def tried_pythons() -> str:
    """Return the Python releases that the package was tested on: "3.11, 3.12"."""
    try:
        classifiers = metadata.metadata(_PACKAGE).get_all("Classifier") or []
    except metadata.PackageNotFoundError:
        return ""
    found = (
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in classifiers
    )
    return ", ".join(match[1] for match in found if match)


def _read(line: str) -> Requirement:
    specification, _, marker = line.partition(";")
    name = _NAME.match(specification.strip())
    assert name is not None, line
    conditions = dict(_CONDITION.findall(marker))
    here = {"platform_system": platform.system(), "platform_machine": platform.machine()}
    wanted = {key: value for key, value in conditions.items() if key in here}
    foreign = any(here[key] != value for key, value in wanted.items())
    only_on = " ".join(wanted.values()) if foreign else None
    before = _BEFORE.search(marker)
    if before and int(platform.python_version_tuple()[1]) >= int(before[1]):
        only_on = f"Python before 3.{before[1]}"
    return Requirement(name[0], conditions.get("extra", ""), only_on)


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def tool_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of this package, of Python, and of installed `distributions`."""
    found = {name: version_of(name) for name in distributions}
    return {
        "mcad-mobile": VERSION,
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
    }
