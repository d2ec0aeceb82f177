"""The Gradle modules, beside what the commands build of the same sources. Google's Android plugin
cannot be had here: Debian's Gradle evaluates and compiles them with a stand-in of it
(gradle/init.gradle)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.jvm import JSON_JVM
from mcad_mobile.android.build_tools import MIN_SDK, compile_stubs
from mcad_mobile.android.demo_app import APP_MODULES, PACKAGE
from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, fetch
from mcad_mobile.android.library_aar import LIBRARY_MODULES, NAMESPACE, SAMPLE_PACKAGE
from mcad_mobile.android.native_libraries import libraries
from mcad_mobile.android.packages import TARGET_SDK, complete_manifest, link
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources
from mcad_mobile.base.licences import find_licence
from tests.support.tiny_bundle import make_tiny_bundle

MODULES = (*APP_MODULES, "sample")
ONNXRUNTIME = "com/microsoft/onnxruntime"
PLUGINS = ("com.android.application", "com.android.library")


def said_by_hand(name: str) -> str:
    return (android_demo() / name).read_text("utf-8")


def test_each_module_that_a_command_builds_is_one_of_gradle_s():
    (included,) = re.findall(r"^include (.+)$", said_by_hand("settings.gradle"), re.M)
    assert {*re.findall(r"':(\w+)'", included)} == {*MODULES}
    for module in MODULES:  # where Gradle looks when it is told nothing else
        assert main_sources(module) == android_demo() / module / "src" / "main" / "java"
        text = said_by_hand(f"{module}/build.gradle")
        assert "java.srcDir" not in text and "res.srcDir" not in text
    for module in ("platform", "app", "sample"):
        text = said_by_hand(f"{module}/build.gradle")
        assert f"minSdk = {MIN_SDK}\n" in text
        assert f"compileSdk = {TARGET_SDK}\n" in text


def test_no_app_of_these_sends_anything():
    """What ONNX Runtime's archive on Maven adds to a manifest is taken out of both."""
    for module, overlay in (("app", "src/gradle"), ("sample", "../app/src/gradle")):
        text = said_by_hand(f"{module}/build.gradle")
        for build in ("debug", "release"):
            named = f"sourceSets.{build}.manifest.srcFile '{overlay}/AndroidManifest.xml'"
            assert named in text, module
        assert (android_demo() / module / overlay / "AndroidManifest.xml").is_file()


def test_gradle_lets_everyone_ship_the_weights_that_the_commands_let_everyone_ship():
    table = tomllib.loads(resources.files("mcad_mobile.base").joinpath("licences.toml").read_text())
    (names,) = re.findall(r"def shippable = \[(.*?)\]", said_by_hand("bundle.gradle"), re.S)
    shippable = {name for name in table if not find_licence(name).limit}
    assert {*re.findall(r"'(.+?)'", names)} == shippable


def test_gradle_builds_with_the_releases_that_the_commands_fetch():
    text = said_by_hand("build.gradle")
    assert f"ext.onnxruntime = '{ONNXRUNTIME_AAR.version}'\n" in text
    assert f"ext.json = '{JSON_JVM.version}'\n" in text


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A copy of the modules, compiled by Gradle."""
    if shutil.which("gradle") is None:
        pytest.skip("no gradle (Debian: apt install gradle)")
    folder = tmp_path_factory.mktemp("gradle") / "modules"
    for name in ("build.gradle", "bundle.gradle", "settings.gradle", "compile_only", *MODULES):
        source = android_demo() / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, _in(folder, name))
    for name in ("LICENSE", "NOTICE"):
        (folder.parent / name).write_text(f"Our {name}.\n")
    _repository(folder / "maven", folder.parent)
    make_tiny_bundle(folder.parent / "tiny")
    compile_stubs(folder.parent)
    main = android_demo() / "app" / "src" / "main"
    source = main / "AndroidManifest.xml"
    manifest = complete_manifest(source.read_text("utf-8"), PACKAGE, extracted=False)
    link(folder.parent, manifest, main / "res")
    gradle(folder, "compileJava", "said")
    return folder


def _in(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / name


def _repository(maven: Path, work: Path) -> None:
    """ONNX Runtime's classes, and plugins that do nothing by themselves."""
    (jar,) = libraries(work, ["arm64-v8a"]).jars
    for artifact in ("onnxruntime", "onnxruntime-android"):
        _artifact(maven, f"{ONNXRUNTIME}/{artifact}/{ONNXRUNTIME_AAR.version}", jar.read_bytes())
    _artifact(maven, f"org/json/json/{JSON_JVM.version}", fetch(JSON_JVM).read_bytes())
    gradles = sorted(Path("/usr/share/gradle/lib").glob("*.jar"))
    for plugin in PLUGINS:
        name = plugin.rpartition(".")[2].capitalize()
        source = work / name / f"{name}.java"
        source.parent.mkdir()
        source.write_text(
            f"public class {name} implements org.gradle.api.Plugin<org.gradle.api.Project> {{\n"
            "    public void apply(org.gradle.api.Project project) {}\n"
            "}\n"
        )
        classes = compile_java([source.parent], gradles, work / f"{name}-classes")
        plugin_jar = work / f"{plugin}.jar"
        with zipfile.ZipFile(plugin_jar, "w") as packed:
            packed.write(classes / f"{name}.class", f"{name}.class")
            properties = f"META-INF/gradle-plugins/{plugin}.properties"
            packed.writestr(properties, f"implementation-class={name}\n")
        asked = re.search(rf"id '{plugin}' version '(.+?)'", said_by_hand("build.gradle"))
        assert asked is not None
        place = f"{plugin.replace('.', '/')}/{plugin}.gradle.plugin/{asked.group(1)}"
        _artifact(maven, place, plugin_jar.read_bytes())


def _artifact(maven: Path, place: str, jar: bytes) -> None:
    folder = maven / place
    folder.mkdir(parents=True)
    *group, artifact, version = place.split("/")
    (folder / f"{artifact}-{version}.jar").write_bytes(jar)
    (folder / f"{artifact}-{version}.pom").write_text(
        f"<project><modelVersion>4.0.0</modelVersion><groupId>{'.'.join(group)}</groupId>"
        f"<artifactId>{artifact}</artifactId><version>{version}</version></project>"
    )


def gradle(folder: Path, *tasks: str, error: str = "", **properties: object) -> None:
    """Run tasks; with an `error`, they must fail and print it."""
    given = {
        "bundle": folder.parent / "tiny",
        "framework": folder.parent / "stubs",
        "generated": folder.parent / "generated",
        **properties,
    }
    command = ["gradle", "--offline", "--no-daemon", "--gradle-user-home", folder.parent / "home"]
    command += ["--init-script", Path(__file__).parent / "gradle" / "init.gradle"]
    command += [f"-P{name}={value}" for name, value in given.items()]
    done = subprocess.run(
        [*map(str, command), *tasks],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode == 0) == (not error), done.stdout + done.stderr
    assert error in done.stderr


def read_report(folder: Path, module: str) -> Any:
    return json.loads((folder / module / "build" / "said.json").read_text("utf-8"))


@pytest.mark.slow
def test_gradle_compiles_each_module_with_what_it_depends_on(built, tmp_path):
    """By its own dependencies, and to the same classes as the commands do."""
    stubs = built.parent / "stubs"
    jars = libraries(tmp_path, ["arm64-v8a"]).jars
    sources = [*map(main_sources, MODULES), built.parent / "generated"]
    whole = compile_java(sources, [stubs, *jars], tmp_path / "classes")
    found = {
        path.relative_to(classes).as_posix()
        for module in MODULES
        for classes in (built / module / "build" / "classes" / "java" / "main",)
        for path in classes.rglob("*.class")
    }
    assert found == {path.relative_to(whole).as_posix() for path in whole.rglob("*.class")}
    runtime = f"onnxruntime-android-{ONNXRUNTIME_AAR.version}.jar"
    assert read_report(built, "engine")["runs"] == []  # an app chooses the runtime
    assert {*read_report(built, "platform")["runs"]} == {"gallery.jar", "engine.jar", runtime}
    for app in ("app", "sample"):
        assert {*read_report(built, app)["runs"]} == {
            "platform.jar",
            "gallery.jar",
            "engine.jar",
            runtime,
        }
        assets = built / app / "build" / "bundleAssets"
        assert (assets / "bundle" / "bundle.json").read_bytes() == (
            built.parent / "tiny" / "bundle.json"
        ).read_bytes()
        for name in ("LICENSE", "NOTICE"):
            text = assets / "mcad-licences" / "mcad-mobile" / name
            assert text.read_text() == f"Our {name}.\n"


@pytest.mark.slow
def test_gradle_refuses_weights_that_not_everyone_may_ship(built, tmp_path):
    tiny = make_tiny_bundle(tmp_path / "tiny")
    replace(tiny, student=replace(tiny.student, licence="apple-amlr")).save()
    task, bundle = ":app:copyBundle", tiny.directory
    gradle(built, task, bundle=tmp_path / "none", error="none. Make one with mcad-mobile export")
    gradle(built, task, bundle=bundle, error="add -PacceptLicence=apple-amlr")
    gradle(built, task, bundle=bundle, acceptLicence="Apple-AMLR")
    gradle(built, task, bundle=bundle, acceptLicence="MIT", error="weights of tiny is apple-amlr")


@pytest.mark.slow
def test_gradle_s_android_modules_say_what_the_commands_say(built):
    names = {"app": PACKAGE, "platform": NAMESPACE, "sample": SAMPLE_PACKAGE}
    for module, name in names.items():
        android = read_report(built, module)["android"]
        usual = android["defaultConfig"]
        assert (android["namespace"], android["compileSdk"]) == (name, str(TARGET_SDK))
        assert usual["minSdk"] == str(MIN_SDK)
        if module == "platform":
            assert {*LIBRARY_MODULES} == {"engine", "gallery", module}
            assert (built / module / usual["consumerProguardFiles"]).is_file()
            continue
        assert (usual["applicationId"], usual["targetSdk"]) == (name, str(TARGET_SDK))
        assert usual["ndk"] == {"abiFilters": "arm64-v8a"}
        assert android["sourceSets"]["main"]["assets"]["srcDirs"].endswith("bundleAssets]")
        for build in ("debug", "release"):
            overlay = android["sourceSets"][build]["manifest"]["srcFile"]
            assert (built / module / overlay).is_file()
    assert read_report(built, "app")["android"]["packaging"]["jniLibs"] == {
        "useLegacyPackaging": "false"
    }


@pytest.mark.slow
def test_gradle_takes_an_npu_s_archives_in_the_place_of_onnx_runtime_s(built, tmp_path):
    for name in ("onnxruntime-android-qnn-1.aar", "qnn-runtime-2.aar"):
        (tmp_path / name).write_bytes(b"")
    gradle(built, "said", qnn=tmp_path, abi="arm64-v8a,x86_64")
    app = read_report(built, "app")
    assert {*app["runs"]} == {
        "platform.jar",
        "gallery.jar",
        "engine.jar",
        "onnxruntime-android-qnn-1.aar",
        "qnn-runtime-2.aar",
    }
    assert app["android"]["packaging"]["jniLibs"] == {"useLegacyPackaging": "true"}
    assert app["android"]["defaultConfig"]["ndk"]["abiFilters"] == "[arm64-v8a, x86_64]"
