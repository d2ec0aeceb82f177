"""Robolectric: Android's own framework on a JVM. It runs the app, built as users build it, with
JUnit tests in Java (tests/android/robolectric)."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.jvm import ONNXRUNTIME_JVM
from mcad_mobile.android.build_tools import MIN_SDK
from mcad_mobile.android.demo_app import APP_MODULES, PACKAGE, build_app
from mcad_mobile.android.downloads import Artifact, Download, fetch
from mcad_mobile.android.packages import TARGET_SDK, complete_manifest, link
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.android.toolchain import (
    JAVA,
    JAVA_RELEASE,
    JAVAC,
    android_demo,
    executable,
    main_sources,
    run,
)
from mcad_mobile.base.licences import find_licence
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.native import LIBRARY
from tests.support.paths import ROOT

HERE = ROOT / "tests" / "android" / "robolectric"
TESTS = HERE / "java"
_MAIN = "io.github.mcadmobile.robolectric.RunTests"
_OPENED = (
    *("lang", "lang.reflect", "io", "net", "nio", "security", "text", "util"),
    *("util.concurrent", "util.regex"),
)
_OPTIONS = (
    *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED),
    "--add-opens=java.base/jdk.internal.access=ALL-UNNAMED",
    "--add-opens=java.desktop/java.awt.font=ALL-UNNAMED",
    *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1500m", "-ea"),
    # With one compiler a JVM keeps 48 MB of code, which all tests of the app together exceed.
    "-XX:ReservedCodeCacheSize=128m",
)
_TIMEOUT_S = 1200


@cache
def jars() -> list[Path]:
    """Fetch Robolectric, JUnit and what they need. BuildError if Maven Central is out of reach."""
    return [_fetch(*entry) for entry in _pinned()["jars"].items()]


@cache
def android_jar(level: int | None = None) -> Path:
    """Fetch Android's framework of an API level with Robolectric's hooks; without a level, the
    plain one of Android 15, to compile against. BuildError if that fails."""
    return _fetch(*_pinned()["android"]["plain" if level is None else str(level)])


def _pinned() -> dict[str, Any]:
    return tomllib.loads((HERE / "downloads.toml").read_text("utf-8"))


def _fetch(coordinates: str, sha256: str) -> Path:
    source = Artifact(*coordinates.split(":"))
    why = "tests of the app on Android's framework"
    return fetch(Download(source.file_name, source.version, sha256, why, source))


def java_for(level: int) -> str | None:
    """Return a JVM that can run Android of an API level, or None."""
    needed = 21 if level >= 36 else JAVA_RELEASE
    installed = sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")))
    for java in [executable(JAVA), *installed]:
        reported = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        release = re.search(r'version "(\d+)', reported.stderr)
        if release is not None and int(release.group(1)) >= needed:
            return java
    return None


def classes() -> list[str]:
    """Return the full names of the JUnit classes."""
    files = sorted(TESTS.rglob("*Test.java"))
    return [".".join(file.relative_to(TESTS).with_suffix("").parts) for file in files]


@dataclass(frozen=True)
class App:
    """The APK, and the class path of the app and its tests."""

    apk: Path
    classpath: tuple[Path, ...]

    def run(
        self,
        names: list[str],
        level: int,
        java: str,
        folder: Path,
        properties: Mapping[str, object],
    ) -> tuple[int, list[str]]:
        """Run JUnit classes on an API level, in a scratch `folder`, with Java `properties`. Return
        the number of tests run, and a message per failure. BuildError if Android is unavailable."""
        report, log = folder / "report.txt", folder / "log.txt"
        settings: dict[str, object] = {
            "robolectric.dependency.dir": android_jar(level).parent,
            "robolectric.enabledSdks": level,
            "robolectric.installFakeMediaProvider": "false",
            "robolectric.graphicsMode": "NATIVE",
            "mcad.search.library": LIBRARY,
            "java.io.tmpdir": folder,
            "mcad.report": report,
            **properties,
        }
        options = [*_OPTIONS, *(f"-D{key}={value}" for key, value in settings.items())]
        path = ":".join(map(str, self.classpath))
        with log.open("wb") as out:
            done = subprocess.run(
                [java, *options, "-cp", path, _MAIN, *names],
                stdout=out,
                stderr=out,
                check=False,
                timeout=_TIMEOUT_S,
                env={key: text for key, text in os.environ.items() if key != "JDK_JAVA_OPTIONS"},
            )
        if not report.is_file():
            printed = log.read_text("utf-8", "replace")[-4000:]
            return 0, [f"The JVM ended with code {done.returncode}:\n{printed}"]
        ran, *failures = report.read_text("utf-8").split("\f")
        return int(ran), failures


def build(bundle: Bundle, folder: Path) -> App:
    """Build a bundle's APK and compile app and tests in a new `folder`. BuildError if that
    fails."""
    folder.mkdir()
    options = BuildOptions(accept_licence=find_licence(bundle.student.licence).name)
    apk = build_app(bundle, folder / "demo.apk", options).package
    main = android_demo() / "app" / "src" / "main"
    manifest = complete_manifest(
        (main / "AndroidManifest.xml").read_text("utf-8"), PACKAGE, extracted=False
    )
    link(folder, manifest, main / "res")  # writes R.java
    sdk = f'<uses-sdk android:minSdkVersion="{MIN_SDK}" android:targetSdkVersion="{TARGET_SDK}"/>'
    merged = folder / "merged.xml"
    merged.write_text(manifest.replace("<application", f"{sdk}\n<application", 1), "utf-8")
    settings = folder / "settings"
    config = settings / "com" / "android" / "tools" / "test_config.properties"
    config.parent.mkdir(parents=True)
    config.write_text(f"android_resource_apk={apk}\nandroid_merged_manifest={merged}\n", "utf-8")
    # All levels, of which a run enables one; the default is the target's only.
    (settings / "robolectric.properties").write_text(f"minSdk={MIN_SDK}\n", "utf-8")
    # Android comes last: JUnit loads test classes, which refer to Android, before Robolectric does.
    path = [*jars(), fetch(ONNXRUNTIME_JVM), android_jar()]
    sources = [*map(main_sources, (*APP_MODULES, "sample")), folder / "generated", TESTS]
    compiled = compile_for_android(sources, path, folder / "classes")
    return App(apk, (compiled, settings, *path))


def compile_for_android(sources: list[Path], classpath: list[Path], out: Path) -> Path:
    """Compile folders of Java sources as the app's build does, without warnings, and return `out`.
    BuildError on failure."""
    files = sorted(str(file) for folder in sources for file in folder.rglob("*.java"))
    out.mkdir()
    arguments: list[object] = ["--release", JAVA_RELEASE, "-encoding", "UTF-8", "-g", "-proc:none"]
    arguments += ["-nowarn", "-XDstringConcat=inline", "-d", out]
    arguments += ["-sourcepath", android_demo() / "compile_only", "-implicit:none"]
    run(JAVAC, [*arguments, "-classpath", ":".join(map(str, classpath)), *files])
    return out
