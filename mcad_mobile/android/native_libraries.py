"""Android archives (.aar): the classes and native libraries that an app takes from them."""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, Artifact, fetch
from mcad_mobile.android.packages import PAGE
from mcad_mobile.base.files import Partial, cache_directory, fingerprint, megabytes, sha256_of
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.native import android
from mcad_mobile.errors import BuildError, install_line, require

ABIS = tuple(android.PROCESSORS)
OLDEST_ONNXRUNTIME = (1, 24)  # the first whose Java API takes providers as plug-ins
_CLASS, _LITERT = "ai/onnxruntime/OrtEnvironment.class", "org/tensorflow/lite/Interpreter.class"
_LIBRARY = "libonnxruntime.so"
# The linker tags every symbol with the library's version.
_VERSION = re.compile(rb"VERS_(\d+)\.(\d+)\.(\d+)")
# ONNX Runtime's QNN provider is either built in and looks up this symbol, or a separate library.
_QNN_BUILT_IN, _QNN_BESIDE = b"QnnInterface_getProviders", "libonnxruntime_providers_qnn.so"
_QNN = ("libQnnHtp.so", "libQnnSystem.so")  # a context binary is read by the second
# QNN's version, and when it was built, in its libraries and in what its compiler made.
_QNN_VERSION = re.compile(rb"v(\d+)\.(\d+)\.(\d+)\.\d{12}")
# The names of Android's processors in ELF headers.
MACHINES = {
    "arm64-v8a": "EM_AARCH64",
    "armeabi-v7a": "EM_ARM",
    "x86_64": "EM_X86_64",
    "x86": "EM_386",
}
HEXAGON = "EM_QDSP6"  # Qualcomm's DSP: its code is among the libraries, but Android never maps it


@dataclass(frozen=True)
class Archive:
    """An Android archive, the version of ONNX Runtime in it, if any, and the libraries taken from
    it (`native`, as ABI/NAME)."""

    path: Path
    sha256: str
    onnxruntime: str | None
    native: tuple[str, ...]


@dataclass
class Libraries:
    """Jars with the archives' classes, native libraries by ABI and name, and warnings for the user
    (`notes`). `extracted`: native libraries must become files on the phone, as an NPU's loader
    needs them. `litert`: an archive contains LiteRT."""

    jars: list[Path] = field(default_factory=list)
    native: dict[str, dict[str, bytes]] = field(default_factory=dict)
    archives: list[Archive] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extracted: bool = False
    litert: bool = False

    def missing_for_npu(self, htp_archs: Iterable[int]) -> str | None:
        """Return a library that is missing to run Snapdragon NPUs of these architectures: ONNX
        Runtime with QNN, or a part of Qualcomm's runtime. None if nothing is missing."""
        for native in self.native.values():
            if _QNN_BESIDE not in native and _QNN_BUILT_IN not in native.get(_LIBRARY, b""):
                return "ONNX Runtime with QNN"
            for name in _of_qualcomm(htp_archs):
                if name not in native:
                    return name
        return None

    @property
    def qnn_version(self) -> tuple[int, ...] | None:
        """The version of Qualcomm's runtime; None if there is none, or it does not say."""
        return qnn_version(native.get(_QNN[0], b"") for native in self.native.values())

    def keep_for_npu(self, htp_archs: Iterable[int]) -> None:
        """Drop what context binaries of these architectures do not need of Qualcomm's runtime: the
        compiler, other processors' backends, other architectures."""
        needed = _of_qualcomm(htp_archs)
        dropped = {
            f"{abi}/{name}": len(native.pop(name))
            for abi, native in self.native.items()
            for name in [*native]
            if name.startswith("libQnn") and name not in needed
        }
        if not dropped:
            return
        self.archives = [
            replace(archive, native=tuple(x for x in archive.native if x not in dropped))
            for archive in self.archives
        ]
        kept = sum(len(native.get(name, b"")) for native in self.native.values() for name in needed)
        self.notes.append(
            f"Of Qualcomm's libraries, the bundle needs {megabytes(kept)} MB; "
            f"{megabytes(sum(dropped.values()))} MB are left out."
        )


def qnn_version(files: Iterable[bytes]) -> tuple[int, ...] | None:
    """Return the newest version of QNN that made one of `files`; None if none says it."""
    found = (match for file in files for match in _QNN_VERSION.findall(file))
    return max((tuple(map(int, version)) for version in found), default=None)


def htp_libraries(htp_arch: int) -> list[str]:
    """Name the libraries that one architecture needs beside those of all."""
    return [f"libQnnHtpV{htp_arch}{half}.so" for half in ("Stub", "Skel")]


def _of_qualcomm(htp_archs: Iterable[int]) -> list[str]:
    return [*_QNN, *(name for arch in htp_archs for name in htp_libraries(arch))]


def libraries(
    folder: Path,
    abis: Sequence[str],
    supplied: Sequence[Path] = (),
    *,
    onnxruntime: Path | None = None,
    as_dependency: bool = False,
    progress: Progress = silent,
) -> Libraries:
    """Unpack ONNX Runtime and the user's archives, and add the search kernels; jars go to `folder`.

    ONNX Runtime comes from `onnxruntime` or a `supplied` archive that contains it, such as
    onnxruntime-android-qnn; otherwise ours is fetched, or only listed if it is a dependency
    (`as_dependency`). The first of two libraries with one name is used. BuildError: a file is no
    Android archive, lacks libraries for one of `abis` or has one that no phone can load, ONNX
    Runtime is incomplete or too old, or the kernels are missing.
    """
    kernels = {abi: {android.LIBRARY: search_kernels(abi, progress)} for abi in abis}
    found = Libraries(native=kernels, extracted=bool(supplied))
    for path in [*supplied, *([] if onnxruntime is None else [onnxruntime])]:
        _add(path, folder, found, checked=True)
    holders = [archive.path for archive in found.archives if archive.onnxruntime]
    if len(holders) > 1:
        raise BuildError(
            f"{holders[0]} and {holders[1]} both contain ONNX Runtime.", "Give one of them."
        )
    if onnxruntime is not None and not holders:
        raise BuildError(
            f"{onnxruntime} contains no ONNX Runtime.",
            "Give com.microsoft.onnxruntime:onnxruntime-android of Maven Central, a .aar.",
        )
    if not holders and as_dependency:
        source = ONNXRUNTIME_AAR.source
        assert isinstance(source, Artifact)
        listed = Path(source.file_name)
        found.archives.append(Archive(listed, ONNXRUNTIME_AAR.sha256, source.version, ()))
    elif not holders:
        _add(fetch(ONNXRUNTIME_AAR, progress), folder, found, checked=False)
    return found


def search_kernels(abi: str, progress: Progress = silent) -> bytes:
    """Return the search kernels for `abi`, from the wheel or compiled here. BuildError."""
    carried = android.CARRIED / abi / android.LIBRARY
    if carried.is_file():
        return carried.read_bytes()
    if not android.has_compiler():
        raise BuildError(
            f"This installation has no search kernels for {abi}, and no compiler for them.",
            "Install Zig, which compiles them: pip install ziglang",
        )
    made_of = fingerprint(path.name.encode() + path.read_bytes() for path in android.sources())
    with Partial(cache_directory() / f"kernels-{abi}-{made_of}.so") as kept:
        if not kept.path.is_file():
            progress(f"compiling the search kernels for {abi}")
            try:
                kept.file.write(android.compile_kernels(abi))
            except subprocess.CalledProcessError as error:
                raise BuildError(
                    f"The search kernels do not compile:\n{error.stderr}",
                    f"Install Zig again: {install_line('android', again=True)}",
                ) from error
            for old in cache_directory().glob(f"kernels-{abi}-*.so"):
                old.unlink(missing_ok=True)
            kept.finish()
    return kept.path.read_bytes()


def _add(path: Path, folder: Path, found: Libraries, *, checked: bool) -> None:
    """Add an archive's classes and libraries to `found`."""
    classes, native = _read(path, list(found.native))
    version = None
    if classes is not None:
        listed = _classes(classes, path)
        if listed:
            found.jars.append(folder / f"library-{len(found.archives)}.jar")
            found.jars[-1].write_bytes(classes)
        version = _onnxruntime(path, native) if _CLASS in listed else None
        found.litert |= _LITERT in listed
    if checked:
        found.notes += _check_native(path, native)
    taken = []
    for abi, files in native.items():
        for name in files.keys() - found.native[abi].keys():
            found.native[abi][name] = files[name]
            taken.append(f"{abi}/{name}")
    found.archives.append(Archive(path, sha256_of(path), version, tuple(sorted(taken))))


def _read(path: Path, abis: Sequence[str]) -> tuple[bytes | None, dict[str, dict[str, bytes]]]:
    """Read classes.jar, if there is one, and the native libraries of `abis`. BuildError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "AndroidManifest.xml" not in names:
                raise BuildError(
                    f"{path} is not an Android archive: it has no AndroidManifest.xml.",
                    "Give the path of a .aar.",
                )
            native: dict[str, dict[str, bytes]] = {abi: {} for abi in abis}
            for name in names:
                folder, _, library = name.removeprefix("jni/").partition("/")
                if name.startswith("jni/") and folder in native and library.endswith(".so"):
                    native[folder][library] = archive.read(name)
            if not any(native.values()) and any(name.startswith("jni/") for name in names):
                raise BuildError(
                    f"{path} has no native library for {', '.join(abis)}.",
                    f"Use an archive with a folder jni/{abis[0]}/.",
                )
            return archive.read("classes.jar") if "classes.jar" in names else None, native
    except (OSError, zipfile.BadZipFile) as error:
        raise BuildError(f"{path} cannot be read: {error}.", "Give the path of a .aar.") from error


def _classes(jar: bytes, path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(jar)) as classes:
            return [name for name in classes.namelist() if name.endswith(".class")]
    except zipfile.BadZipFile as error:
        raise BuildError(
            f"The classes.jar of {path} cannot be read: {error}.", "Download the archive again."
        ) from error


def _onnxruntime(path: Path, native: dict[str, dict[str, bytes]]) -> str:
    """Return the version of ONNX Runtime in an archive. BuildError if one of its libraries is
    missing for an ABI, or the version is too old for the engine."""
    oldest = ".".join(map(str, OLDEST_ONNXRUNTIME))
    for abi, files in native.items():
        for name in (_LIBRARY, "libonnxruntime4j_jni.so"):
            if name not in files:
                raise BuildError(
                    f"{path} holds ONNX Runtime and no jni/{abi}/{name}.",
                    "Give an archive that has it, or build for other processors: --abi.",
                )
    match = _VERSION.search(next(iter(native.values()))[_LIBRARY])
    if match is None:
        raise BuildError(
            f"The {_LIBRARY} of {path} does not say its version.",
            f"Give a release of ONNX Runtime, {oldest} or later.",
        )
    version = tuple(map(int, match.groups()))
    if version[: len(OLDEST_ONNXRUNTIME)] < OLDEST_ONNXRUNTIME:
        raise BuildError(
            f"{path} holds ONNX Runtime {'.'.join(map(str, version))}.",
            f"The engine needs {oldest} or later.",
        )
    return ".".join(map(str, version))


@dataclass(frozen=True)
class Elf:
    """An ELF file's machine, and the smallest alignment, in bytes, of the segments that a loader
    maps (`page`)."""

    machine: str
    page: int


def read_elf(data: bytes) -> Elf | None:
    """Read the headers of a little-endian library; None if `data` is not one. MissingExtra without
    [android]."""
    elffile = require("elftools.elf.elffile", "android")
    try:
        elf = elffile.ELFFile(io.BytesIO(data))
        pages = [segment["p_align"] for segment in elf.iter_segments("PT_LOAD")]
    except (elffile.ELFError, OverflowError):  # an offset beyond what a file can have
        return None
    return Elf(elf["e_machine"], min(pages, default=0)) if elf.little_endian else None


def _check_native(path: Path, native: dict[str, dict[str, bytes]]) -> list[str]:
    """Return a note on libraries that phones with 16 KB pages cannot load. BuildError if a file is
    not a library, or is for a different processor than its folder says."""
    small: set[str] = set()
    for abi, files in native.items():
        for name, data in files.items():
            elf = read_elf(data)
            if elf is None:
                raise BuildError(
                    f"The jni/{abi}/{name} of {path} is not a native library.",
                    "Download the archive again.",
                )
            if elf.machine not in (MACHINES[abi], HEXAGON):
                raise BuildError(
                    f"The jni/{abi}/{name} of {path} is for another processor (ELF machine "
                    f"{elf.machine}).",
                    f"Give an archive whose jni/{abi}/ has libraries for {abi}.",
                )
            if "64" in abi and elf.machine != HEXAGON and elf.page % PAGE:
                small.add(name)
    if not small:
        return []
    return [
        f"{path.name}: {', '.join(sorted(small))} cannot be loaded by phones with pages of "
        "16 KB (some from Android 15 on), and Google Play takes no such app. Ask their maker for "
        "libraries that are linked with -z max-page-size=16384."
    ]
