"""The library as another app takes it: one file, and ten lines."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mcad_mobile.android.build_tools import MIN_SDK, aapt2, apksigner, compile_stubs
from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.downloads import R8, fetch
from mcad_mobile.android.library_aar import build_library, library_manifest, merge_manifests
from mcad_mobile.android.library_maven import build_maven
from mcad_mobile.android.native_libraries import search_kernels
from mcad_mobile.android.packages import PAGE, link
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.android.toolchain import (
    JAVA,
    android_demo,
    compile_java,
    main_sources,
    run,
)
from mcad_mobile.base.files import sha256_of
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.native.android import LIBRARY as KERNELS
from mcad_mobile.errors import BuildError, DiskError
from tests.support.archives import archive as pack
from tests.support.archives import data_offset, onnxruntime_archive
from tests.support.dex_file import Dex, read_dex
from tests.support.elf_library import elf_library
from tests.support.exported import mcad_json
from tests.support.framework import Framework, Java8
from tests.support.tiny_bundle import make_tiny_bundle

ANDROID = "{http://schemas.android.com/apk/res/android}"
SAMPLE = android_demo() / "sample" / "src" / "main"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """By the command, with the sample app beside."""
    folder = tmp_path_factory.mktemp("library")
    make_tiny_bundle(folder / "tiny")
    out, sample = folder / "mcad-search.aar", folder / "sample.apk"
    made = ["--bundle", folder / "tiny", "--out", out, "--sample", sample]
    assert mcad_json("library", *made) == {
        "archive": str(out),
        "bytes": out.stat().st_size,
        "left_out": {},
        "notes": [],
        "sbom": f"{out}.cdx.json",
        "sample": str(sample),
        "coordinates": None,
    }
    return out


@pytest.fixture(scope="module")
def sample(archive) -> Path:
    return archive.with_name("sample.apk")


@pytest.fixture(scope="module")
def unpacked(archive) -> Path:
    folder = archive.with_name("unpacked")
    zipfile.ZipFile(archive).extractall(folder)
    return folder


@pytest.mark.slow
def test_it_holds_what_an_archive_of_android_holds(unpacked):
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.*")}
    assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} <= names
    assert "jni/arm64-v8a/libonnxruntime4j_jni.so" in names
    rules = android_demo() / "platform" / "consumer-rules.pro"
    assert (unpacked / "proguard.txt").read_bytes() == rules.read_bytes()
    Bundle.load(unpacked / "assets" / "bundle").verify()
    classes = zipfile.ZipFile(unpacked / "classes.jar").namelist()
    assert "io/github/mcadmobile/platform/MediaSearch.class" in classes
    assert not [
        name
        for name in classes
        if name.startswith(("android/", "io/github/mcadmobile/demo", "io/github/mcadmobile/stubs"))
    ]


@pytest.mark.slow
def test_its_manifest_brings_permissions_service_and_job(unpacked):
    root = ElementTree.parse(unpacked / "AndroidManifest.xml").getroot()
    assert root.get("package") == "io.github.mcadmobile.platform"
    (sdk,) = root.iter("uses-sdk")
    assert sdk.get(f"{ANDROID}minSdkVersion") == str(MIN_SDK)
    services = [service.get(f"{ANDROID}name") for service in root.iter("service")]
    assert services == [
        "io.github.mcadmobile.platform.IndexService",
        "io.github.mcadmobile.platform.IndexJob",
    ]
    assert not [*root.iter("provider")]


@pytest.mark.slow
def test_all_that_is_in_it_is_listed(archive, unpacked):
    document = json.loads(Path(f"{archive}.cdx.json").read_text("utf-8"))
    made = document["metadata"]["component"]
    assert (made["type"], made["name"]) == ("library", archive.name)
    assert made["hashes"] == [{"alg": "SHA-256", "content": sha256_of(archive)}]
    listed = {
        part["name"]: part["hashes"][0]["content"]
        for component in document["components"]
        for part in (component, *component.get("components", []))
        if part["type"] == "file"
    }
    assert listed["classes.jar"] == sha256_of(unpacked / "classes.jar")
    bundle = Bundle.load(unpacked / "assets" / "bundle")
    for record in bundle.files():
        assert record.sha256 in listed.values(), record.path


@pytest.mark.slow
def test_the_sample_is_an_app_that_a_phone_installs(sample):
    assert "CN=Android Debug" in apksigner(["verify", "--print-certs", sample])
    badging = aapt2(["dump", "badging", sample])
    assert "package: name='io.github.mcadmobile.sample'" in badging
    assert "launchable-activity: name='io.github.mcadmobile.sample.SampleActivity'" in badging
    assert re.search(r"^native-code: 'arm64-v8a'$", badging, re.M)
    tree = aapt2(["dump", "xmltree", "--file", "AndroidManifest.xml", sample])
    for named in (
        "READ_MEDIA_IMAGES",
        "io.github.mcadmobile.platform.IndexService",
        "io.github.mcadmobile.platform.IndexJob",
    ):
        assert named in tree
    assert "android.permission.INTERNET" not in tree and "E: provider" not in tree
    package = zipfile.ZipFile(sample)
    for info in package.infolist():
        if info.filename.endswith(".so"):
            assert info.compress_type == zipfile.ZIP_STORED
            assert data_offset(sample, info) % PAGE == 0


@pytest.mark.slow
def test_the_sample_is_ten_lines_and_the_library_and_nothing_else(sample, archive):
    package, library = zipfile.ZipFile(sample), zipfile.ZipFile(archive)
    carried = [name for name in package.namelist() if name.startswith(("lib/", "assets/"))]
    assert carried
    for name in carried:
        assert package.read(name) == library.read(re.sub("^lib/", "jni/", name)), name
    dex = read_dex(package.read("classes.dex"))
    assert not {
        name for name in dex.classes if name.startswith(("android/", "io/github/mcadmobile/demo"))
    }
    check(dex)
    (code,) = SAMPLE.rglob("*.java")
    assert len(code.read_text("utf-8").splitlines()) < 50


def check(dex: Dex) -> None:
    assert {
        "io/github/mcadmobile/sample/SampleActivity",
        "io/github/mcadmobile/platform/IndexService",
    } <= dex.classes
    framework, java = Framework(), Java8()
    named = [r for r in (*dex.methods, *dex.fields) if r.name != "<clinit>"]  # nobody calls it
    calls = [r for r in named if r.owner.startswith(("android/", "org/json/"))]
    assert [str(call) for call in calls if not framework.has(call)] == []
    calls = [r for r in named if r.owner.startswith(("java/", "javax/"))]
    assert [str(call) for call in calls if not java.has(call)] == []


@pytest.fixture
def own(tools, tmp_path) -> Path:
    """A small ONNX Runtime; the tools are fake."""
    return onnxruntime_archive(tmp_path / "own.aar")


def test_an_archive_has_its_files_where_gradle_looks_for_them(own, tmp_path):
    small = elf_library(page=4096)
    other = pack(tmp_path / "other.aar", {"jni/arm64-v8a/a.so": small})
    options = BuildOptions(onnxruntime=own, aars=(other,))
    built = build_library(None, tmp_path / "out" / "search.aar", options)
    (note,) = built.notes
    assert note.startswith("other.aar: a.so cannot be loaded")
    assert built.bytes == built.archive.stat().st_size and built.sample is None
    document = json.loads(built.sbom.read_text())
    assert document["metadata"]["component"]["type"] == "library"
    assert document["metadata"]["component"]["hashes"][0]["content"] == sha256_of(built.archive)
    with zipfile.ZipFile(built.archive) as package:
        files = {name: package.read(name) for name in package.namelist()}
    with zipfile.ZipFile(io.BytesIO(files.pop("classes.jar"))) as classes:
        assert classes.read("a/A.class") == b"a class"
    manifest = files.pop("AndroidManifest.xml")
    assert manifest.decode() == library_manifest(own_photos=False)
    metadata = files.pop("META-INF/com/android/build/gradle/aar-metadata.properties").decode()
    assert dict(line.split("=") for line in metadata.splitlines()) == {
        "aarFormatVersion": "1.0",
        "aarMetadataVersion": "1.0",
        "minCompileSdk": "34",
        "minCompileSdkExtension": "0",
        "minAndroidGradlePluginVersion": "8.0.0",
        "coreLibraryDesugaringEnabled": "false",
    }
    assets = [name for name in files if name.startswith("assets/")]
    assert {name.split("/")[1] for name in assets} == {"mcad-licences"}
    with zipfile.ZipFile(own) as archive:
        names = ("jni/arm64-v8a/libonnxruntime.so", "jni/arm64-v8a/libonnxruntime4j_jni.so")
        assert {name: data for name, data in files.items() if name not in assets} == {
            "R.txt": b"",
            "proguard.txt": (android_demo() / "platform" / "consumer-rules.pro").read_bytes(),
            "libs/library-1.jar": archive.read("classes.jar"),
            "jni/arm64-v8a/a.so": small,
            f"jni/arm64-v8a/{KERNELS}": search_kernels("arm64-v8a"),
            **{name: archive.read(name) for name in names},
        }


def test_gradle_s_metadata_says_what_each_file_of_a_maven_library_is(tools, tmp_path):
    built = build_maven(None, tmp_path / "repository")
    assert built.notes == ()
    metadata = json.loads(built.archive.with_suffix(".module").read_text())
    assert metadata["formatVersion"] == "1.1"
    assert metadata["component"]["attributes"] == {"org.gradle.status": "release"}
    external = {"org.gradle.dependency.bundling": "external"}
    code = external | {"org.gradle.category": "library", "org.gradle.libraryelements": "aar"}
    text = external | {"org.gradle.category": "documentation", "org.gradle.usage": "java-runtime"}
    assert {variant["name"]: variant["attributes"] for variant in metadata["variants"]} == {
        "api": code | {"org.gradle.usage": "java-api"},
        "runtime": code | {"org.gradle.usage": "java-runtime"},
        "sources": text | {"org.gradle.docstype": "sources"},
        "javadoc": text | {"org.gradle.docstype": "javadoc"},
    }


@pytest.mark.parametrize("own_photos", [True, False])
def test_a_library_asks_for_no_more_than_its_apps_photos_need(own, tmp_path, own_photos):
    for built in (
        build_library(
            None, tmp_path / "a.aar", BuildOptions(own_photos=own_photos, onnxruntime=own)
        ),
        build_maven(None, tmp_path / "m", options=BuildOptions(own_photos=own_photos)),
    ):
        with zipfile.ZipFile(built.archive) as package:
            asks = b"uses-permission" in package.read("AndroidManifest.xml")
        assert asks is not own_photos


@pytest.mark.parametrize("extracted", [True, False])
def test_the_sample_is_made_of_its_archive(own, tools, tmp_path, extracted):
    archives = (pack(tmp_path / "other.aar", {"assets/a.txt": b""}),) if extracted else ()
    options = BuildOptions(onnxruntime=own, aars=archives)
    bundle, out = make_tiny_bundle(tmp_path / "tiny"), tmp_path / "out"
    built = build_library(bundle, out / "search.aar", options, sample=out / "sample.apk")
    manifest = (tools.folder / "AndroidManifest.xml").read_text()
    assert "io.github.mcadmobile.platform.IndexService" in manifest and "uses-sdk" not in manifest
    assert f'android:extractNativeLibs="{"true" if extracted else "false"}"' in manifest
    (by_d8,) = (call for call in tools.calls() if "com.android.tools.r8.D8" in call)
    compiled = [Path(word).name for word in by_d8 if word.endswith((".class", ".jar"))]
    assert compiled[-3:] == ["A.class", "classes.jar", f"library-{len(archives)}.jar"]
    package, library = (
        zipfile.ZipFile(built.sample),
        zipfile.ZipFile(built.archive),
    )
    assert package.read("classes.dex") == b"dex"
    for start, place, deflated in (("jni/", "lib/", extracted), ("assets/", "assets/", True)):
        names = [name for name in library.namelist() if name.startswith(start)]
        assert names
        for name in names:
            packed = package.getinfo(name.replace(start, place, 1))
            assert package.read(packed) == library.read(name)
            assert (packed.compress_type == zipfile.ZIP_DEFLATED) is deflated
    tools.fail("java")
    with pytest.raises(BuildError, match="java does not work"):
        build_library(bundle, out / "other.aar", options, sample=out / "other.apk")
    files = {"search.aar", "search.aar.cdx.json", "sample.apk"}
    assert {path.name for path in out.iterdir()} == files  # all of a library, or nothing


def test_for_an_app_s_own_photos_the_manifest_asks_for_nothing():
    root = ElementTree.fromstring(library_manifest(own_photos=True))
    (application,) = (element for element in root if element.tag != "uses-sdk")
    assert [element.tag for element in application] == ["uses-native-library"]
    whole = ElementTree.fromstring(library_manifest(own_photos=False))
    assert len([*whole.iter("uses-permission")]) == 8 and len([*whole.iter("receiver")]) == 1
    for manifest in (root, whole):
        (sdk,) = manifest.iter("uses-sdk")
        assert sdk.get(f"{ANDROID}minSdkVersion") == str(MIN_SDK)


def test_a_manifest_gets_what_the_library_asks_for():
    library = (android_demo() / "platform/src/main/AndroidManifest.xml").read_text("utf-8")
    root = ElementTree.fromstring(
        merge_manifests((SAMPLE / "AndroidManifest.xml").read_text(), library)
    )
    other = ElementTree.fromstring(library)
    for tag in ("uses-permission", "service", "uses-native-library"):
        wanted = {tuple(sorted(element.attrib.items())) for element in other.iter(tag)}
        assert {tuple(sorted(element.attrib.items())) for element in root.iter(tag)} == wanted
    assert len([*root.iter("application")]) == len([*root.iter("activity")]) == 1


@pytest.mark.slow
def test_shrunk_by_its_own_keep_rules_the_sample_still_has_what_is_looked_up_by_name(
    unpacked, sample, tmp_path
):
    """R8 as Gradle runs it: the library's rules, and what aapt2 says of the manifest. A shrunk
    engine searches, too: test_engine_shrunk."""
    jars = [unpacked / "classes.jar", *sorted((unpacked / "libs").glob("*.jar"))]
    stubs = compile_stubs(tmp_path)
    classes = compile_java([main_sources("sample")], [stubs, *jars], tmp_path / "sample")
    library = (unpacked / "AndroidManifest.xml").read_text("utf-8")
    manifest = merge_manifests((SAMPLE / "AndroidManifest.xml").read_text("utf-8"), library)
    named = manifest.replace("<manifest ", '<manifest package="io.github.mcadmobile.sample" ', 1)
    link(tmp_path, named, keep_rules=tmp_path / "manifest.pro")
    whole, framework, out = tmp_path / "whole.jar", tmp_path / "stubs.jar", tmp_path / "dex"
    for jar, folder in ((whole, classes), (framework, stubs)):
        with zipfile.ZipFile(jar, "w") as packed:
            for path in sorted(folder.rglob("*.class")):
                packed.write(path, path.relative_to(folder).as_posix())
    out.mkdir()
    Java8().save(tmp_path / "java.jar")
    r8 = ["-Xmx1g", "-cp", fetch(R8), "com.android.tools.r8.R8", "--release"]
    r8 += ["--min-api", MIN_SDK, "--lib", tmp_path / "java.jar", "--lib", framework]
    r8 += ["--pg-conf", unpacked / "proguard.txt", "--pg-conf", tmp_path / "manifest.pro"]
    run(JAVA, [*r8, "--output", out, whole, *jars])
    shrunk = read_dex((out / "classes.dex").read_bytes())
    check(shrunk)  # R8 adds empty classes for those of a newer Android, which a phone has itself
    before = read_dex(zipfile.ZipFile(sample).read("classes.dex"))
    onnxruntime = {name for name in before.classes if name.startswith("ai/onnxruntime/")}
    looked_up = {name for name in onnxruntime if "$$" not in name}  # those are D8's own
    assert looked_up <= shrunk.classes  # by its native half
    assert "io/github/mcadmobile/platform/IndexJob" in shrunk.classes
    ours = [name for name in shrunk.classes if name.startswith("io/github/mcadmobile/")]
    assert len(ours) < len(
        [name for name in before.classes if name.startswith("io/github/mcadmobile/")]
    )


@pytest.mark.slow
def test_the_same_sources_make_the_same_bytes_without_a_bundle_too(archive, tmp_path):
    bare = tmp_path / "bare.aar"
    build_library(None, bare)
    names = zipfile.ZipFile(bare).namelist()
    licences = "assets/mcad-licences/"
    assert not [name for name in names if name.startswith("assets/") and licences not in name]
    for name in names:
        if name != f"{licences}NOTICE.txt":  # which names the weights, too
            assert zipfile.ZipFile(bare).read(name) == zipfile.ZipFile(archive).read(name), name
    listed = json.loads(Path(f"{bare}.cdx.json").read_text("utf-8"))["components"]
    parts = {part["name"] for part in listed if part["type"] != "file"}
    assert parts == {"mcad-engine", "onnxruntime-android"}


def test_a_place_that_cannot_be_written_is_told_before_anything_is_built(tools, tmp_path):
    bundle, folder = make_tiny_bundle(tmp_path / "tiny"), tmp_path / "a folder.aar"
    folder.mkdir()
    (tmp_path / "file").touch()
    packed = tmp_path / "search.aar"
    (tmp_path / "search.aar.cdx.json").mkdir()
    (tmp_path / "a folder.apk").mkdir()
    for build in (
        lambda: build_library(None, folder),
        lambda: build_library(None, packed),
        lambda: build_library(bundle, packed, sample=tmp_path / "a folder.apk"),
        lambda: build_maven(None, tmp_path / "file"),
        lambda: build_app(bundle, tmp_path / "a folder.apk"),
    ):
        with pytest.raises(DiskError):
            build()
    assert tools.calls() == []


@pytest.mark.parametrize(
    ("out", "sample", "complaint"),
    [
        ("library.zip", None, r"does not end in \.aar"),
        ("library.aar", "sample.zip", r"does not end in \.apk"),
        ("library.aar", "sample.apk", "needs a bundle"),
    ],
)
def test_what_cannot_be_made_leaves_nothing_behind(tmp_path, out, sample, complaint):
    with pytest.raises(BuildError, match=complaint):
        build_library(None, tmp_path / out, sample=None if sample is None else tmp_path / sample)
    own = tmp_path / "own.aar"
    own.write_bytes(b"no archive")
    with pytest.raises(BuildError, match="cannot be read"):
        build_library(None, tmp_path / "library.aar", BuildOptions(onnxruntime=own))
    assert [*tmp_path.iterdir()] == [own]
