"""The app as it is built: what can be proven of it without a phone."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest
from dex_file import Dex, Reference, read_dex
from exported import Exported, mcad, mcad_json
from framework import Framework, Java8

from mcad_mobile.android.dex import MIN_SDK, compile_stubs
from mcad_mobile.android.downloads import BUNDLETOOL, fetch
from mcad_mobile.android.package import PAGE, data_offset
from mcad_mobile.android.signing import PASSWORD_VARIABLE, own_key, sign_apk
from mcad_mobile.android.sources import android_demo
from mcad_mobile.android.toolchain import AAPT2, APKSIGNER, JAVA, KEYTOOL, java_home, run
from mcad_mobile.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BuildError

MOST_BYTES = 60_000_000
OURS = "mcad/"
_MADE_BY_JAVAC = ("<clinit>", "serialVersionUID")


@pytest.fixture(scope="session")
def apk(cpu: Exported, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("apk") / "demo.apk"
    document = mcad_json("app", "--bundle", cpu.directory, "--out", out)
    assert document == {
        "package": str(out),
        "bytes": out.stat().st_size,
        "rungs": {"image": ["onnx int8"], "text": ["onnx int8"]},
        "left_out": ["image onnx fp32", "text onnx fp32"],
        "signed_by": "debug key",
    }
    return out


@pytest.fixture(scope="session")
def dex(apk) -> Dex:
    return read_dex(zipfile.ZipFile(apk).read("classes.dex"))


def test_it_is_signed_for_all_phones_from_android_8_on(apk):
    said = run(APKSIGNER, ["verify", "--verbose", "--print-certs", apk])
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in said
    assert "CN=Android Debug" in said


def test_the_manifest_says_what_a_store_and_a_phone_want_to_know(apk):
    badging = run(AAPT2, ["dump", "badging", apk])
    assert "package: name='mcad.demo'" in badging
    assert re.search(r"^(sdkVersion|minSdkVersion):'26'", badging, re.M)
    target = re.search(r"^targetSdkVersion:'(\d+)'", badging, re.M)
    assert target is not None and int(target.group(1)) >= 35
    assert "launchable-activity: name='mcad.demo.SearchActivity'" in badging
    assert re.search(r"^native-code: 'arm64-v8a'$", badging, re.M)


def test_photos_cannot_leave_the_phone(apk):
    tree = run(AAPT2, ["dump", "xmltree", "--file", "AndroidManifest.xml", apk])
    asked = set(re.findall(r'E: uses-permission.*?name\([^)]*\)="([^"]+)"', tree, re.S))
    assert asked == {
        "android.permission.READ_EXTERNAL_STORAGE",
        "android.permission.READ_MEDIA_IMAGES",
        "android.permission.READ_MEDIA_VISUAL_USER_SELECTED",
        "android.permission.POST_NOTIFICATIONS",
        "android.permission.RECEIVE_BOOT_COMPLETED",
    }
    assert "E: provider" not in tree


def test_it_is_small_and_for_arm64_alone(apk):
    assert apk.stat().st_size <= MOST_BYTES
    names = zipfile.ZipFile(apk).namelist()
    native = [name for name in names if name.endswith(".so")]
    assert native == [
        "lib/arm64-v8a/libonnxruntime.so",
        "lib/arm64-v8a/libonnxruntime4j_jni.so",
    ]
    assert len(names) == len(set(names))


def test_native_libraries_can_be_mapped_with_pages_of_16_kb(apk):
    libraries = [info for info in zipfile.ZipFile(apk).infolist() if info.filename.endswith(".so")]
    for info in libraries:
        assert info.compress_type == zipfile.ZIP_STORED
        assert data_offset(apk, info) % PAGE == 0
        assert _least_segment_alignment(zipfile.ZipFile(apk).read(info)) >= PAGE
    resources = zipfile.ZipFile(apk).getinfo("resources.arsc")
    assert resources.compress_type == zipfile.ZIP_STORED
    assert data_offset(apk, resources) % 4 == 0


def _least_segment_alignment(elf: bytes) -> int:
    """Of the parts of a 64-bit library that a loader maps (program headers of type 1)."""
    table = int.from_bytes(elf[32:40], "little")
    size, count = (int.from_bytes(elf[at : at + 2], "little") for at in (54, 56))
    headers = [elf[table + size * i : table + size * (i + 1)] for i in range(count)]
    return min(
        int.from_bytes(header[48:56], "little") for header in headers if header[:4] == b"\1\0\0\0"
    )


def test_assets_are_the_bundle(apk, cpu, tmp_path):
    archive = zipfile.ZipFile(apk)
    assets = [name for name in archive.namelist() if name.startswith("assets/")]
    archive.extractall(tmp_path, assets)
    packed = Bundle.load(tmp_path / "assets" / "bundle")
    whole = Bundle.load(cpu.directory)
    assert {record.path for record in packed.files()} | {MANIFEST} == {
        name.removeprefix("assets/bundle/") for name in assets
    }
    known = {record.path: record.sha256 for record in whole.files()}
    for record in packed.files():
        assert (
            hashlib.sha256(archive.read(f"assets/bundle/{record.path}")).hexdigest()
            == known[record.path]
        )
    assert (packed.name, packed.student, packed.text.golden) == (
        whole.name,
        whole.student,
        whole.text.golden,
    )


def test_no_stub_got_into_the_dex(dex):
    foreign = {
        name
        for name in dex.classes
        if not name.startswith((OURS, "ai/onnxruntime/", "com/android"))
    }
    assert not foreign
    assert "mcad/demo/SearchActivity" in dex.classes
    assert not {name for name in dex.classes if "stubs" in name}


def test_every_framework_call_exists_in_api_36(dex):
    framework = Framework()
    calls = [r for r in (*dex.methods, *dex.fields) if r.owner.startswith("android/")]
    # A class of ours inherits most of what it calls: of Activity, say.
    assert len(calls) > 100
    assert [str(call) for call in calls if not framework.has(call)] == []


def test_no_call_needs_a_newer_java_than_android_8_has(dex):
    java = Java8()
    calls = [r for r in (*dex.methods, *dex.fields) if r.owner.startswith(("java/", "javax/"))]
    assert len(calls) > 100
    assert [str(call) for call in calls if not java.has(call)] == []


def test_every_stub_is_like_the_framework_of_api_36(tmp_path):
    """The members of the compiled stubs, read as a dex, each looked up."""
    stubs = compile_stubs(tmp_path)
    framework_classes = [path for path in stubs.rglob("*.class") if "mcad" not in path.parts]
    out = tmp_path / "dex"
    out.mkdir()
    options = ["--min-api", MIN_SDK, "--lib", java_home(), "--output", out]
    bundletool = fetch(BUNDLETOOL)
    d8 = "com.android.tools.r8.D8"
    run(JAVA, ["-cp", bundletool, d8, *options, *sorted(framework_classes)])
    members = read_dex((out / "classes.dex").read_bytes())
    framework = Framework()
    assert len(members.classes) > 60
    for name in members.classes:
        assert framework.find(name) is not None, name
    wrong = [
        str(member)
        for member in (*members.methods, *members.fields)
        if member.owner in members.classes
        and not (member.name == "<init>" and member.descriptor == "()V")
        and member.name not in _MADE_BY_JAVAC
        and not framework.has(member)
    ]
    assert wrong == []


def test_the_check_of_the_framework_can_fail():
    framework, java = Framework(), Java8()
    assert framework.has(Reference("android/app/Activity", "finish", "()V"))
    assert not framework.has(Reference("android/app/Activity", "finish", "(J)V"))
    assert not framework.has(Reference("android/app/Activity", "finnish", "()V"))
    assert framework.has(Reference("android/widget/Button", "setTag", "(Ljava/lang/Object;)V"))
    assert java.has(Reference("java/lang/String", "isEmpty", "()Z"))
    assert not java.has(Reference("java/lang/String", "isBlank", "()Z"))
    assert not java.has(Reference("java/nio/ByteBuffer", "flip", "()Ljava/nio/ByteBuffer;"))


def test_texts_are_resources_and_views_have_descriptions():
    main = android_demo() / "app" / "src" / "main"
    strings = set(
        re.findall(
            r'<(?:string|plurals) name="(\w+)"', (main / "res/values/strings.xml").read_text()
        )
    )
    used = set()
    for file in [*main.rglob("*.java"), *main.rglob("*.xml")]:
        text = file.read_text("utf-8")
        used |= set(re.findall(r"(?:@string/|R\.string\.|R\.plurals\.)(\w+)", text))
    assert used == strings
    for layout in (main / "res" / "layout").glob("*.xml"):
        text = layout.read_text("utf-8")
        assert not re.search(r'android:(text|hint|contentDescription)="(?!@string/)', text), layout
    day, night = (
        re.findall(r'name="(\w+)"', (main / "res" / folder / "colors.xml").read_text())
        for folder in ("values", "values-night")
    )
    assert day == night


def test_an_app_bundle_for_google_play(cpu, tmp_path):
    out = tmp_path / "demo.aab"
    mcad("app", "--bundle", cpu.directory, "--out", out, "--aab")
    bundletool = fetch(BUNDLETOOL)
    said = run(JAVA, ["-jar", bundletool, "validate", "--bundle", out])
    assert "base/lib/arm64-v8a/libonnxruntime.so" in said or "lib/arm64-v8a" in said
    config = run(JAVA, ["-jar", bundletool, "dump", "config", "--bundle", out])
    assert json.loads(config)["optimizations"]["uncompressNativeLibraries"] == {
        "enabled": True,
        "alignment": "PAGE_ALIGNMENT_16K",
    }
    manifest = run(JAVA, ["-jar", bundletool, "dump", "manifest", "--bundle", out])
    assert 'package="mcad.demo"' in manifest


def test_one_s_own_key_signs(apk, tmp_path, monkeypatch):
    keystore, out = tmp_path / "own.keystore", tmp_path / "signed.apk"
    subject = ["-alias", "mine", "-dname", "CN=Own Key", "-storepass", "secret1"]
    run(KEYTOOL, ["-genkeypair", "-keyalg", "RSA", "-keystore", keystore, *subject])
    with pytest.raises(BuildError, match=PASSWORD_VARIABLE):
        own_key(keystore, "mine")
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    with pytest.raises(BuildError, match="--key-alias"):
        own_key(keystore, None)
    with pytest.raises(BuildError, match="No keystore"):
        own_key(tmp_path / "none", "mine")
    with pytest.raises(BuildError, match="apksigner failed"):
        sign_apk(apk, out, own_key(keystore, "mine"))
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret1")
    sign_apk(apk, out, own_key(keystore, "mine"))
    assert "CN=Own Key" in run(APKSIGNER, ["verify", "--print-certs", out])
