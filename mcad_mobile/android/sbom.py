"""What is in a built app, as a CycloneDX 1.6 document (ECMA-424)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcad_mobile import __version__
from mcad_mobile.android.aar import Archive, Libraries
from mcad_mobile.android.downloads import (
    APKSIGNER_JAR,
    BUNDLETOOL,
    FRAMEWORK,
    ONNXRUNTIME_AAR,
    ONNXRUNTIME_QNN,
    R8,
    Download,
    sha256_of,
)
from mcad_mobile.android.maven import Artifact
from mcad_mobile.android.parts import Gathered
from mcad_mobile.bundle import MANIFEST, TOWERS, Bundle, FileRecord

Component = dict[str, Any]
# SPDX's spelling of licences that model cards name; another text is passed on as it is.
_SPDX = {
    name.lower(): name
    for name in ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0")
}
_ENGINE = "mcad-engine"
MCAD_MOBILE: Component = {"type": "application", "name": "mcad-mobile", "version": __version__}


def sbom(
    made: Component, parts: Gathered, classes: Mapping[str, bytes], tools: Sequence[Component]
) -> bytes:
    """The document, JSON in UTF-8, for an app or a library (`made_component`) of these `parts`, and
    of the Java engine in files of `classes`.

    Components are the Java engine, ONNX Runtime and what else was merged, each with its native
    libraries; the student, its towers rung by rung, and the bundle's other files. The same app
    gives the same document: its serial number is made of the rest.
    """
    found = parts.found
    components = [
        _engine(classes),
        *(
            {"bom-ref": f"archive {number}", **_archive(archive, found, parts.fetched)}
            for number, archive in enumerate(found.archives)
        ),
    ]
    if parts.bundle is not None:
        bundle = parts.bundle
        components += [_student(bundle), *_towers(bundle), *_others(bundle)]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": list(tools)}, "component": made},
        "components": components,
        "dependencies": [
            {"ref": made["bom-ref"], "dependsOn": [part["bom-ref"] for part in components]}
        ],
    }
    unique = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    document["serialNumber"] = f"urn:uuid:{unique}"
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def made_component(
    package: Path, name: str, identifier: str, *, kind: str = "application"
) -> Component:
    """The finished package, an APK, AAB or archive that will be called `name`; `kind` is
    CycloneDX's word for it."""
    return {
        "type": kind,
        "bom-ref": name,
        "group": identifier,
        "name": name,
        "version": __version__,
        "hashes": _hash(sha256_of(package)),
    }


def tool_components(aapt2: Download | None, d8: str, r8: Path | None) -> list[Component]:
    """What the app was built with; D8 of version `d8` out of the user's `r8`, or ours."""
    ours = [BUNDLETOOL, APKSIGNER_JAR, FRAMEWORK, *([] if aapt2 is None else [aapt2])]
    ours += [R8] if r8 is None else []
    made = [_file(tool.name, tool.sha256, version=tool.version) for tool in ours]
    if r8 is not None:
        made.append(_file(r8.name, sha256_of(r8), version=d8))
    return [MCAD_MOBILE, *made]


def _engine(classes: Mapping[str, bytes]) -> Component:
    return {
        "type": "library",
        "bom-ref": _ENGINE,
        "name": _ENGINE,
        "version": __version__,
        "description": "The Java engine and what is around it; a dex has ONNX Runtime's Java, too",
        "licenses": _licence("Apache-2.0"),
        "components": [
            _file(name, hashlib.sha256(data).hexdigest()) for name, data in classes.items()
        ],
    }


def _archive(archive: Archive, found: Libraries, fetched: Mapping[Path, Artifact]) -> Component:
    artifact = _published(archive, fetched)
    files = []
    for called in archive.native:
        abi, _, name = called.partition("/")
        sha256 = hashlib.sha256(found.native[abi][name]).hexdigest()
        files.append(_file(f"lib/{called}", sha256))
    component: Component = {
        "type": "library",
        "name": archive.path.stem if artifact is None else artifact.name,
        "hashes": _hash(archive.sha256),
        "components": files,
    }
    if artifact is not None:
        component["group"] = artifact.group
        component["purl"] = (
            f"pkg:maven/{artifact.group}/{artifact.name}@{artifact.version}"
            f"?type={artifact.extension}"
        )
    version = archive.onnxruntime or (artifact.version if artifact else None)
    if version is not None:
        component["version"] = version
    if archive.onnxruntime is not None:
        component["licenses"] = _licence("MIT")
    elif artifact is not None:
        component["licenses"] = _licence("Qualcomm AI Hub Model License")
    return component


def _published(archive: Archive, fetched: Mapping[Path, Artifact]) -> Artifact | None:
    """What Maven calls it: known by where it was fetched from, or by its checksum."""
    for known in (ONNXRUNTIME_QNN, ONNXRUNTIME_AAR):
        if known.sha256 == archive.sha256 and isinstance(known.source, Artifact):
            return known.source
    return fetched.get(archive.path)


def _student(bundle: Bundle) -> Component:
    facts = bundle.student
    component: Component = {
        "type": "machine-learning-model",
        "bom-ref": f"student {facts.name}",
        "name": facts.name,
        "version": facts.sha256[:12],
        "description": f"The student that the towers are of; sha256 of its identity {facts.sha256}",
    }
    if facts.source:
        component["description"] += f"; weights: {facts.source}"
    return {**component, **_licences(bundle)}


def _towers(bundle: Bundle) -> Iterable[Component]:
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            called = f"{name} tower {rung.runtime} {rung.precision}"
            yield {
                "type": "machine-learning-model",
                "bom-ref": called,
                "name": called,
                "version": bundle.student.sha256[:12],
                "components": [_record(file) for file in rung.files],
                **_licences(bundle),
            }


def _licences(bundle: Bundle) -> Component:
    told = bundle.student.licence
    return {} if told in ("", "not told") else {"licenses": _licence(told)}


def _others(bundle: Bundle) -> Iterable[Component]:
    towers = {
        file.path for name in TOWERS for rung in bundle.tower(name).rungs for file in rung.files
    }
    others = {file.path: file for file in bundle.files() if file.path not in towers}
    manifest = _file(f"assets/bundle/{MANIFEST}", sha256_of(bundle.directory / MANIFEST))
    return [manifest, *(_record(file) for _, file in sorted(others.items()))]


def _record(file: FileRecord) -> Component:
    return _file(f"assets/bundle/{file.path}", file.sha256)


def _file(name: str, sha256: str, version: str | None = None) -> Component:
    component: Component = {"type": "file", "bom-ref": name, "name": name}
    if version is not None:
        component["version"] = version
    return {**component, "hashes": _hash(sha256)}


def _hash(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _licence(text: str) -> list[dict[str, dict[str, str]]]:
    known = _SPDX.get(text.lower())
    return [{"license": {"name": text} if known is None else {"id": known}}]
