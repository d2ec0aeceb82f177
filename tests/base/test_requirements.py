"""What doctor knows of extras is what pyproject.toml says, as `packaging` reads it."""

from __future__ import annotations

import ast
import functools
import platform
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement as Read
from packaging.utils import canonicalize_name

from mcad_mobile.android import downloads
from mcad_mobile.base import machine
from mcad_mobile.base.requirements import Installation, tool_versions
from mcad_mobile.cli import doctor
from mcad_mobile.errors import install_line
from tests.support.paths import ROOT

pytestmark = pytest.mark.long


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FAMILIES = ("cpu", "snapdragon", "dimensity", "tensor")
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


def installation(installed: Callable[[str], bool], **environment: str) -> Installation:
    """This package where `installed` says which distributions there are."""
    return Installation(
        lines(),
        {"python_version": "3.13", **environment},
        lambda name: "1.0" if installed(name) else None,
    )


def found_on(system: str, machine: str, python: str = "3.13") -> dict[str, Any]:
    """What doctor finds on another machine, where nothing is installed."""
    here = installation(
        lambda name: False,
        platform_system=system,
        platform_machine=machine,
        python_version=python,
    )
    findings = [*doctor.examine_commands(here), *doctor.examine(here)]
    return {finding.tool: finding for finding in findings}


def commands_where(installed: Callable[[str], bool]) -> dict[str, Any]:
    return {found.tool: found for found in doctor.examine_commands(installation(installed))}


def test_this_package_is_read_from_its_metadata() -> None:
    here = Installation.here()
    assert {"numpy", "torch"} <= {wanted.name for wanted in here.requirements()}
    assert here.version_of("numpy") == metadata.version("numpy")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_pyproject_says(extra: str) -> None:
    found = {r.name for r in installation(bool).requirements() if r.extra == extra}
    assert found == {Read(line).name for line in EXTRAS[extra]} - {"mcad-mobile"}


def test_extras_within_extras_are_followed() -> None:
    here = installation(bool)
    assert here.extras_within("students") == {"students", "export"}
    assert here.extras_within("dev") == {"dev", "serve", "embed", "ray", "android"}
    assert here.extras_within("heic") == {"heic"}
    chain = [("all", "mcad-mobile[ray]"), ("ray", "mcad-mobile[embed]"), ("embed", "pyarrow>=19")]
    deep = [f"{specification}; extra == '{extra}'" for extra, specification in chain]
    assert Installation(deep).extras_within("all") == {"all", "ray", "embed"}


def test_each_extra_of_users_has_its_reason() -> None:
    assert set(doctor._EXTRAS) == set(EXTRAS) - {"dev", "peers"} | {""}
    assert {extra for extras in doctor._COMMANDS.values() for extra in extras} <= set(EXTRAS)


def test_what_is_made_for_another_platform_or_python_is_said_to_be() -> None:
    mac = found_on("Darwin", "arm64")
    only = "not available here: only where {}".format
    linux = only('platform_system == "Linux" and platform_machine == "x86_64"')
    assert mac["onnxruntime-qnn"].how_to_get == mac["demo"].how_to_get == linux
    assert mac["serve"].how_to_get == install_line("serve")
    here = found_on("Linux", "x86_64")
    assert here["onnxruntime-qnn"].how_to_get == install_line("snapdragon")
    assert here["demo"].how_to_get == install_line("export,snapdragon,report")
    assert here["distill"].how_to_get == install_line("distill")
    assert here["litert-torch"].how_to_get == install_line("dimensity")
    new = found_on("Linux", "x86_64", "3.14")
    for tool in ("litert-torch", "export --target dimensity"):
        assert new[tool].how_to_get == only('python_version < "3.14"')


@pytest.mark.parametrize(
    ("absent", "verbs"),
    [
        ("", set()),
        (
            "torch",
            {
                *("demo", "eval", "distill", "export --read-text"),
                *map("export --target {}".format, FAMILIES),
            },
        ),
        ("rapidocr", {"export --read-text"}),
        ("accelerate", {"distill"}),
        ("onnxruntime-qnn", {"demo", "export --target snapdragon"}),
        ("ai-edge-litert", {"export --target dimensity", "export --target tensor"}),
        ("jinja2", {"demo", "report, bench --report, search --show"}),
        ("starlette", {"serve"}),
        ("qai-hub", {"bench --device aihub, export --via aihub"}),
        ("pyarrow", {"embed, index --from SHARDS", "embed --ray"}),
        ("ray", {"embed --ray"}),
    ],
)
def test_a_verb_works_where_all_is_there_that_its_extras_bring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, absent: str, verbs: set[str]
) -> None:
    """An app needs tools of the system, too."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = commands_where(lambda name: name != absent)
    lacking = {tool for tool, finding in found.items() if finding.version is None}
    assert lacking == verbs | {"app, library"}
    assert found["app, library"].how_to_get.startswith("apt install default-jdk-headless")
    for tool in found.keys() - lacking:
        assert (found[tool].version, found[tool].how_to_get) == ("works", "")
    if "distill" in verbs:
        assert found["distill"].how_to_get == install_line("distill")


def test_no_verb_works_without_what_a_bare_install_brings() -> None:
    found = commands_where(lambda name: name != "onnxruntime")
    assert {finding.version for finding in found.values()} == {None}
    assert found["index"].how_to_get == found["serve"].how_to_get == install_line()


def test_verbs_that_search_do_not_work_without_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = doctor.Finding("search kernels", None, "search", "Install it again.")
    monkeypatch.setattr(doctor, "examine_kernels", lambda: kernels)
    found = commands_where(bool)
    lacking = {tool for tool in found if found[tool].how_to_get == "Install it again."}
    assert lacking == {"demo", "search, bench", "serve"}


def test_a_checkout_that_is_not_installed_says_so() -> None:
    commands = doctor.examine_commands(Installation())
    assert {finding.version for finding in commands} == {None}
    assert install_line() in commands[0].how_to_get


def required() -> Iterator[tuple[str, ast.expr, ast.expr]]:
    """Each call of `require` in the package, and each backend's `compiler`: where it stands, its
    module and its extra."""
    for file in sorted((ROOT / "mcad_mobile").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(ast.Name("require"), [ast.Starred(ast.Attribute(_, "compiler"))]):
                    continue
                case ast.Call(ast.Name("require"), [module, extra]):
                    yield f"{file.name}:{node.lineno}", module, extra
                case ast.Call(ast.Name("require")):
                    pytest.fail(f"{file}:{node.lineno}: name a module and an extra, by place")
                case ast.Assign([ast.Name("compiler")], ast.Tuple([module, extra])):
                    yield f"{file.name}:{node.lineno}", module, extra


def brought_by(extra: str) -> set[str]:
    """The distributions that an install with an extra has, those that they require included."""
    waiting = [(Read(line), "") for line in PYPROJECT["project"]["dependencies"] + EXTRAS[extra]]
    found = set()
    while waiting:
        wanted, of_extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": of_extra}):
            continue
        step = (canonicalize_name(wanted.name), of_extra, *sorted(wanted.extras))
        if step in found:
            continue
        found.add(step)
        for name in ("", *wanted.extras):
            waiting += [(Read(line), name) for line in _required_by(wanted.name, name)]
    return {name for name, *_ in found}


@functools.cache
def _required_by(name: str, extra: str) -> list[str]:
    if name == "mcad-mobile":
        return EXTRAS.get(extra, [])
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def test_the_extra_that_a_missing_module_is_told_with_exists_and_brings_it() -> None:
    distributions = metadata.packages_distributions()
    brought: dict[str, set[str]] = {}
    for where, module, extra in required():
        assert isinstance(extra, ast.Constant), f"{where}: name the extra here"
        assert extra.value in EXTRAS, f"{where}: pyproject.toml has no extra {extra.value!r}"
        if extra.value not in brought:
            brought[extra.value] = brought_by(extra.value)
        if isinstance(module, ast.Constant):
            package = module.value.partition(".")[0]
            names = {canonicalize_name(name) for name in distributions.get(package, [])}
            if names:
                assert names & brought[extra.value], f"{where}: [{extra.value}] lacks {package}"
    assert {"export", "snapdragon", "dimensity", "students", "distill", "embed"} <= set(brought)


def test_every_extra_that_a_text_names_exists() -> None:
    in_words = r"""(?:mcad-mobile|ACTION_PATH|-e ['"]?\.|'\.)\[([a-z,]+)\]"""
    named = re.compile(rf"""{in_words}|install_line\(["']([a-z,]+)["']""")
    texts = [ROOT / "Makefile", ROOT / "README.md", ROOT / "action.yml"]
    for folder, kinds in {
        "mcad_mobile": ("py", "jinja"),
        "docs": ("md",),
        "scripts": ("sh",),
    }.items():
        texts += [file for kind in kinds for file in (ROOT / folder).rglob(f"*.{kind}")]
    seen = set()
    for file in texts:
        for extras in named.findall(file.read_text("utf-8")):
            for extra in "".join(extras).split(","):
                assert extra in EXTRAS, (
                    f"{file.name} names [{extra}]; pyproject.toml has no such extra"
                )
                seen.add(extra)
    assert {"heic", "export", "snapdragon", "students"} <= seen


def test_versions_are_told_of_us_of_python_and_of_what_is_installed() -> None:
    assert tool_versions(["numpy", "no such distribution"]) == {
        "mcad-mobile": PYPROJECT["project"]["version"],
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
    }


def test_the_action_installs_what_every_export_needs() -> None:
    (installed,) = re.findall(r"ACTION_PATH\[(\S+)\]", (ROOT / "action.yml").read_text("utf-8"))
    needed = {
        extra
        for verb, extras in doctor._COMMANDS.items()
        if verb.startswith("export --target")
        for extra in extras
    }
    assert needed | {"students"} <= set(installed.split(","))


def test_make_installs_every_extra_but_that_of_benchmarks() -> None:
    (line,) = re.findall(r"^EVERYTHING := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert set(line.split(",")) == set(EXTRAS) - {"peers"}


@pytest.mark.parametrize(
    ("overflows", "kernels"), [(True, "exact 8-bit kernels, slower"), (False, "fast 8-bit kernels")]
)
def test_doctor_tells_which_kernels_a_processor_gets(overflows, kernels, monkeypatch):
    monkeypatch.setattr("mcad_mobile.engine.towers.onnx.saturates", lambda: overflows)
    files = [
        SimpleNamespace(name=name, present=present, runs_here=runs, needed_for="app", how_to_get="")
        for name, present, runs in (("a", True, True), ("b", False, True), ("c", True, False))
    ]
    monkeypatch.setattr(downloads, "DOWNLOADS", files)
    processor, *_, first, second = doctor.examine(Installation())
    assert processor.version == f"{machine.summary()}; {kernels}"
    assert [(file.tool, file.version) for file in (first, second)] == [("a", "cached"), ("b", None)]
