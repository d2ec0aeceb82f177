"""The library as a Maven repository: a slim archive whose POM and Gradle metadata name ONNX Runtime
as a dependency, so that an app that already has it gets no duplicate classes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mcad_mobile.android.build_tools import compile_stubs
from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, Artifact
from mcad_mobile.android.library_aar import (
    LIBRARY_MODULES,
    BuiltLibrary,
    library_manifest,
    write_archive,
)
from mcad_mobile.android.native_libraries import Libraries
from mcad_mobile.android.packages import Entry, write_package
from mcad_mobile.android.parts import DEFAULTS, BuildOptions, gather_parts
from mcad_mobile.android.toolchain import JAVADOC, document_java, main_sources
from mcad_mobile.base import VERSION
from mcad_mobile.base.files import check_writable, replace_folder
from mcad_mobile.base.licences import find_licence
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.native.android import LIBRARY as KERNELS
from mcad_mobile.errors import BuildError, require

COORDINATES = f"io.github.mcadmobile:mcad-search:{VERSION}"
_POM = "http://maven.apache.org/POM/4.0.0"
# With this comment in a POM, Gradle reads the metadata beside it.
_HAS_METADATA = "do_not_remove: published-with-gradle-metadata"
_CHECKSUMS = ("md5", "sha1", "sha256", "sha512")
_LIBRARY = {"org.gradle.category": "library", "org.gradle.libraryelements": "aar"}


def build_maven(
    bundle: Bundle | None,
    repository: Path,
    coordinates: str = COORDINATES,
    options: BuildOptions = DEFAULTS,
    *,
    progress: Progress = silent,
) -> BuiltLibrary:
    """Write the library into the Maven repository `repository` as `coordinates`
    (GROUP:NAME:VERSION), replacing an earlier build with the same coordinates.

    The archive is that of `build_library` without ONNX Runtime and Qualcomm's runtime, which become
    dependencies. Beside it are sources, API pages, the bill of materials and checksums.
    BuildError, DiskError; MissingExtra without [android].
    """
    require("cyclonedx", "android")
    from mcad_mobile.android.sbom import LIBRARY, sbom

    artifact = _artifact(coordinates)
    if options.aars or options.onnxruntime is not None:
        raise BuildError(
            "ONNX Runtime is a dependency of a library for Maven, and an archive was given.",
            "Leave out --aar and --onnxruntime-aar: the app that uses the library adds its own.",
        )
    folder = repository.joinpath(*artifact.group.split("."), artifact.name, artifact.version)
    check_writable(folder)
    there = next(parent for parent in folder.absolute().parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=".library-", dir=there) as scratch:
        work, made = Path(scratch), Path(scratch) / "made"
        made.mkdir()
        whole = gather_parts(bundle, options, work, progress, as_dependency=True)
        parts = replace(whole, libraries=_without_dependencies(whole.libraries))
        progress("compiling Java")
        classpath = [compile_stubs(work), compile_stubs(work, "onnxruntime")]
        archive, stem = made / artifact.file_name, made / artifact.file_name.removesuffix(".aar")
        manifest = library_manifest(own_photos=options.own_photos)
        jar = write_archive(parts, manifest, classpath, work, archive, progress)
        listed = Path(f"{stem}-cyclonedx.json")
        named = artifact.name, artifact.group, parts, {"classes.jar": jar}
        listed.write_bytes(sbom(archive, *named, version=artifact.version, kind=LIBRARY))
        _write_jar(Path(f"{stem}-sources.jar"), map(main_sources, LIBRARY_MODULES))
        notes = [*whole.libraries.notes]
        if shutil.which(JAVADOC.name) is None:
            notes.append("The JDK has no javadoc: the library has no API pages.")
        else:
            progress("writing the API pages")
            pages = document_java(map(main_sources, LIBRARY_MODULES), classpath, work / "pages")
            _write_jar(Path(f"{stem}-javadoc.jar"), [pages])
        assert isinstance(ONNXRUNTIME_AAR.source, Artifact)
        needed = [*parts.fetched.values()] or [ONNXRUNTIME_AAR.source]
        Path(f"{stem}.pom").write_bytes(_pom(artifact, needed, bundle))
        metadata = json.dumps(_metadata(artifact, needed, made), indent=2)
        Path(f"{stem}.module").write_text(metadata + "\n", "utf-8")
        for path in sorted(made.iterdir()):
            for name, digest in _checksums(path).items():
                path.with_name(f"{path.name}.{name}").write_text(digest, "ascii")
        size = archive.stat().st_size
        folder.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(folder, made)
    return BuiltLibrary(
        folder / archive.name,
        size,
        parts.left_out,
        tuple(notes),
        folder / listed.name,
        sample=None,
        coordinates=str(artifact),
    )


def _artifact(coordinates: str) -> Artifact:
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*:[\w.-]+:[\w.-]+", coordinates):
        raise BuildError(
            f"{coordinates!r} names no Maven artifact.",
            f"Give GROUP:NAME:VERSION, such as {COORDINATES}.",
        )
    group, name, version = coordinates.split(":")
    return Artifact(group, name, version, "aar")


def _without_dependencies(found: Libraries) -> Libraries:
    """Keep the search kernels alone: the archives stay listed, but contribute no files."""
    return replace(
        found,
        jars=[],
        native={abi: {KERNELS: files[KERNELS]} for abi, files in found.native.items()},
        archives=[replace(archive, native=()) for archive in found.archives],
    )


def _write_jar(out: Path, folders: Iterable[Path]) -> None:
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }
    write_package(out, [Entry(name, files[name].read_bytes()) for name in sorted(files)])


def _pom(artifact: Artifact, needed: Sequence[Artifact], bundle: Bundle | None) -> bytes:
    """Return the POM: the library's name, licences and dependencies."""
    licences = {"the search engine": "Apache-2.0"}
    for student in () if bundle is None else bundle.students:
        licences[f"the weights of {student.name}"] = student.licence
    project = ElementTree.Element("project", xmlns=_POM)
    project.append(ElementTree.Comment(f" {_HAS_METADATA} "))
    _add(project, modelVersion="4.0.0", **_place(artifact), packaging="aar")
    _add(project, name="mcad-search", description="Search in the photos of an Android phone.")
    group = ElementTree.SubElement(project, "licenses")
    for part, name in licences.items():
        licence = find_licence(name)
        facts = {"name": licence.name} | ({"url": licence.page} if licence.page else {})
        _add(ElementTree.SubElement(group, "license"), **facts, comments=f"of {part}")
    group = ElementTree.SubElement(project, "dependencies")
    for other in needed:
        dependency = ElementTree.SubElement(group, "dependency")
        _add(dependency, **_place(other), type=other.extension, scope="compile")
    ElementTree.indent(project)
    made: bytes = ElementTree.tostring(project, "utf-8", xml_declaration=True)
    return made


def _place(artifact: Artifact) -> dict[str, str]:
    return {
        "groupId": artifact.group,
        "artifactId": artifact.name,
        "version": artifact.version,
    }


def _add(parent: ElementTree.Element, **texts: str) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = text


def _metadata(artifact: Artifact, needed: Sequence[Artifact], folder: Path) -> dict[str, Any]:
    """Return Gradle's module metadata 1.1 for the files in `folder`: the archive to compile against
    and to run with, sources and API pages."""
    dependencies = [
        {"group": other.group, "module": other.name, "version": {"requires": other.version}}
        for other in needed
    ]
    archive = folder / artifact.file_name
    variants = [
        _variant(name, archive, f"java-{name}", _LIBRARY) | {"dependencies": dependencies}
        for name in ("api", "runtime")
    ]
    for kind in ("sources", "javadoc"):
        path = archive.with_name(f"{archive.stem}-{kind}.jar")
        if path.is_file():
            about = {"org.gradle.category": "documentation", "org.gradle.docstype": kind}
            variants.append(_variant(kind, path, "java-runtime", about))
    return {
        "formatVersion": "1.1",
        "component": {
            "group": artifact.group,
            "module": artifact.name,
            "version": artifact.version,
            "attributes": {"org.gradle.status": "release"},
        },
        "variants": variants,
    }


def _variant(name: str, path: Path, usage: str, about: dict[str, str]) -> dict[str, Any]:
    bundling = {"org.gradle.dependency.bundling": "external", "org.gradle.usage": usage}
    file = {"name": path.name, "url": path.name, "size": path.stat().st_size} | _checksums(path)
    return {"name": name, "attributes": about | bundling, "files": [file]}


def _checksums(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return {name: hashlib.new(name, data).hexdigest() for name in _CHECKSUMS}
