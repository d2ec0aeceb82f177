"""What is missing is named, with the way to get it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mcad_mobile.android import downloads
from mcad_mobile.android.package import Entry, data_offset, write_package
from mcad_mobile.android.runner import runner_files
from mcad_mobile.android.toolchain import AAPT2, JAVAC, compile_java, executable, run
from mcad_mobile.doctor import examine
from mcad_mobile.errors import BuildError


def test_a_missing_tool_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"aapt2 is not installed.*\n.*apt install aapt"):
        executable(AAPT2)
    found = {finding.tool: finding for finding in examine()}
    assert found["aapt2"].version is None
    assert found["aapt2"].how_to_get == "apt install aapt"


def test_a_failing_tool_shows_what_it_said(tmp_path):
    (tmp_path / "Broken.java").write_text("class Broken {")
    with pytest.raises(BuildError, match=r"(?s)javac failed with code 1:.*Broken\.java:1"):
        compile_java([tmp_path], [], tmp_path / "classes")
    with pytest.raises(BuildError, match="took more than"):
        run(JAVAC, ["-version"], timeout_s=0.001)


def test_a_download_that_fails_names_the_file_and_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    wanted = replace(downloads.BUNDLETOOL, package="mcad-mobile-no-such-package")
    with pytest.raises(BuildError) as caught:
        downloads.fetch(wanted)
    assert caught.value.what.startswith("bundletool-all-1.17.2.jar could not be fetched: ")
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
        "lib/libonnxruntime4j_jni.so",
    }
    assert zipfile.ZipFile(files["runner.jar"]).namelist() == ["classes.dex"]
    written = {name: path.stat().st_mtime_ns for name, path in files.items()}
    again = runner_files("arm64-v8a")
    assert {name: path.stat().st_mtime_ns for name, path in again.items()} == written
    with pytest.raises(BuildError, match="'mips' is not one of"):
        runner_files("mips")


def test_the_runner_has_the_libraries_of_given_archives(tmp_path):
    aar = tmp_path / "qnn.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.writestr("AndroidManifest.xml", "<manifest/>")
        archive.writestr("jni/arm64-v8a/libQnnHtp.so", b"of an NPU")
    plain = runner_files("arm64-v8a")["runner.jar"].read_bytes()
    files = runner_files("arm64-v8a", [aar])
    assert files["lib/libQnnHtp.so"].read_bytes() == b"of an NPU"
    assert files["runner.jar"].read_bytes() == plain
    assert "lib/libQnnHtp.so" not in runner_files("arm64-v8a")


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
    first = out.read_bytes()
    write_package(out, entries)
    assert out.read_bytes() == first


def test_the_cache_lies_where_the_user_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads.cache_directory() == tmp_path / "mcad-mobile"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert downloads.cache_directory() == Path("/home/someone/.cache/mcad-mobile")
