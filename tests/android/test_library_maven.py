"""The library as a Maven repository: mvn itself resolves it, and nothing is in it twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mcad_mobile.android import downloads
from mcad_mobile.android.build_tools import compile_stubs
from mcad_mobile.android.downloads import MVN, Artifact, Download, fetch
from mcad_mobile.android.library_aar import BuiltLibrary
from mcad_mobile.android.library_maven import build_maven
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.android.toolchain import compile_java, main_sources, run
from mcad_mobile.base import VERSION
from mcad_mobile.base.files import cache_directory
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError
from tests.support.archives import why_no_onnxruntime
from tests.support.exported import mcad_json
from tests.support.tiny_bundle import make_tiny_bundle

POM = "{http://maven.apache.org/POM/4.0.0}"
STEM = f"mcad-search-{VERSION}"
KINDS = (".aar", ".pom", ".module", "-sources.jar", "-javadoc.jar", "-cyclonedx.json")
CONSUMER = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>consumer</groupId><artifactId>consumer</artifactId><version>1</version>
  <repositories><repository><id>made</id><url>{repository}</url></repository></repositories>
  <dependencies><dependency>
    <groupId>io.github.mcadmobile</groupId><artifactId>mcad-search</artifactId>
    <version>{version}</version><type>aar</type>
  </dependency></dependencies>
</project>
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command."""
    folder = tmp_path_factory.mktemp("maven")
    make_tiny_bundle(folder / "tiny")
    document = mcad_json("library", "--bundle", folder / "tiny", "--maven", folder / "repository")
    files = folder / "repository" / "io" / "github" / "mcadmobile" / "mcad-search" / VERSION
    assert document == {
        "archive": str(files / f"{STEM}.aar"),
        "bytes": (files / f"{STEM}.aar").stat().st_size,
        "left_out": {},
        "notes": [],
        "sbom": str(files / f"{STEM}-cyclonedx.json"),
        "sample": None,
        "coordinates": f"io.github.mcadmobile:mcad-search:{VERSION}",
    }
    return folder / "repository"


@pytest.fixture(scope="module")
def files(repository: Path) -> Path:
    return repository / "io" / "github" / "mcadmobile" / "mcad-search" / VERSION


def names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as package:
        return package.namelist()


def test_its_archive_holds_our_classes_kernels_bundle_and_licences_alone(files):
    archive = files / f"{STEM}.aar"
    native = [name for name in names(archive) if name.endswith(".so")]
    assert native == ["jni/arm64-v8a/libmcad_search.so"]
    assert not [name for name in names(archive) if name.startswith("libs/")]
    licences = {name for name in names(archive) if name.startswith("assets/mcad-licences/")}
    assert "assets/mcad-licences/NOTICE.txt" in licences
    assert "assets/mcad-licences/mcad-mobile/LICENSE" in licences
    with zipfile.ZipFile(archive) as package:
        package.extractall(files.parents[4] / "unpacked")
        metadata = package.read("META-INF/com/android/build/gradle/aar-metadata.properties")
    facts = dict(line.split("=") for line in metadata.decode().splitlines())
    assert facts["aarFormatVersion"] == facts["aarMetadataVersion"] == "1.0"
    assert facts["minCompileSdk"] == "34"
    Bundle.load(files.parents[4] / "unpacked" / "assets" / "bundle").verify()


def test_every_file_has_its_checksums(files):
    assert {path.name for path in files.iterdir()} == {
        f"{STEM}{kind}{checksum}"
        for kind in KINDS
        for checksum in ("", ".md5", ".sha1", ".sha256", ".sha512")
    }
    for kind in KINDS:
        data = (files / f"{STEM}{kind}").read_bytes()
        for name in ("md5", "sha1", "sha256", "sha512"):
            noted = (files / f"{STEM}{kind}.{name}").read_text()
            assert noted == hashlib.new(name, data).hexdigest()


def test_gradle_s_metadata_and_the_pom_say_the_same_of_the_files_that_are_there(files):
    module = json.loads((files / f"{STEM}.module").read_text())
    project = ElementTree.parse(files / f"{STEM}.pom").getroot()
    text = (files / f"{STEM}.pom").read_text()
    assert "do_not_remove: published-with-gradle-metadata" in text  # or Gradle reads the POM alone
    component = module["component"]
    for name, tag in (("group", "groupId"), ("module", "artifactId"), ("version", "version")):
        assert component[name] == project.findtext(f"{POM}{tag}")
    assert project.findtext(f"{POM}packaging") == "aar"
    runtime = downloads.ONNXRUNTIME_AAR.source
    assert isinstance(runtime, Artifact)
    (dependency,) = project.iter(f"{POM}dependency")
    found = [dependency.findtext(f"{POM}{tag}") for tag in ("groupId", "artifactId", "version")]
    assert found == [runtime.group, runtime.name, runtime.version]
    variants = {variant["name"]: variant for variant in module["variants"]}
    assert {*variants} == {"api", "runtime", "sources", "javadoc"}
    for name in ("api", "runtime"):
        attributes = variants[name]["attributes"]
        assert attributes["org.gradle.usage"] == f"java-{name}"
        assert attributes["org.gradle.libraryelements"] == "aar"
        needed = {"group": runtime.group, "module": runtime.name}
        assert variants[name]["dependencies"] == [
            needed | {"version": {"requires": runtime.version}}
        ]
    for variant in variants.values():
        (file,) = variant["files"]
        data = (files / file["url"]).read_bytes()
        assert file["size"] == len(data)
        assert file["sha512"] == hashlib.sha512(data).hexdigest()
    licences = [licence.findtext(f"{POM}name") for licence in project.iter(f"{POM}license")]
    assert licences == ["Apache-2.0", "MIT"]  # ours, and that of the tiny weights


def test_sources_and_api_pages_are_those_of_the_classes(files):
    sources = names(files / f"{STEM}-sources.jar")
    with zipfile.ZipFile(files / f"{STEM}.aar") as package:
        (files.parents[4] / "classes.jar").write_bytes(package.read("classes.jar"))
    for name in names(files.parents[4] / "classes.jar"):
        assert name.split("$")[0].removesuffix(".class") + ".java" in sources
    pages = names(files / f"{STEM}-javadoc.jar")
    assert {"index.html", "io/github/mcadmobile/gallery/PhotoSearch.html"} <= {*pages}
    assert "io/github/mcadmobile/gallery/Finder.html" not in pages  # not public


def test_its_bill_of_materials_names_onnx_runtime_without_files(files):
    document = json.loads((files / f"{STEM}-cyclonedx.json").read_text())
    parts = {part["name"]: part for part in document["components"]}
    assert parts["onnxruntime-android"]["purl"].startswith("pkg:maven/com.microsoft.onnxruntime/")
    assert "components" not in parts["onnxruntime-android"]


def test_onnx_runtime_s_archive_is_not_fetched(tmp_path, monkeypatch):
    kernels = [*cache_directory().glob("kernels-*.so")]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_directory().mkdir(parents=True)
    for path in kernels:
        shutil.copy(path, cache_directory())
    build_maven(None, tmp_path / "repository")
    assert not [path for path in cache_directory().iterdir() if "onnxruntime" in path.name]


def test_its_classes_are_those_compiled_against_the_real_onnx_runtime(files, tmp_path):
    if reason := why_no_onnxruntime():
        pytest.skip(reason)
    with zipfile.ZipFile(fetch(downloads.ONNXRUNTIME_AAR)) as real:
        (tmp_path / "real.jar").write_bytes(real.read("classes.jar"))
    classpath = [compile_stubs(tmp_path), tmp_path / "real.jar"]
    sources = map(main_sources, ("engine", "gallery", "platform"))
    compiled = compile_java(sources, classpath, tmp_path / "classes")
    with zipfile.ZipFile(files / f"{STEM}.aar") as package:
        (tmp_path / "ours.jar").write_bytes(package.read("classes.jar"))
    with zipfile.ZipFile(tmp_path / "ours.jar") as ours:
        assert {name: ours.read(name) for name in ours.namelist()} == {
            path.relative_to(compiled).as_posix(): path.read_bytes()
            for path in compiled.rglob("*.class")
        }


@pytest.mark.usefixtures("central")
def test_mvn_resolves_it_and_an_app_compiles_against_what_it_gets(repository, tmp_path):
    if reason := why_no_onnxruntime():
        pytest.skip(reason)
    consumer = CONSUMER.format(repository=repository.as_uri(), version=VERSION)
    (tmp_path / "pom.xml").write_text(consumer)
    runtime = publish(downloads.ONNXRUNTIME_AAR, repository)
    arguments = ["--quiet", "--batch-mode", "--strict-checksums"]
    arguments += [f"-Dmaven.repo.local={own_cache(tmp_path)}"]
    arguments += ["org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"]
    run(MVN, [*arguments, f"-DoutputDirectory={tmp_path / 'got'}"], folder=tmp_path)
    got = sorted((tmp_path / "got").iterdir())
    assert [path.name for path in got] == [f"{STEM}.aar", runtime]
    jars = []
    for path in got:
        with zipfile.ZipFile(path) as archive:
            jars.append(tmp_path / f"{path.stem}.jar")
            jars[-1].write_bytes(archive.read("classes.jar"))
    ours, theirs = ({*names(jar)} for jar in jars)
    assert not {name for name in ours & theirs if name.endswith(".class")}
    assert (
        "io/github/mcadmobile/gallery/PhotoSearch.class" in ours
        and "ai/onnxruntime/OrtSession.class" in theirs
    )
    stubs = compile_stubs(tmp_path)
    compile_java([main_sources("sample")], [stubs, *jars], tmp_path / "app")
    assert (
        tmp_path / "app" / "io" / "github" / "mcadmobile" / "sample" / "SampleActivity.class"
    ).is_file()


def publish(known: Download, repository: Path) -> str:
    """Put a file of our cache where mvn finds it, since a mirror may lack it; return its name."""
    artifact = known.source
    assert isinstance(artifact, Artifact)
    place = repository.joinpath(*artifact.group.split("."), artifact.name, artifact.version)
    place.mkdir(parents=True)
    pom = (
        "<project><modelVersion>4.0.0</modelVersion><packaging>aar</packaging>"
        f"<groupId>{artifact.group}</groupId><artifactId>{artifact.name}</artifactId>"
        f"<version>{artifact.version}</version></project>"
    )
    files = {
        artifact.file_name: fetch(known).read_bytes(),
        f"{artifact.name}-{artifact.version}.pom": pom.encode(),
    }
    for name, data in files.items():
        (place / name).write_bytes(data)
        (place / f"{name}.sha1").write_text(hashlib.sha1(data).hexdigest())
    return artifact.file_name


def own_cache(folder: Path) -> Path:
    """mvn's cache with its plugins, and without what is made here: it keeps the first it gets."""
    cache = folder / "m2"
    cache.mkdir()
    for path in (Path.home() / ".m2" / "repository").glob("*"):
        if path.name not in ("io", "com"):
            (cache / path.name).symlink_to(path)
    return cache


def test_a_new_build_takes_the_place_of_the_last_under_one_s_own_name(tools, tmp_path, monkeypatch):
    def build() -> BuiltLibrary:
        return build_maven(None, tmp_path / "repository", "org.example:search:1.2-rc1")

    first = build()
    folder = tmp_path / "repository" / "org" / "example" / "search" / "1.2-rc1"
    assert first.archive == folder / "search-1.2-rc1.aar" and first.notes == ()
    before = first.archive.read_bytes()
    (folder / "stale").write_text("of a build before")
    (tools.bin / "javadoc").unlink()  # a JDK without javadoc
    for program in ("bash", "cp", "mkdir"):
        (tools.bin / program).symlink_to(shutil.which(program))
    monkeypatch.setenv("PATH", str(tools.bin))
    second = build()
    assert second.archive.read_bytes() == before
    assert second.notes == ("The JDK has no javadoc: the library has no API pages.",)
    assert not (folder / "stale").exists()
    assert not (folder / "search-1.2-rc1-javadoc.jar").exists()
    module = json.loads((folder / "search-1.2-rc1.module").read_text())
    assert {variant["name"] for variant in module["variants"]} == {"api", "runtime", "sources"}


def test_what_cannot_be_made_leaves_nothing_behind(tmp_path):
    for coordinates in ("search", "org.example:search", "../up:search:1", "a:b:c:d", "a:b:c/d"):
        with pytest.raises(BuildError, match="names no Maven artifact"):
            build_maven(None, tmp_path / "repository", coordinates)
    for own in (BuildOptions(onnxruntime=tmp_path / "a"), BuildOptions(aars=(tmp_path / "a",))):
        with pytest.raises(BuildError, match="ONNX Runtime is a dependency"):
            build_maven(None, tmp_path / "repository", options=own)
    assert [*tmp_path.iterdir()] == []
