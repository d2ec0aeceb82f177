"""Bundle: what is written is read back, and what is damaged is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from msgspec.structs import replace
from tiny_bundle import make_tiny_bundle

from mcad_mobile.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BundleError
from mcad_mobile.runtimes import climb, normalize


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return make_tiny_bundle(tmp_path / "bundle")


def edit(bundle: Bundle, change) -> None:
    path = bundle.directory / MANIFEST
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_bundle_is_read_back_as_it_was_written(bundle):
    assert Bundle.load(bundle.directory) == bundle


def test_bundle_json_has_the_fields_of_the_contract(bundle):
    data = json.loads((bundle.directory / MANIFEST).read_text())
    assert data["schema"] == "mcad-bundle/2"
    assert data["embedding"] == {"dim": 64, "normalized": False}
    for tower in ("image", "text"):
        assert {"runtime", "precision", "files", "inputs", "outputs", "fallback", "golden"} <= set(
            data[tower]
        )
        assert set(data["parity"][tower]) == {"inputs", "cosine_mean", "cosine_min"}


@pytest.mark.parametrize("tower", ["image", "text"])
def test_golden_inputs_give_the_golden_embeddings(bundle, tower):
    golden = bundle.tower(tower).golden
    inputs = {name: np.load(bundle.path(record)) for name, record in golden.inputs.items()}
    embeddings = normalize(climb(bundle, tower).tower(inputs))
    assert np.allclose(embeddings, normalize(np.load(bundle.path(golden.embeddings))), atol=1e-5)


def test_a_changed_byte_is_found_and_the_file_named(bundle):
    path = bundle.path(bundle.text.rungs[0].files[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=rf"{path.name}.*sha256"):
        Bundle.load(bundle.directory)


def test_a_missing_file_is_named(bundle):
    path = bundle.path(bundle.image.rungs[0].files[0])
    path.unlink()
    with pytest.raises(BundleError, match=rf"{path.name} is missing"):
        Bundle.load(bundle.directory)


def test_a_cut_file_is_found_without_reading_checksums(bundle):
    path = bundle.path(bundle.sample)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=path.name):
        Bundle.load(bundle.directory, verify=False)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "..\\secret"])
def test_a_path_that_leaves_the_directory_is_refused(bundle, path):
    edit(bundle, lambda data: data["sample"].update(path=path))
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("schema", ["mcad-bundle/1", None, "other"])
def test_an_unknown_schema_is_refused(bundle, schema):
    edit(bundle, lambda data: data.update(schema=schema))
    with pytest.raises(BundleError, match="schema"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": "mcad-bundle/2"}'])
def test_a_broken_bundle_json_is_an_error_of_ours(bundle, text):
    (bundle.directory / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.load(bundle.directory)


def test_a_folder_without_a_bundle_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(BundleError, match="mcad-mobile export"):
        Bundle.load(tmp_path / "nothing")


def test_saving_leaves_no_partial_file(bundle):
    replace(bundle, name="other").save()
    assert Bundle.load(bundle.directory).name == "other"
    assert not list(bundle.directory.glob("*.partial"))
    assert not list(bundle.directory.glob(".*.partial"))
