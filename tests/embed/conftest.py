"""Photos, a bundle and their shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.embed import make_shards as embedding
from mcad_mobile.embed.worker import BundleModel, Task, write_shard
from mcad_mobile.engine.bundle import Bundle
from tests.support.embedding_runs import run
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("embed") / "bundle")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos. Shared: tests only read them."""
    folder = tmp_path_factory.mktemp("photos")
    for path in packaged_photos()[:8]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle, photos: Path) -> Path:
    """Those photos, embedded by one process. Shared: tests only read them."""
    out = tmp_path_factory.mktemp("shards") / "shards"
    run("embed", photos, "--bundle", bundle.directory, "--out", out, "--workers", 1, "--shard", 3)
    return out


@pytest.fixture
def tasks(monkeypatch, bundle):
    """The pieces that workers were given, which work in this process."""
    given = []

    class InThisProcess:
        def __init__(self, setup):
            self.setup, self.model = setup, BundleModel(bundle.directory, "onnx", "fp32", 1)

        def __call__(self, piece, photo_done):
            given.append(piece)

            def note(event, number):
                if event == "done":
                    photo_done()

            return write_shard(self.setup, self.model, Task(piece), note)

        def stop(self):
            pass

    monkeypatch.setattr(embedding, "GuardedWorker", InThisProcess)
    return given
