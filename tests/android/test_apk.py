"""The app as it is built: what can be proven of it without a phone."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mcad_mobile.android.build_tools import aapt2, apksigner, bundletool, compile_stubs
from mcad_mobile.android.downloads import ONNXRUNTIME_AAR
from mcad_mobile.android.native_libraries import read_elf
from mcad_mobile.android.packages import PAGE, PASSWORD_VARIABLE, own_key, sign_apk
from mcad_mobile.android.toolchain import KEYTOOL, android_demo, run
from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BuildError
from mcad_mobile.students.load import default_directory
from tests.support.archives import data_offset, why_no_onnxruntime
from tests.support.dex_file import Dex, Reference, read_dex
from tests.support.exported import Exported, mcad, mcad_json
from tests.support.framework import STATIC, Framework, Java8, read_class

# As before it became a library; the viewer and five languages take two pages more, the kernels'
# tuning, cells and words sixteen, reading text and showing it two, and the whole index in C three.
MOST_BYTES = 50_183_002 + 25 * PAGE
OURS = "io/github/mcadmobile/"
ACCEPTED = ("--accept-licence", "non-commercial-research")  # of the default student
ANDROID = "{http://schemas.android.com/apk/res/android}"
TOOLS = "{http://schemas.android.com/tools}"
_MADE_BY_JAVAC = ("<clinit>", "serialVersionUID")


@pytest.fixture(scope="session")
def real_onnxruntime() -> None:
    """What these tests prove of an app, they prove of the libraries that it is published with."""
    if reason := why_no_onnxruntime():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def apk(cpu: Exported, real_onnxruntime, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("apk") / "demo.apk"
    document = mcad_json("app", "--bundle", cpu.directory, "--out", out, *ACCEPTED)
    assert document == {
        "package": str(out),
        "bytes": out.stat().st_size,
        "rungs": {"image": ["onnx int8"], "text": ["onnx int8"]},
        "left_out": dict.fromkeys(
            ("image onnx fp32", "text onnx fp32"),
            "not needed beside an 8-bit rung; --keep-float keeps it",
        ),
        "notes": [],
        "sbom": f"{out}.cdx.json",
        "signed_by": "debug key",
    }
    return out


@pytest.fixture(scope="session")
def dex(apk) -> Dex:
    return read_dex(zipfile.ZipFile(apk).read("classes.dex"))


def test_it_is_signed_for_all_phones_from_android_8_on(apk):
    output = apksigner(["verify", "--verbose", "--print-certs", apk])
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in output
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in output
    assert "CN=Android Debug" in output


def test_the_manifest_says_what_a_store_and_a_phone_want_to_know(apk):
    badging = aapt2(["dump", "badging", apk])
    assert "package: name='io.github.mcadmobile.demo'" in badging
    assert re.search(r"^(sdkVersion|minSdkVersion):'26'", badging, re.M)
    target = re.search(r"^targetSdkVersion:'(\d+)'", badging, re.M)
    assert target is not None and int(target.group(1)) >= 35
    assert "launchable-activity: name='io.github.mcadmobile.demo.SearchActivity'" in badging
    assert re.search(r"^native-code: 'arm64-v8a'$", badging, re.M)


def test_photos_cannot_leave_the_phone(apk):
    tree = aapt2(["dump", "xmltree", "--file", "AndroidManifest.xml", apk])
    asked = set(re.findall(r'E: uses-permission.*?name\([^)]*\)="([^"]+)"', tree, re.S))
    assert asked == {
        "android.permission.READ_EXTERNAL_STORAGE",
        "android.permission.READ_MEDIA_IMAGES",
        "android.permission.READ_MEDIA_VIDEO",
        "android.permission.READ_MEDIA_VISUAL_USER_SELECTED",
        "android.permission.ACCESS_MEDIA_LOCATION",
        "android.permission.POST_NOTIFICATIONS",
        "android.permission.RECEIVE_BOOT_COMPLETED",
        "android.permission.FOREGROUND_SERVICE",
        "android.permission.FOREGROUND_SERVICE_DATA_SYNC",
        "android.permission.WAKE_LOCK",
    }
    assert "E: provider" not in tree


def test_neither_a_backup_nor_a_new_phone_gets_anything():
    """Each domain has a folder of its own, and `root` is not all of them."""
    domains = {"root", "file", "database", "sharedpref", "external"}
    domains |= {"device_root", "device_file", "device_database", "device_sharedpref"}
    main = android_demo() / "app" / "src" / "main"
    rules = ElementTree.parse(main / "res" / "xml" / "backup.xml").getroot()
    assert [part.tag for part in rules] == ["cloud-backup", "device-transfer"]
    for part in rules:
        assert {rule.get("domain") for rule in part if rule.get("path") == "."} == domains
    application = ElementTree.parse(main / "AndroidManifest.xml").find("application")
    assert application is not None
    assert application.get(f"{ANDROID}allowBackup") == "false"
    assert application.get(f"{ANDROID}dataExtractionRules") == "@xml/backup"


def test_gradle_builds_what_the_command_builds(apk):
    """It cannot be run here: its numbers are compared, and what it takes out of the manifest that
    ONNX Runtime's archive on Maven brings."""
    folder = android_demo() / "app"
    gradle = (folder / "build.gradle").read_text("utf-8")
    code, name = (
        re.search(rf"version{part}='([^']+)'", aapt2(["dump", "badging", apk]))
        for part in ("Code", "Name")
    )
    assert code is not None and name is not None
    assert f"versionCode = {code.group(1)}\n" in gradle
    assert f"versionName = '{name.group(1)}'\n" in gradle
    release = (android_demo() / "build.gradle").read_text("utf-8")
    assert f"onnxruntime = '{ONNXRUNTIME_AAR.version}'" in release
    overlay = "manifest.srcFile 'src/gradle/AndroidManifest.xml'"
    assert gradle.count(overlay) == len(("debug", "release"))
    removed = {
        element.get(f"{ANDROID}name")
        for element in ElementTree.parse(folder / "src/gradle/AndroidManifest.xml").iter()
        if element.get(f"{TOOLS}node") == "remove"
    }
    assert removed == {
        "android.permission.INTERNET",
        "android.permission.ACCESS_NETWORK_STATE",
        "ai.onnxruntime.TelemetryInitializer",
    }


def test_it_is_small_and_for_arm64_alone(apk):
    package = zipfile.ZipFile(apk)
    names = package.namelist()
    licences = [name for name in names if name.startswith("assets/mcad-licences/")]
    texts = sum(package.getinfo(name).compress_size for name in licences)
    assert apk.stat().st_size - texts <= MOST_BYTES
    assert {name for name in names if name.endswith(".so")} == {
        "lib/arm64-v8a/libmcad_search.so",
        "lib/arm64-v8a/libonnxruntime4j_jni.so",
        "lib/arm64-v8a/libonnxruntime.so",
    }
    entries = zipfile.ZipFile(apk).infolist()
    assert not any(info.extra for info in entries)  # the directory repeats no padding
    assert apk.stat().st_size - sum(info.compress_size for info in entries) < 3 * PAGE + 8192
    assert len(names) == len(set(names))


def test_native_libraries_can_be_mapped_with_pages_of_16_kb(apk):
    raw = apk.read_bytes()
    libraries = [info for info in zipfile.ZipFile(apk).infolist() if info.filename.endswith(".so")]
    for info in libraries:
        assert info.compress_type == zipfile.ZIP_STORED
        assert data_offset(apk, info) % PAGE == 0
        assert raw[data_offset(apk, info) :][:4] == b"\x7fELF"  # it does begin there
        elf = read_elf(zipfile.ZipFile(apk).read(info))
        assert elf is not None and elf.page >= PAGE
    resources = zipfile.ZipFile(apk).getinfo("resources.arsc")
    assert resources.compress_type == zipfile.ZIP_STORED
    assert data_offset(apk, resources) % 4 == 0
    assert raw[data_offset(apk, resources) :][:4] == b"\x02\0\x0c\0"  # RES_TABLE_TYPE, its header


def test_assets_are_the_bundle_and_the_licences(apk, cpu, tmp_path):
    archive = zipfile.ZipFile(apk)
    assets = [name for name in archive.namelist() if name.startswith("assets/")]
    archive.extractall(tmp_path, assets)
    packed = Bundle.load(tmp_path / "assets" / "bundle")
    whole = Bundle.load(cpu.directory)
    assert {record.path for record in packed.files()} | {MANIFEST} == {
        name.removeprefix("assets/bundle/")
        for name in assets
        if not name.startswith("assets/mcad-licences/")
    }
    weights = archive.read("assets/mcad-licences/weights/LICENSE")
    assert weights == (default_directory() / "LICENSE").read_bytes()
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
    assert "io/github/mcadmobile/demo/SearchActivity" in dex.classes
    assert not {name for name in dex.classes if "stubs" in name}


def test_every_framework_call_exists_in_api_36(dex):
    framework = Framework()
    calls = [
        r for r in (*dex.methods, *dex.fields) if r.owner.startswith(("android/", "org/json/"))
    ]
    # A class of ours inherits most of what it calls: of Activity, say.
    assert len(calls) > 100
    assert [str(call) for call in calls if not framework.has(call)] == []


def test_no_call_needs_a_newer_java_than_android_8_has(dex):
    java = Java8()
    calls = [r for r in (*dex.methods, *dex.fields) if r.owner.startswith(("java/", "javax/"))]
    assert len(calls) > 100
    assert [str(call) for call in calls if not java.has(call)] == []


@pytest.mark.slow
def test_every_stub_is_like_the_framework_of_api_36(tmp_path):
    """The members of the compiled stubs, each looked up: its types, and whether it is static."""
    files = [
        path for path in compile_stubs(tmp_path).rglob("*.class") if "mcadmobile" not in path.parts
    ]
    stubs = [read_class(path.read_bytes()) for path in files]
    framework = Framework()
    assert len(stubs) > 60
    for stub in stubs:
        assert framework.find(stub.name) is not None, stub.name
    wrong = [
        f"{stub.name}.{name}{descriptor}"
        for stub in stubs
        for (name, descriptor), flags in stub.members.items()
        if (name, descriptor) != ("<init>", "()V")
        and name not in _MADE_BY_JAVAC
        and not framework.has(Reference(stub.name, name, descriptor), static=bool(flags & STATIC))
    ]
    assert wrong == []


def test_the_check_of_the_framework_can_fail():
    framework, java = Framework(), Java8()

    def has(name: str, descriptor: str, *, static: bool | None = None) -> bool:
        owner, _, member = name.rpartition(".")
        return framework.has(Reference(f"android/{owner}", member, descriptor), static=static)

    assert has("app/Activity.finish", "()V")
    assert not has("app/Activity.finish", "(J)V")
    assert not has("app/Activity.finish", "()Z")
    assert not has("app/Activity.finish", "()V", static=True)
    assert not has("app/Activity.finnish", "()V")
    assert has("widget/Button.setTag", "(Ljava/lang/Object;)V", static=False)
    assert has("net/Uri.parse", "(Ljava/lang/String;)Landroid/net/Uri;", static=True)
    assert not has("net/Uri.parse", "(Ljava/lang/String;)Landroid/net/Uri;", static=False)
    assert has("os/Build.MODEL", "Ljava/lang/String;", static=True)
    assert not has("os/Build.MODEL", "I")
    assert not has("os/Build.MODEL", "Ljava/lang/String;", static=False)
    assert java.has(Reference("java/lang/String", "isEmpty", "()Z"))
    assert not java.has(Reference("java/lang/String", "isBlank", "()Z"))
    assert not java.has(Reference("java/nio/ByteBuffer", "flip", "()Ljava/nio/ByteBuffer;"))


def test_no_letter_s_case_depends_on_the_user_s_language():
    """In Turkish, "HEIC" in lower case is not "heic"."""
    for file in android_demo().rglob("*.java"):
        assert not re.search(r"\.to(Lower|Upper)Case\(\)", file.read_text("utf-8")), file


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
        used |= set(re.findall(r"(?:@string/|(?<!android\.)R\.string\.|R\.plurals\.)(\w+)", text))
    assert used == strings
    screens = "".join(file.read_text("utf-8") for file in main.rglob("*Activity.java"))
    shown_as_is = r"\.getMessage\(|(?<!R\.id)\.(message|hint|detail)\b(?!\()|\.detail\("
    assert not re.search(shown_as_is, screens)
    for layout in (main / "res" / "layout").glob("*.xml"):
        text = layout.read_text("utf-8")
        assert not re.search(r'android:(text|hint|contentDescription)="(?!@string/)', text), layout
        for view in ElementTree.parse(layout).iter():
            silent = view.get(f"{ANDROID}importantForAccessibility") == "no"
            described = silent or f"{ANDROID}contentDescription" in view.attrib
            assert described or view.tag not in ("ImageView", "GridView"), layout
    day, night = (
        re.findall(r'name="(\w+)"', (main / "res" / folder / "colors.xml").read_text())
        for folder in ("values", "values-night")
    )
    assert day == night


def _texts(folder: Path) -> dict[str, dict[str, str]]:
    """What a language says: of each name its texts by quantity, "other" where there is one."""
    root = ElementTree.parse(folder / "strings.xml").getroot()
    return {
        entry.attrib["name"]: {item.attrib["quantity"]: item.text or "" for item in entry}
        or {"other": entry.text or ""}
        for entry in root
    }


@pytest.mark.parametrize("language", ["de", "es", "fr", "zh"])
def test_every_language_says_the_same_with_the_same_values(language):
    resources = android_demo() / "app" / "src" / "main" / "res"
    english, other = _texts(resources / "values"), _texts(resources / f"values-{language}")
    assert list(other) == list(english)
    for name, texts in other.items():
        quantities = {"other"} if language == "zh" else {*english[name]}
        assert texts.keys() == quantities, name
        values = re.findall(r"%\d\$\S*?[sdf]", english[name]["other"])
        assert sorted(re.findall(r"%\d\$\S*?[sdf]", texts["other"])) == sorted(values), name
        assert all({*re.findall(r"%\d\$\S*?[sdf]", text)} <= {*values} for text in texts.values())
    examples = [
        len([*ElementTree.parse(resources / folder / "examples.xml").iter("item")])
        for folder in ("values", f"values-{language}")
    ]
    assert examples[0] == examples[1] > 10
    same = [name for name in english if english[name] == other[name]]
    assert len(same) < len(english) / 10, same  # "Photo" is one word in many languages
    offered = (resources / "xml" / "locales.xml").read_text("utf-8")
    assert f'android:name="{language}"' in offered


@pytest.mark.slow
def test_an_app_bundle_for_google_play(cpu, real_onnxruntime, tmp_path):
    out = tmp_path / "demo.aab"
    mcad("app", "--bundle", cpu.directory, "--out", out, "--aab", *ACCEPTED)
    output = bundletool(["validate", "--bundle", out])
    assert "base/lib/arm64-v8a/libonnxruntime.so" in output or "lib/arm64-v8a" in output
    config = bundletool(["dump", "config", "--bundle", out])
    assert json.loads(config)["optimizations"]["uncompressNativeLibraries"] == {
        "enabled": True,
        "alignment": "PAGE_ALIGNMENT_16K",
    }
    manifest = bundletool(["dump", "manifest", "--bundle", out])
    assert 'package="io.github.mcadmobile.demo"' in manifest


@pytest.mark.slow
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
    with pytest.raises(BuildError, match=r"java failed with code"):
        sign_apk(apk, out, own_key(keystore, "mine"))
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret1")
    sign_apk(apk, out, own_key(keystore, "mine"))
    assert "CN=Own Key" in apksigner(["verify", "--print-certs", out])
