"""What doctor knows of extras is what pyproject.toml says, as `packaging` reads it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement as Read

from mcad_mobile import doctor, requirements

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def lines() -> list[str]:
    """As a build backend writes them into the metadata of a wheel."""
    found = list(PYPROJECT["project"]["dependencies"])
    for extra, wanted in EXTRAS.items():
        for line in wanted:
            specification, _, marker = line.partition(";")
            condition = f"({marker.strip()}) and " if marker else ""
            found.append(f"{specification.strip()}; {condition}extra == '{extra}'")
    return found


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.metadata, "requires", lambda name: lines())


def told(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch, python: str = "3.13.5"
) -> dict[str, Any]:
    platform = SimpleNamespace(
        system=lambda: system,
        machine=lambda: machine,
        python_version_tuple=lambda: tuple(python.split(".")),
    )
    monkeypatch.setattr(requirements, "platform", platform)
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    return {finding.tool: finding for finding in [*doctor.examine_verbs(), *doctor.examine()]}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_pyproject_says(extra: str) -> None:
    linux = {"platform_system": "Linux", "platform_machine": "x86_64", "python_version": "3.11"}
    environment = {"extra": extra, **linux}
    read = [Read(line) for line in lines()]
    wanted = {r.name for r in read if r.marker and r.marker.evaluate(environment)}
    found = {r.name for r in requirements.requirements() if r.extra == extra}
    assert found == wanted - {"mcad-mobile"}


@pytest.mark.usefixtures("installed")
def test_extras_within_extras_are_followed() -> None:
    assert requirements.extras_within("teachers") == {"teachers", "students", "export"}
    assert requirements.extras_within("heic") == {"heic"}


@pytest.mark.usefixtures("installed")
def test_each_extra_of_users_has_its_reason() -> None:
    ours = {"dev", "peers", "teachers"}  # teachers: students, by another name
    assert set(doctor._EXTRAS) == set(EXTRAS) - ours | {""}
    assert {extra for extras in doctor._VERBS.values() for extra in extras} <= set(EXTRAS)


@pytest.mark.usefixtures("installed")
def test_what_is_made_for_another_platform_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    mac = told("Darwin", "arm64", monkeypatch)
    only = "not to be had here: it is made for Linux x86_64 alone"
    assert mac["onnxruntime-qnn"].how_to_get == mac["demo"].how_to_get == only
    assert mac["serve"].how_to_get == "pip install 'mcad-mobile[serve]'"
    here = told("Linux", "x86_64", monkeypatch)
    assert here["onnxruntime-qnn"].how_to_get == "pip install 'mcad-mobile[qnn]'"
    assert here["demo"].how_to_get == "pip install 'mcad-mobile[export,demo,qnn]'"
    assert here["distill"].how_to_get == "pip install 'mcad-mobile[distill]'"


@pytest.mark.usefixtures("installed")
def test_what_is_made_for_pythons_before_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    new = told("Linux", "x86_64", monkeypatch, python="3.14.0")
    only = "not to be had here: it is made for Python before 3.14 alone"
    assert new["litert-torch"].how_to_get == new["export --target dimensity"].how_to_get == only
    here = told("Linux", "x86_64", monkeypatch)
    assert here["litert-torch"].how_to_get == "pip install 'mcad-mobile[litert]'"


def test_a_checkout_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.metadata, "requires", lambda name: None)
    assert {finding.version for finding in doctor.examine_verbs()} == {None}
    assert "pip install -e ." in doctor.examine_verbs()[0].how_to_get
