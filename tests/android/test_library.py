"""The library as another app takes it: one file, and ten lines."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dex_file import read_dex
from framework import Framework
from tiny_bundle import make_tiny_bundle

from mcad_mobile.android.dex import MIN_SDK, compile_stubs
from mcad_mobile.android.library import build_library
from mcad_mobile.android.packaged import d8
from mcad_mobile.android.sources import android_demo, main_sources
from mcad_mobile.android.toolchain import compile_java, java_home
from mcad_mobile.bundle import Bundle
from mcad_mobile.errors import BuildError

ANDROID = "{http://schemas.android.com/apk/res/android}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    out = folder / "mcad-search.aar"
    built = build_library(make_tiny_bundle(folder / "tiny"), out)
    assert (built.archive, built.bytes, built.left_out) == (out, out.stat().st_size, {})
    return out


@pytest.fixture(scope="module")
def unpacked(archive) -> Path:
    folder = archive.with_name("unpacked")
    zipfile.ZipFile(archive).extractall(folder)
    return folder


def test_it_holds_what_an_archive_of_android_holds(unpacked):
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.*")}
    assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} <= names
    assert "jni/arm64-v8a/libonnxruntime4j_jni.so" in names
    rules = android_demo() / "platform" / "consumer-rules.pro"
    assert (unpacked / "proguard.txt").read_bytes() == rules.read_bytes()
    Bundle.load(unpacked / "assets" / "bundle").verify()
    classes = zipfile.ZipFile(unpacked / "classes.jar").namelist()
    assert "mcad/platform/MediaSearch.class" in classes
    assert not [
        name for name in classes if name.startswith(("android/", "mcad/demo", "mcad/stubs"))
    ]


def test_its_manifest_brings_permissions_service_and_job(unpacked):
    root = ElementTree.parse(unpacked / "AndroidManifest.xml").getroot()
    assert root.get("package") == "mcad.platform"
    (sdk,) = root.iter("uses-sdk")
    assert sdk.get(f"{ANDROID}minSdkVersion") == str(MIN_SDK)
    services = [service.get(f"{ANDROID}name") for service in root.iter("service")]
    assert services == ["mcad.platform.IndexService", "mcad.platform.IndexJob"]
    assert not [*root.iter("provider")]


def test_the_sample_app_is_made_of_it_and_nothing_else(unpacked, tmp_path):
    jars = [unpacked / "classes.jar", *sorted((unpacked / "libs").glob("*.jar"))]
    stubs = compile_stubs(tmp_path)
    classes = compile_java([main_sources("sample")], [stubs, *jars], tmp_path / "sample")
    out = tmp_path / "dex"
    out.mkdir()
    options = ["--release", "--min-api", MIN_SDK, "--lib", java_home(), "--classpath", stubs]
    d8([*options, "--output", out, *sorted(classes.rglob("*.class")), *jars])
    dex = read_dex((out / "classes.dex").read_bytes())
    assert {"mcad/sample/SampleActivity", "mcad/platform/IndexService"} <= dex.classes
    framework = Framework()
    calls = [r for r in (*dex.methods, *dex.fields) if r.owner.startswith("android/")]
    assert [str(call) for call in calls if not framework.has(call)] == []


def test_the_same_sources_make_the_same_bytes_without_a_bundle_too(archive, tmp_path):
    bare = tmp_path / "bare.aar"
    build_library(None, bare)
    names = zipfile.ZipFile(bare).namelist()
    assert not [name for name in names if name.startswith("assets/")]
    for name in names:
        assert zipfile.ZipFile(bare).read(name) == zipfile.ZipFile(archive).read(name), name
    with pytest.raises(BuildError, match=r"does not end in \.aar"):
        build_library(None, tmp_path / "library.zip")
