"""The bill of materials of a built package, as CycloneDX 1.6 (ECMA-424). It needs [android]."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from mcad_mobile.android.downloads import (
    ONNXRUNTIME_AAR,
    ONNXRUNTIME_QNN,
    QUALCOMM_LICENCE,
    Artifact,
)
from mcad_mobile.android.native_libraries import Archive, Libraries
from mcad_mobile.android.parts import Parts
from mcad_mobile.base import VERSION
from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.licences import find_licence
from mcad_mobile.engine.bundle import MANIFEST, READER_SHAPES, Bundle, FileRecord, StudentFacts
from mcad_mobile.engine.native.android import LIBRARY as KERNELS

_ENGINE = "mcad-engine"
_MODEL = ComponentType.MACHINE_LEARNING_MODEL
LIBRARY = ComponentType.LIBRARY


def sbom_path(out: Path) -> Path:
    """Where the bill of materials of the package `out` goes."""
    return out.with_name(f"{out.name}.cdx.json")


def sbom(
    package: Path,
    name: str,
    group: str,
    parts: Parts,
    classes: Mapping[str, bytes],
    tools: Iterable[tuple[str, str, str]] = (),
    *,
    version: str = VERSION,
    kind: ComponentType = ComponentType.APPLICATION,
) -> bytes:
    """Return the document (JSON in UTF-8) of the finished `package`, an app or library by `name`,
    `group` and `version`, made from these `parts` and the Java engine in the files `classes` with
    `tools` (name, version, sha256). It is reproducible: its serial number is a hash of the rest,
    and it has no date."""
    made = Component(
        type=kind,
        bom_ref=name,
        group=group,
        name=name,
        version=version,
        hashes=_hash(sha256_of(package)),
    )
    us = Component(type=ComponentType.APPLICATION, name="mcad-mobile", version=VERSION)
    used = [us, *(_file(tool, sha256, version) for tool, version, sha256 in tools)]
    components = [
        _engine(classes, parts.libraries.native),
        *(_packed(entry.name, entry.data) for entry in parts.notices),
        *(
            _archive(number, archive, parts.libraries, parts.fetched)
            for number, archive in enumerate(parts.libraries.archives)
        ),
    ]
    if parts.bundle is not None:
        bundle = parts.bundle
        components += [*map(_student, bundle.students), *_towers(bundle), *_other_files(bundle)]
    metadata = BomMetaData(component=made, tools=ToolRepository(components=used))
    bom = Bom(components=components, metadata=metadata, serial_number=uuid.UUID(int=0))
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.register_dependency(made, components)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, JsonV1Dot6(bom).output_as_string())
    return (JsonV1Dot6(bom).output_as_string(indent=2) + "\n").encode()


def _engine(classes: Mapping[str, bytes], native: Mapping[str, Mapping[str, bytes]]) -> Component:
    kernels = {f"lib/{abi}/{KERNELS}": files[KERNELS] for abi, files in native.items()}
    files = [_packed(name, data) for name, data in {**classes, **kernels}.items()]
    return Component(
        type=LIBRARY,
        bom_ref=_ENGINE,
        name=_ENGINE,
        version=VERSION,
        description="The Java engine and what is around it; a dex has ONNX Runtime's Java, too",
        licenses=[_licence("Apache-2.0")],
        components=files,
    )


def _archive(
    number: int, archive: Archive, found: Libraries, fetched: Mapping[Path, Artifact]
) -> Component:
    # Known by its checksum, or by where it was fetched from.
    published = {
        sha256: known.source
        for known in (ONNXRUNTIME_QNN, ONNXRUNTIME_AAR)
        for sha256 in known.checksums
    }
    artifact = published.get(archive.sha256) or fetched.get(archive.path)
    assert artifact is None or isinstance(artifact, Artifact)
    taken = (path.partition("/") for path in archive.native)
    files = [_packed(f"lib/{abi}/{name}", found.native[abi][name]) for abi, _, name in taken]
    licence = QUALCOMM_LICENCE if artifact else None
    if archive.onnxruntime is not None:
        licence = "MIT"
    component = Component(
        type=LIBRARY,
        bom_ref=f"archive {number}",
        name=archive.path.stem if artifact is None else artifact.name,
        version=archive.onnxruntime or (artifact.version if artifact else None),
        hashes=_hash(archive.sha256),
        licenses=[] if licence is None else [_licence(licence)],
        components=files,
    )
    if artifact is not None:
        component.group = artifact.group
        kind = {"type": artifact.extension}
        component.purl = PackageURL(
            "maven", artifact.group, artifact.name, artifact.version, qualifiers=kind
        )
    return component


def _student(student: StudentFacts) -> Component:
    description = f"The student that the towers are of; sha256 of its identity {student.sha256}"
    if student.source:
        description += f"; weights: {student.source}"
    return Component(
        type=_MODEL,
        bom_ref=f"student {student.name}",
        name=student.name,
        version=student.sha256[:12],
        description=description,
        licenses=[_licence(student.licence)],
    )


def _towers(bundle: Bundle) -> Iterable[Component]:
    for name in bundle.towers:
        of_reader = name in READER_SHAPES
        student = bundle.students[name == "multilingual"]
        for rung in bundle.tower(name).rungs:
            full_name = f"{name} tower {rung.name}"
            yield Component(
                type=_MODEL,
                bom_ref=full_name,
                name=full_name,
                version=(rung.files[0] if of_reader else student).sha256[:12],
                licenses=[_licence("Apache-2.0" if of_reader else student.licence)],
                components=[_record(file) for file in rung.files],
            )


def _other_files(bundle: Bundle) -> Iterable[Component]:
    rungs = [rung for name in bundle.towers for rung in bundle.tower(name).rungs]
    towers = {file.path for rung in rungs for file in rung.files}
    files = {file.path: _record(file) for file in bundle.files() if file.path not in towers}
    if bundle.reader is not None and bundle.reader.places is not None:
        files[bundle.reader.places.path].licenses = [_licence("CC-BY-4.0")]
    manifest = _file(f"assets/bundle/{MANIFEST}", sha256_of(bundle.directory / MANIFEST))
    return [manifest, *(file for _, file in sorted(files.items()))]


def _packed(name: str, data: bytes) -> Component:
    return _file(name, hashlib.sha256(data).hexdigest())


def _record(file: FileRecord) -> Component:
    return _file(f"assets/bundle/{file.path}", file.sha256)


def _file(name: str, sha256: str, version: str | None = None) -> Component:
    return Component(
        type=ComponentType.FILE, bom_ref=name, name=name, version=version, hashes=_hash(sha256)
    )


def _hash(sha256: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]


def _licence(text: str) -> DisjunctiveLicense:
    known = find_licence(text)
    return DisjunctiveLicense(id=known.name) if known.spdx else DisjunctiveLicense(name=known.name)
