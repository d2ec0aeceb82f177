"""The list of what is in an app: by CycloneDX's own schema, and true of the app."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from msgspec.structs import replace

from mcad_mobile.android import downloads
from mcad_mobile.android.demo_app import BuiltApp, build_app
from mcad_mobile.android.native_libraries import Archive, Libraries
from mcad_mobile.android.parts import BuildOptions, Parts
from mcad_mobile.android.sbom import LIBRARY, sbom
from mcad_mobile.base.files import sha256_of
from mcad_mobile.engine.bundle import Bundle
from tests.support.archives import ABI, HTP, archive, onnxruntime_archive, qnn_archive
from tests.support.probe import variant
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import with_reader


def read(path: Path) -> dict[str, Any]:
    """A document that CycloneDX's schema and library take."""
    text = path.read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document: dict[str, Any] = json.loads(text)
    assert Bom.from_json(document) is not None  # type: ignore[attr-defined]
    return document


def files(components: list[dict[str, Any]]) -> dict[str, str]:
    """Path in the app -> sha256, of all components and their parts."""
    found = {}
    for component in components:
        if component["type"] == "file":
            found[component["name"]] = component["hashes"][0]["content"]
        found.update(files(component.get("components", [])))
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    tiny = make_tiny_bundle(folder / "tiny")
    student = replace(tiny.student, licence="apache-2.0", source="open_clip:tiny")
    return with_reader(Bundle.load(variant(tiny, folder / "bundle", student=student)))


@pytest.fixture(scope="module")
def built(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> BuiltApp:
    return build_app(bundle, tmp_path_factory.mktemp("app") / "demo.apk")


def test_all_that_is_in_the_app_is_listed_with_its_checksum(built):
    assert built.sbom == built.package.with_name("demo.apk.cdx.json")
    document = read(built.sbom)
    apk = zipfile.ZipFile(built.package)
    listed = files(document["components"])
    carried = {name for name in apk.namelist() if name.startswith(("lib/", "assets/", "classes"))}
    assert carried == listed.keys() and "assets/mcad-licences/NOTICE.txt" in carried
    for name, sha256 in listed.items():
        assert hashlib.sha256(apk.read(name)).hexdigest() == sha256, name
    package = document["metadata"]["component"]
    assert package["hashes"][0]["content"] == hashlib.sha256(built.package.read_bytes()).hexdigest()


def test_parts_are_named_with_versions_licences_and_where_they_were_published(built, bundle):
    document = read(built.sbom)
    parts = {part["name"]: part for part in document["components"] if part["type"] != "file"}
    runtime = parts["onnxruntime-android"]
    assert runtime["version"] == "1.29.0"
    assert runtime["purl"] == (
        "pkg:maven/com.microsoft.onnxruntime/onnxruntime-android@1.29.0?type=aar"
    )
    pinned = sha256_of(downloads.ONNXRUNTIME_AAR.path)
    assert runtime["hashes"] == [{"alg": "SHA-256", "content": pinned}]
    assert runtime["licenses"] == [{"license": {"id": "MIT"}}]
    tower = parts["text tower onnx fp32"]
    assert tower["type"] == "machine-learning-model"
    assert tower["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    detector = parts["detector tower onnx fp32"]
    assert detector["licenses"] == tower["licenses"] and detector["version"] != tower["version"]
    (places,) = (part for part in document["components"] if part["name"].endswith("/places.bin"))
    assert places["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    student = parts[bundle.student.name]
    assert bundle.student.sha256 in student["description"]
    assert "open_clip:tiny" in student["description"]
    tools = {tool["name"] for tool in document["metadata"]["tools"]["components"]}
    assert {"mcad-mobile", "r8-8.5.35.jar", "apksigner-37.jar"} <= tools
    assert "bundletool-all-1.17.2.jar" not in tools  # it makes App Bundles
    named = {part["bom-ref"] for part in document["components"]}
    depends = {entry["ref"]: entry.get("dependsOn") for entry in document["dependencies"]}
    assert set(depends["demo.apk"]) == named


def test_what_the_user_gave_is_listed_as_it_is(bundle, tools, tmp_path):
    own = onnxruntime_archive(tmp_path / "own.aar", b"VERS_1.30.2")
    qnn = qnn_archive(tmp_path / "qnn.aar")
    (tmp_path / "more").mkdir()
    namesake = archive(tmp_path / "more" / "qnn.aar", {f"jni/{ABI}/libMore.so": HTP})
    options = BuildOptions(aars=(qnn, namesake), onnxruntime=own)
    built = build_app(bundle, tmp_path / "demo.apk", options)
    document = read(built.sbom)
    libraries = [part for part in document["components"] if part["type"] == "library"]
    assert sorted(part["name"] for part in libraries) == ["mcad-engine", "own", "qnn", "qnn"]
    found = {part["name"]: part for part in libraries if "libMore" not in str(part)}
    assert found["own"]["version"] == "1.30.2" and "purl" not in found["own"]
    assert "version" not in found["qnn"] and "licenses" not in found["qnn"]
    assert {part["name"] for part in found["qnn"]["components"]} == {
        f"lib/{ABI}/libQnnHtp.so",
        f"lib/{ABI}/libQnnHtpV79Skel.so",
        f"lib/{ABI}/libQnnHtpV79Stub.so",
        f"lib/{ABI}/libQnnSystem.so",
    }


def test_a_runtime_that_was_fetched_is_listed_with_its_maker_s_licence(tmp_path):
    package = tmp_path / "demo.apk"
    package.write_bytes(b"an app")
    runtime = Archive(tmp_path / "cached.aar", "0" * 64, None, ())
    artifact = downloads.Artifact("com.qualcomm.qti", "qnn-runtime", "2.41", "aar")
    parts = Parts(Libraries(archives=[runtime]), {runtime.path: artifact})
    listed = tmp_path / "listed.json"
    made = package, "photos", "com.acme", parts, {}
    listed.write_bytes(sbom(*made, version="2.3", kind=LIBRARY))
    whole = read(listed)["metadata"]["component"]
    assert (whole["group"], whole["name"], whole["version"]) == ("com.acme", "photos", "2.3")
    (found,) = (part for part in read(listed)["components"] if part["name"] == "qnn-runtime")
    assert (found["group"], found["version"]) == ("com.qualcomm.qti", "2.41")
    assert found["purl"] == "pkg:maven/com.qualcomm.qti/qnn-runtime@2.41?type=aar"
    assert found["licenses"] == [{"license": {"name": "Qualcomm AI Hub Model License"}}]


def test_the_licence_of_the_weights_is_listed_also_if_it_is_unknown(tmp_path):
    tiny = make_tiny_bundle(tmp_path / "tiny")
    package = tmp_path / "demo.apk"
    package.write_bytes(b"an app")
    listed = tmp_path / "listed.json"
    serial_numbers = set()
    for licence in ("unknown", "apple-amlr"):
        bundle = replace(tiny, student=replace(tiny.student, licence=licence))
        parts, classes = Parts(Libraries(), bundle=bundle), {"classes.dex": b"dex"}
        made = package, "demo.apk", "io.github.mcadmobile.demo", parts, classes
        listed.write_bytes(sbom(*made))
        assert listed.read_bytes() == sbom(*made)
        document = read(listed)
        serial_numbers.add(document["serialNumber"])
        for model in document["components"]:
            if model["type"] == "machine-learning-model":
                assert model["licenses"] == [{"license": {"name": licence}}]
    assert len(serial_numbers) == 2  # one for each content
