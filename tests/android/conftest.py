"""Built once a session: the Java engine, compiled as the app compiles it, and a JVM that runs
it; a tiny bundle, and an app of it on a phone of files, where a test has no other of these."""

from __future__ import annotations

from pathlib import Path

import pytest
from phone import App, FakePhone
from probe import Probe
from tiny_bundle import make_tiny_bundle

from mcad_mobile.android.aar import libraries
from mcad_mobile.android.sources import main_sources
from mcad_mobile.android.toolchain import compile_java
from mcad_mobile.bundle import Bundle
from mcad_mobile.locks import alone

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def java_classes(bundles) -> Path:
    """Engine, runner, desktop decoder and probe as class files, compiled by the first of the
    processes of a run. They are compiled against the Android release of ONNX Runtime's Java API,
    and run with the older one for Linux."""
    folder = bundles.with_name("java")
    classes, done = folder / "classes", folder / "done"
    with alone(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            sources = [*map(main_sources, ("engine", "desktop", "runner")), HERE / "java"]
            compile_java(sources, libraries(folder, ["arm64-v8a"]).jars, classes)
            done.touch()
    return classes


@pytest.fixture(scope="session")
def probe(java_classes, tmp_path_factory):
    probe = Probe(java_classes, tmp_path_factory.mktemp("probe"))
    yield probe
    probe.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def phone(tmp_path) -> FakePhone:
    return FakePhone(tmp_path)


@pytest.fixture
def app(probe, bundle, phone):
    app = App(probe, bundle, phone)
    yield app
    app.close()
