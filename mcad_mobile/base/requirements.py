"""What this package's extras install, and the versions of installed tools."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from mcad_mobile.base import VERSION

if TYPE_CHECKING:  # a process that is measured does not read requirements
    import packaging.requirements

_PACKAGE = "mcad-mobile"


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


@dataclass(frozen=True)
class Requirement:
    """A distribution that an extra installs ("" is a bare install); `only_where` is the condition
    for it (PEP 508) if this machine does not meet it, or ""."""

    name: str
    extra: str
    only_where: str = ""


@dataclass(frozen=True)
class Installation:
    """What the package requires with its extras (PEP 508), markers of `environment` that are not
    this machine's, and how to look up what is installed."""

    requires: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    version_of: Callable[[str], str | None] = version_of

    @staticmethod
    def here() -> Installation:
        """Return this package's, which is empty in a checkout on PYTHONPATH."""
        try:
            return Installation(metadata.requires(_PACKAGE) or [])
        except metadata.PackageNotFoundError:
            return Installation()

    def requirements(self) -> list[Requirement]:
        """Return every distribution with each extra that installs it."""
        from packaging.markers import Marker

        found = []
        for wanted, extra, where in self._by_extra():
            fits = not where or Marker(where).evaluate({**self.environment})
            if wanted.name != _PACKAGE:
                found.append(Requirement(wanted.name, extra, "" if fits else where))
        return found

    def extras_within(self, extra: str) -> set[str]:
        """Return the extra and those it includes ("distill" includes "export")."""
        inside = {extra}
        for wanted, its, _ in self._by_extra():
            if (wanted.name, its) == (_PACKAGE, extra):
                inside = inside.union(*map(self.extras_within, wanted.extras))
        return inside

    def _by_extra(self) -> Iterator[tuple[packaging.requirements.Requirement, str, str]]:
        """Yield each requirement, its extra, and its marker without the extra."""
        from packaging.requirements import Requirement as Wanted

        for wanted in map(Wanted, self.requires):
            where, _, extra = str(wanted.marker or "").partition("extra == ")
            yield wanted, extra.strip('"'), where.removesuffix(" and ").strip("()")
