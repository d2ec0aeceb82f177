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
_PYTHON = "Programming Language :: Python :: "
# Where every requirement can be installed.
_PLATFORM = {"platform_system": "Linux", "platform_machine": "x86_64"}
_OLDEST = {"python_version": "3.11"}


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
    """A distribution that an extra installs ("" is a bare install); `only_on` names the platform
    or Pythons that it needs if this machine does not match, else None."""

    name: str
    extra: str
    only_on: str | None = None


@dataclass(frozen=True)
class Installation:
    """What the package requires (PEP 508) with its extras, the Pythons that it was tried on,
    markers of `environment` that are not this machine's, and how to look up what is installed."""

    requires: Sequence[str] = ()
    extras: Sequence[str] = ()
    pythons: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    version_of: Callable[[str], str | None] = version_of

    @staticmethod
    def here() -> Installation:
        """Return this package's, which is empty in a checkout on PYTHONPATH."""
        try:
            found = metadata.metadata(_PACKAGE)
        except metadata.PackageNotFoundError:
            return Installation()
        named = [line.removeprefix(_PYTHON) for line in found.get_all("Classifier") or []]
        return Installation(
            found.get_all("Requires-Dist") or [],
            found.get_all("Provides-Extra") or [],
            [name for name in named if name.startswith("3.")],
        )

    def requirements(self) -> list[Requirement]:
        """Return every distribution with each extra that installs it."""
        return [
            Requirement(wanted.name, extra, self._only_on(wanted, extra))
            for extra, wanted in self._by_extra()
            if wanted.name != _PACKAGE
        ]

    def extras_within(self, extra: str) -> set[str]:
        """Return the extra and those it includes ("distill" includes "export")."""
        inside = {extra}
        for its, wanted in self._by_extra():
            if (wanted.name, its) == (_PACKAGE, extra):
                inside = inside.union(*map(self.extras_within, wanted.extras))
        return inside

    def _by_extra(self) -> Iterator[tuple[str, packaging.requirements.Requirement]]:
        from packaging.requirements import Requirement as Wanted

        for wanted in map(Wanted, self.requires):
            extras = ("",) if self._fits(wanted, "", **_PLATFORM, **_OLDEST) else self.extras
            for extra in extras:
                if self._fits(wanted, extra, **_PLATFORM, **_OLDEST):
                    yield extra, wanted

    def _fits(
        self, wanted: packaging.requirements.Requirement, extra: str, **environment: str
    ) -> bool:
        markers = {**self.environment, **environment, "extra": extra}
        return wanted.marker is None or wanted.marker.evaluate(markers)

    def _only_on(self, wanted: packaging.requirements.Requirement, extra: str) -> str | None:
        if self._fits(wanted, extra):
            return None
        if not self._fits(wanted, extra, **_OLDEST):
            return " ".join(_PLATFORM.values())
        fitting = [name for name in self.pythons if self._fits(wanted, extra, python_version=name)]
        return f"Python {', '.join(fitting)}"
