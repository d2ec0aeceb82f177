"""Files of the cache: taken out of packages, each as it was pinned, or not at all."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.main import get_command

from mcad_mobile.android import downloads
from mcad_mobile.android.downloads import Download
from mcad_mobile.cli import app
from mcad_mobile.errors import BuildError

TOOL, JAR = b"#!/bin/sh\necho tool\n", b"classes of a jar"


@dataclass(frozen=True)
class LocalPackage:
    """A package that is no further away than `written` is."""

    written: Path
    megabytes: int = 1

    def fetch(self, folder: Path) -> Path:
        fetched = folder / self.written.name
        fetched.write_bytes(self.written.read_bytes())
        log = self.written.with_suffix(".log")
        log.write_text(log.read_text() + "fetched\n" if log.exists() else "fetched\n")
        return fetched

    def __str__(self) -> str:
        return f"local:{self.written.name}"


@pytest.fixture(params=["tools.whl", "tools.tar.gz"])
def package(request, tmp_path, monkeypatch):
    """Of a tool in a zip of its own and of a jar, as PyPI has wheels and sdists."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("prebuilt/tool", TOOL)
    members = {"all/tools.jar": inner.getvalue(), "all/plain.jar": JAR}
    path = tmp_path / request.param
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, data in members.items():
                wheel.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as sdist:
            for name, data in members.items():
                facts = tarfile.TarInfo(name)
                facts.size = len(data)
                sdist.addfile(facts, io.BytesIO(data))
    return LocalPackage(path)


@pytest.fixture
def files(package, monkeypatch):
    """The tool, the jar, and the tool for a system that nobody has."""
    tool = Download(
        "tool",
        "1",
        hashlib.sha256(TOOL).hexdigest(),
        "app",
        package,
        "all/tools.jar",
        downloads._file_of_zip("prebuilt/tool"),
        systems=("Linux",),
    )
    jar = Download(
        "plain.jar", "1", hashlib.sha256(JAR).hexdigest(), "app", package, "all/plain.jar"
    )
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(
        downloads, "DOWNLOADS", (tool, jar, replace(tool, name="foreign", systems=("Plan 9",)))
    )
    return tool, jar


def in_cache() -> set[str]:
    return {path.name for path in downloads.cache_directory().iterdir()}


def test_one_package_is_fetched_once_for_all_that_this_system_needs_of_it(files, package):
    tool, jar = files
    told: list[str] = []
    assert downloads.fetch(tool, told.append).read_bytes() == TOOL
    assert told == [f"fetching {package} (1 MB, once)"]
    assert jar.present and jar.path.read_bytes() == JAR
    assert in_cache() == {"tool", "plain.jar"}
    assert tool.path.stat().st_mode & 0o777 == 0o755  # it is run
    assert jar.path.stat().st_mode & 0o777 == 0o644
    for wanted in files:
        assert downloads.fetch(wanted, told.append) == wanted.path
    assert len(told) == 1
    assert package.written.with_suffix(".log").read_text() == "fetched\n"


def test_what_is_damaged_is_fetched_again(files):
    tool, _ = files
    downloads.fetch(tool).write_bytes(b"half")
    assert downloads.fetch(tool).read_bytes() == TOOL


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sha256": "0" * 64}, "the all/tools.jar inside has another sha256 than the pinned one"),
        ({"member": "all/none.jar"}, "KeyError"),
    ],
)
def test_what_is_not_as_pinned_leaves_nothing_behind(files, changed, why):
    tool, _ = files
    with pytest.raises(BuildError, match=why) as raised:
        downloads.fetch(replace(tool, **changed))
    assert "It is needed for app: `mcad-mobile app` fetches it" in raised.value.hint
    assert in_cache() == set()


def test_onnx_runtime_for_linux_is_the_same_bytes_wherever_it_is_taken_from(tmp_path):
    """Its checksum is pinned, so that order, dates and compression of the jar must not matter."""
    made = []
    names = ["ai/onnxruntime/b.so", "ai/onnxruntime/A.class"]
    left_out = ["ai/onnxruntime/native/win-x64/c.dll", "ai/onnxruntime/native/osx-x64/c", "org/a"]
    for order, year in ((names, 2020), (names[::-1], 2024)):
        jar, out = io.BytesIO(), io.BytesIO()
        with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in [*order, *left_out]:
                archive.writestr(zipfile.ZipInfo(name, (year, 2, 3, 4, 5, 6)), name * 9)
        jar.seek(0)
        downloads._onnxruntime_of_jar(jar, out)
        made.append(out.getvalue())
    assert made[0] == made[1]
    with zipfile.ZipFile(out) as kept:
        assert kept.namelist() == sorted(names)
        assert {one.date_time for one in kept.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {one.compress_type for one in kept.infolist()} == {zipfile.ZIP_STORED}


def test_every_file_is_needed_for_a_verb_that_there_is_or_for_tests():
    verbs = set(get_command(app).commands)
    for one in downloads.DOWNLOADS:
        for purpose in one.needed_for.split(", "):
            assert purpose.split()[0] in verbs | {"tests"}


def test_every_file_lies_where_its_kind_of_package_has_files():
    for one in downloads.DOWNLOADS:
        package = one.package
        if package.registry == "npm":
            root = "package"
        else:
            root = package.name + (f"-{package.version}" if package.kind == "sdist" else "")
        assert one.member.startswith(f"{root}/")


def test_every_file_and_package_has_a_checksum_and_a_name_of_its_own():
    every = downloads.DOWNLOADS
    assert len({one.name for one in every}) == len(every)
    for one in every:
        assert re.fullmatch("[a-z0-9][a-z0-9.-]+", one.name)
        for checksum in (one.sha256, one.package.sha256):
            assert re.fullmatch("[0-9a-f]{64}", checksum)
