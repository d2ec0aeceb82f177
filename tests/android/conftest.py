"""Built once a session: the Java engine, compiled as the app compiles it, and a JVM that runs
it; a tiny bundle, and an app of it on a phone of files, where a test has no other of these."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.jvm import JSON_JVM, jvm_libraries
from mcad_mobile.android.downloads import Artifact
from mcad_mobile.android.toolchain import compile_java, main_sources
from mcad_mobile.base.locks import open_locked
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError
from tests.support.fake_android_tools import FakeAndroidTools
from tests.support.phone import App, FakePhone
from tests.support.probe import Probe, variant
from tests.support.tiny_bundle import with_two_rungs

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _onnxruntime(onnxruntime_aar: Path) -> None:
    """All tests of this folder may build apps and libraries."""


@pytest.fixture(autouse=True)
def _no_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds are by the pinned tools, whatever this machine has."""
    monkeypatch.delenv("ANDROID_HOME", raising=False)


@pytest.fixture
def tools(
    tmp_path: Path, onnxruntime_aar: Path, _no_sdk: None, monkeypatch: pytest.MonkeyPatch
) -> FakeAndroidTools:
    return FakeAndroidTools(tmp_path / "sdk", onnxruntime_aar, monkeypatch)


@pytest.fixture(scope="session")
def central(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small artifact as the real mvn fetches it; asked for once."""
    try:
        assert isinstance(JSON_JVM.source, Artifact)
        return JSON_JVM.source.fetch(tmp_path_factory.mktemp("central"))
    except BuildError as error:
        pytest.skip(f"Maven Central is out of reach: {error.message}")


@pytest.fixture(scope="session")
def java_classes(bundles) -> Path:
    """Engine, runner, desktop decoder and probe as class files, compiled by the first of the
    processes of a run."""
    folder = bundles.with_name("java")
    classes, done = folder / "classes", folder / "done"
    with open_locked(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            sources = [
                *map(main_sources, ("engine", "gallery", "desktop", "runner")),
                HERE / "java",
            ]
            compile_java(sources, jvm_libraries(), classes)
            done.touch()
    return classes


@pytest.fixture(scope="session")
def probe(java_classes, tmp_path_factory):
    probe = Probe(java_classes, tmp_path_factory.mktemp("probe"))
    yield probe
    probe.close()


@pytest.fixture
def phone(tmp_path) -> FakePhone:
    return FakePhone(tmp_path)


@pytest.fixture
def app(probe, bundle, phone):
    app = App(probe, bundle, phone)
    yield app
    app.close()


@pytest.fixture
def two_rungs(bundle: Bundle, tmp_path: Path) -> Bundle:
    image = with_two_rungs(bundle.image)
    return Bundle.load(variant(bundle, tmp_path / "two", image=image))
