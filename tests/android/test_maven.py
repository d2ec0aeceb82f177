"""Maven repositories: folders in their layout, and a server behind a password."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from archives import ABI, onnxruntime_archive, publish, qnn_archive
from exported import Exported
from msgspec.structs import replace as with_fields
from probe import variant
from tiny_bundle import make_tiny_bundle

from mcad_mobile.android import app as android_app
from mcad_mobile.android import downloads, npu
from mcad_mobile.android.app import build_app
from mcad_mobile.android.downloads import ONNXRUNTIME_AAR, fetch, fetch_maven
from mcad_mobile.android.maven import Artifact, fetch_artifact, mirror
from mcad_mobile.android.parts import Parts
from mcad_mobile.android.registries import sha256_of
from mcad_mobile.bundle import Bundle, FileRecord
from mcad_mobile.errors import BuildError

RUNTIME = Artifact("com.qualcomm.qti", "qnn-runtime", "2.51.0")
# As Qualcomm's compiler writes it into what it makes.
SIGNED = b"\x00\x0ev2.51.0.260929181845\x00"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish(tmp_path / "maven", RUNTIME, qnn_archive(tmp_path / "runtime.aar"))
    return tmp_path / "maven"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mcad-mobile"


def test_a_file_lies_where_maven_lays_it(tmp_path):
    """The place is Maven's own rule: groups are folders."""
    assert RUNTIME.path == "com/qualcomm/qti/qnn-runtime/2.51.0/qnn-runtime-2.51.0.aar"
    assert str(RUNTIME) == "com.qualcomm.qti:qnn-runtime:2.51.0"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_file_is_compared_with_the_checksum_beside_it(tmp_path, algorithm):
    file = qnn_archive(tmp_path / "runtime.aar")
    place = publish(tmp_path / "maven", RUNTIME, file, algorithm)
    out = tmp_path / "out.aar"
    for given in (str(tmp_path / "maven"), (tmp_path / "maven").as_uri() + "/"):
        fetch_artifact(given, RUNTIME, out)
        assert out.read_bytes() == file.read_bytes()
        out.unlink()
    place.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(BuildError, match=rf"is damaged: its {algorithm} is"):
        fetch_artifact(str(tmp_path / "maven"), RUNTIME, out)
    assert not out.exists()


def test_a_file_that_is_not_what_is_pinned_is_refused(repository, tmp_path):
    pinned = replace(RUNTIME, sha256="0" * 64)
    with pytest.raises(BuildError, match=r"is not the .* that was published: its sha256 is"):
        fetch_artifact(str(repository), pinned, tmp_path / "out.aar")
    assert not (tmp_path / "out.aar").exists()
    true = replace(RUNTIME, sha256=sha256_of(tmp_path / "runtime.aar"))
    fetch_artifact(str(repository), true, tmp_path / "out.aar")


def test_what_a_repository_has_not_is_told(repository, tmp_path):
    other = replace(RUNTIME, version="9.9.9")
    with pytest.raises(BuildError, match=r"has no com\.qualcomm\.qti:qnn-runtime:9\.9\.9"):
        fetch_artifact(str(repository), other, tmp_path / "out.aar")
    with pytest.raises(BuildError, match=r"/nothere is neither a folder nor an http\(s\) address"):
        fetch_artifact("/nothere", RUNTIME, tmp_path / "out.aar")


SERVER = """
import http.server, sys
class Guarded(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != "Basic bWU6c2VjcmV0":  # me:secret
            self.send_error(401)
        else:
            super().do_GET()
server = http.server.HTTPServer(("127.0.0.1", 0), Guarded)
print(server.server_port, flush=True)
server.serve_forever()
"""
CLIENT = """
import sys
from pathlib import Path
from mcad_mobile.android.maven import Artifact, fetch_artifact
from mcad_mobile.errors import BuildError
try:
    artifact = Artifact("com.qualcomm.qti", "qnn-runtime", sys.argv[2])
    fetch_artifact(sys.argv[1], artifact, Path("out.aar"))
except BuildError as error:
    sys.exit(str(error))
"""


def test_a_server_asks_for_the_password_of_netrc(repository, tmp_path, monkeypatch):
    """In processes of their own: this one may open no socket."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}"
    monkeypatch.setenv("HOME", str(tmp_path))
    root = str(Path(downloads.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)

    def ask(version: str) -> str:
        command = [sys.executable, "-c", CLIENT, url, version]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stderr

    try:
        assert "401" in ask(RUNTIME.version) and not (tmp_path / "out.aar").exists()
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
        (tmp_path / ".netrc").chmod(0o600)
        assert ask(RUNTIME.version) == ""
        assert sha256_of(tmp_path / "out.aar") == sha256_of(tmp_path / "runtime.aar")
        assert "has no com.qualcomm.qti:qnn-runtime:9.9.9" in ask("9.9.9")
    finally:
        server.kill()
        server.wait(timeout=60)
        server.stdout.close()
    assert "could not be fetched from http://127.0.0.1" in ask(RUNTIME.version)


@pytest.mark.parametrize(
    ("of", "found"),
    [("central", True), ("*", True), ("external:*", True), ("a,*", True), ("*,!central", False)],
)
def test_the_mirror_of_a_developer_s_settings_is_found(tmp_path, of, found):
    assert mirror(tmp_path) is None
    settings = tmp_path / ".m2" / "settings.xml"
    settings.parent.mkdir()
    other = "<mirror><mirrorOf>google</mirrorOf><url>https://other</url></mirror>"
    url = "https://repo.example.org/maven2"
    ours = f"<mirror><id>x</id><mirrorOf>{of}</mirrorOf><url>{url}</url></mirror>"
    settings.write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">'
        f"<mirrors>{other}{ours}</mirrors></settings>"
    )
    assert mirror(tmp_path) == (url if found else None)
    settings.write_text("<settings>")
    with pytest.raises(BuildError, match=r"settings\.xml cannot be read.*\n.*--maven URL"):
        mirror(tmp_path)


def test_onnx_runtime_of_a_repository_is_the_one_that_is_pinned(cache, tmp_path, monkeypatch):
    artifact = ONNXRUNTIME_AAR.artifact
    assert artifact is not None and artifact.sha256 == ONNXRUNTIME_AAR.sha256
    other = qnn_archive(tmp_path / "other.aar")
    place = publish(tmp_path / "maven", artifact, other)
    with pytest.raises(
        BuildError, match=r"is not the com\.microsoft\.onnxruntime:onnxruntime-android"
    ):
        fetch(ONNXRUNTIME_AAR, repository=str(tmp_path / "maven"))
    assert list(cache.iterdir()) == []
    monkeypatch.delenv("XDG_CACHE_HOME")
    real = fetch(ONNXRUNTIME_AAR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place.unlink()
    publish(tmp_path / "maven", artifact, real)
    assert sha256_of(fetch(ONNXRUNTIME_AAR, repository=str(tmp_path / "maven"))) == artifact.sha256


def test_a_fetched_file_is_fetched_once_and_checked_at_every_use(cache, repository):
    path = fetch_maven(RUNTIME, str(repository))
    assert path == cache / "qnn-runtime-2.51.0.aar"
    first = path.read_bytes()
    assert fetch_maven(RUNTIME, "/nothere") == path
    path.write_bytes(b"damaged")
    assert fetch_maven(RUNTIME, str(repository)).read_bytes() == first


def with_npu_rung(tmp_path: Path, compiled: bytes) -> Bundle:
    """A tiny bundle whose text tower has a rung for a Snapdragon's NPU; `compiled` is in it."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    rung = tiny.text.rungs[0]
    (tmp_path / "bundle").mkdir()
    binary = tmp_path / "bundle" / "text_qnn.bin"
    binary.write_bytes(compiled)
    files = (*rung.files, FileRecord.of(tmp_path / "bundle", binary))
    npu_rung = with_fields(rung, runtime="qnn", precision="w8a16", files=files)
    text = with_fields(tiny.text, rungs=(npu_rung, *tiny.text.rungs))
    return Bundle.load(variant(tiny, tmp_path / "bundle", text=text))


def test_what_the_npu_needs_is_fetched_for_the_compiler_that_made_the_rungs(
    repository, tmp_path, monkeypatch
):
    bundle = with_npu_rung(tmp_path, SIGNED)
    own = onnxruntime_archive(tmp_path / "ort.aar", b"VERS_1.29.0 QnnInterface_getProviders")
    pinned = replace(npu.ONNXRUNTIME_QNN, version="0.0.1", sha256=sha256_of(own))
    publish(repository, pinned, own)
    monkeypatch.setattr(npu, "ONNXRUNTIME_QNN", pinned)
    built = build_app(bundle, tmp_path / "a.apk", parts=Parts(repository=str(repository)))
    try:
        assert built.rungs["text"] == ["qnn w8a16", "onnx fp32"]
        assert built.left_out == {}
        (note,) = built.notes
        assert note.startswith(
            "com.qualcomm.qti:qnn-runtime:2.51.0 is under Qualcomm's own licence"
        )
        names = zipfile.ZipFile(built.package).namelist()
        assert f"lib/{ABI}/libQnnHtp.so" in names and "assets/bundle/text_qnn.bin" in names
        emulator = build_app(
            bundle, tmp_path / "b.apk", abis=["x86_64"], parts=Parts(repository=str(repository))
        )
        assert emulator.rungs["text"] == ["onnx fp32"]
        assert "assets/bundle/text_qnn.bin" not in zipfile.ZipFile(emulator.package).namelist()
    finally:
        for artifact in (pinned, RUNTIME):
            for name in (artifact.file_name, f"{artifact.file_name}.sha256"):
                (downloads.cache_directory() / name).unlink(missing_ok=True)


def test_rungs_that_do_not_say_their_compiler_are_no_guess(tmp_path):
    assert npu.qnn_runtime(make_tiny_bundle(tmp_path / "plain")) is None
    with pytest.raises(BuildError, match=r"do not say which compiler made them\.\n.*--aar"):
        npu.qnn_runtime(with_npu_rung(tmp_path, b"unsigned"))
    both = with_npu_rung(tmp_path / "both", SIGNED + b"v2.9.1.240101000000")
    assert npu.qnn_runtime(both) == RUNTIME


def test_a_real_bundle_names_the_compiler_that_is_installed(snapdragon: Exported):
    from onnxruntime_qnn.build_and_package_info import qnn_version

    assert npu.qnn_runtime(Bundle.load(snapdragon.directory)) == replace(
        RUNTIME, version=qnn_version
    )


def test_the_command_takes_a_repository(repository, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from mcad_mobile.cli import app

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    asked: list[Parts] = []

    def build(*arguments: object, parts: Parts, **options: object) -> None:
        asked.append(parts)
        raise BuildError("enough")

    monkeypatch.setattr(android_app, "build_app", build)
    bundle = make_tiny_bundle(tmp_path / "tiny").directory
    base = ["app", "--bundle", str(bundle), "--out", str(tmp_path / "a.apk")]
    CliRunner().invoke(app, [*base, "--maven", str(repository)])
    CliRunner().invoke(app, base)
    settings = tmp_path / "home" / ".m2" / "settings.xml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        "<settings><mirrors><mirror><mirrorOf>*</mirrorOf><url>https://m</url></mirror></mirrors>"
        "</settings>"
    )
    CliRunner().invoke(app, base)
    assert [parts.repository for parts in asked] == [str(repository), None, "https://m"]
