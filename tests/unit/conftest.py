"""Tiny towers, traced once; a folder of photos, an engine and an index for them; pairs to train on,
and a cache of what was computed of them."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_bundle import make_tiny_bundle
from torch import nn

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.dataset import load_pairs
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.train import Material
from mcad_mobile.engine import SearchEngine, create_index
from mcad_mobile.locks import alone
from mcad_mobile.reading import PhotoFile


@pytest.fixture(scope="session")
def traced(bundles: Path) -> Path:
    """A folder that all processes of a run share."""
    folder = bundles.with_name("traced")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def traced_once(traced: Path) -> Iterator[None]:
    """The same tower is the same float ONNX and the same float .tflite in all tests: to trace a
    tiny one takes longer than all that is done to it afterwards."""
    from mcad_mobile.export import litert, onnx, tower_job

    def once(write):
        def written(tower, out, *given, **named):
            kept = traced / digest(write, tower, given, named)
            with alone(kept.with_suffix(".lock")):
                if not kept.exists():
                    write(tower, out, *given, **named)
                    shutil.copy(out, kept)
            shutil.copy(kept, out)

        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower_job, "export_onnx", once(onnx.export_onnx))
        patch.setattr(litert, "convert_litert", once(litert.convert_litert))
        yield


def digest(write: Callable[..., None], tower: nn.Module, given: object, named: object) -> str:
    """Of a tower's layers and weights, and of what it is traced by."""
    found = hashlib.sha256(repr((write.__name__, tower)).encode() + pickle.dumps((given, named)))
    for name, value in sorted(tower.state_dict().items()):
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", lambda *step: None)


@pytest.fixture(scope="module")
def material(packaged_pairs) -> Material:
    return Material(load_pairs([packaged_pairs], "train"), load_pairs([packaged_pairs], "val"))


@pytest.fixture(scope="module")
def text_tower(tmp_path_factory) -> Path:
    from tiny_students import write_text_tower  # seconds, which most tests do without

    return write_text_tower(tmp_path_factory.mktemp("text") / "bert")


@pytest.fixture
def engine(tmp_path):
    return SearchEngine(make_tiny_bundle(tmp_path / "bundle"), threads=2)


@pytest.fixture
def index(tmp_path, engine):
    return create_index(engine.bundle, tmp_path / "index")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "beach").mkdir(parents=True)
    for number, path in enumerate(packaged_photos()[:6]):
        shutil.copy(path, folder / ("beach" if number % 2 else "") / path.name)
    return folder


@pytest.fixture
def embedded(engine, monkeypatch):
    """The photos that were decoded, in order: what a run really did."""
    seen = []
    decode = PhotoFile.pixels

    def note(file, preprocess):
        pixels = decode(file, preprocess)
        seen.append(file.path)
        return pixels

    monkeypatch.setattr(PhotoFile, "pixels", note)
    return seen
