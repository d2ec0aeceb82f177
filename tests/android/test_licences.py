"""Nobody ships weights that they may not, and what is shipped carries its licences."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.library_aar import build_library
from mcad_mobile.android.library_maven import build_maven
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.engine.bundle import Bundle, FileRecord
from mcad_mobile.errors import BuildError
from tests.support.archives import onnxruntime_archive
from tests.support.probe import variant
from tests.support.tiny_bundle import make_tiny_bundle, two_text_towers
from tests.support.tiny_reader import with_reader
from tests.support.variants import first_of

NOTICE = "assets/mcad-licences/NOTICE.txt"


@pytest.fixture
def own(tools, tmp_path) -> Path:
    """A small ONNX Runtime; the tools are fake."""
    return onnxruntime_archive(tmp_path / "own.aar", b"VERS_1.29.0")


def without_text(licence: str, folder: Path) -> Bundle:
    """A bundle whose weights are under a licence, and came without its text."""
    tiny = make_tiny_bundle(folder / "tiny")
    student = replace(tiny.student, licence=licence)
    return Bundle.load(variant(tiny, folder / "bundle", student=student))


def under(licence: str, folder: Path) -> Bundle:
    """A bundle whose weights are under a licence, with its text beside them."""
    made = without_text(licence, folder)
    text = made.directory / "LICENSE"
    text.write_text(f"The text of {licence}.\n")
    record = FileRecord.of(made.directory, text)
    replace(made, student=replace(made.student, licence_text=record)).save()
    return Bundle.load(made.directory)


def build_maven_library(bundle: Bundle, out: Path, options: BuildOptions) -> None:
    build_maven(bundle, out, options=options)


@pytest.mark.parametrize("build", [build_app, build_library, build_maven_library])
@pytest.mark.parametrize("licence", ["apple-amlr", "CC-BY-NC-4.0", "openrail", "unknown"])
def test_weights_that_not_everyone_may_ship_are_refused(build, licence, tmp_path):
    out = tmp_path / ("demo.apk" if build is build_app else "search.aar")
    bundle = under(licence, tmp_path)
    for accepted in (None, "MIT"):
        with pytest.raises(BuildError) as raised:
            build(bundle, out, BuildOptions(accept_licence=accepted))
        assert licence in raised.value.message or licence == "unknown"
        assert ("--accept-licence names MIT" in raised.value.message) == (
            accepted is not None and licence != "unknown"
        )
        assert f"--accept-licence {licence}" in raised.value.hint
    assert not out.exists()


def test_what_is_accepted_by_name_is_built_and_named(own, tmp_path):
    bundle = under("apple-amlr", tmp_path)
    options = BuildOptions(accept_licence="Apple-AMLR", onnxruntime=own)
    library = zipfile.ZipFile(build_library(bundle, tmp_path / "search.aar", options).archive)
    notice = library.read(NOTICE).decode()
    assert "weights of tiny (random weights): apple-amlr, which allows research only" in notice
    text = library.read("assets/mcad-licences/weights/LICENSE")
    assert text == b"The text of apple-amlr.\n"


def test_the_licences_of_both_text_towers_are_asked_for_and_carried(own, tmp_path):
    both = two_text_towers(tmp_path / "both")
    other = replace(both.multilingual.student, licence="apple-amlr")
    changed = replace(both.multilingual, student=other)
    bundle = Bundle.load(variant(both, tmp_path / "bundle", multilingual=changed))
    with pytest.raises(BuildError, match="weights of tiny-m are under apple-amlr"):
        build_app(bundle, tmp_path / "demo.apk", BuildOptions(onnxruntime=own))
    options = BuildOptions(onnxruntime=own, accept_licence="apple-amlr")
    app = zipfile.ZipFile(build_app(bundle, tmp_path / "demo.apk", options).package)
    notice = app.read(NOTICE).decode()
    assert "weights of tiny (random weights): MIT (weights/LICENSE)" in notice
    assert "weights of tiny-m (random weights): apple-amlr, which allows research only" in notice
    components = json.loads((tmp_path / "demo.apk.cdx.json").read_text())["components"]
    licences = {found["name"]: found["licenses"] for found in components if "licenses" in found}
    for name in ("tiny-m", "multilingual tower onnx fp32"):
        assert licences[name] == [{"license": {"name": "apple-amlr"}}]
    assert licences["text tower onnx fp32"] == licences["tiny"] != licences["tiny-m"]
    assert "assets/bundle/multilingual/tokenizer.bin" in app.namelist()


def test_an_app_carries_the_licences_of_all_its_parts(own, tmp_path):
    bundle, options = make_tiny_bundle(tmp_path / "tiny"), BuildOptions(onnxruntime=own)
    app = zipfile.ZipFile(build_app(with_reader(bundle), tmp_path / "demo.apk", options).package)
    notice = app.read(NOTICE).decode()
    for line in (
        "the search engine: Apache-2.0",
        "ONNX Runtime 1.29.0",
        "the weights of tiny",
        "PP-OCR: Apache-2.0",
        "GeoNames (https://www.geonames.org): CC BY 4.0",
    ):
        assert line in notice
    texts = {
        "reader/LICENSE": b"MIT",
        "mcad-mobile/LICENSE": b"Apache License",
        "mcad-mobile/NOTICE": b"mcad-mobile authors",
        "onnxruntime/LICENSE": b"Microsoft Corporation",
        "onnxruntime/ThirdPartyNotices.txt": b"THIRD PARTY",
    }
    for name, part in texts.items():
        assert part in app.read(f"assets/mcad-licences/{name}"), name


@pytest.mark.parametrize(
    ("licence", "parts"),
    first_of(
        [
            (
                "MIT",
                ("Copyright (c) the authors of random weights", "Permission is hereby granted"),
            ),
            ("Apache-2.0", ("Apache License", "END OF TERMS AND CONDITIONS")),
        ]
    ),
)
def test_weights_that_came_without_a_licence_text_get_one(licence, parts, own, tmp_path):
    bundle, options = without_text(licence, tmp_path), BuildOptions(onnxruntime=own)
    app = build_app(bundle, tmp_path / "demo.apk", options).package
    for path in (app, build_library(bundle, tmp_path / "search.aar", options).archive):
        package = zipfile.ZipFile(path)
        text = package.read("assets/mcad-licences/weights/LICENSE").decode()
        assert all(part in text for part in parts)
        assert f"{licence} (weights/LICENSE)" in package.read(NOTICE).decode()


@pytest.mark.slow
def test_a_licence_whose_text_is_not_known_is_named_with_its_page(own, tmp_path):
    options = BuildOptions(accept_licence="CC-BY-NC-4.0", onnxruntime=own)
    bundle = without_text("CC-BY-NC-4.0", tmp_path)
    library = zipfile.ZipFile(build_library(bundle, tmp_path / "search.aar", options).archive)
    assert "assets/mcad-licences/weights/LICENSE" not in library.namelist()
    assert "(https://spdx.org/licenses/CC-BY-NC-4.0.html)" in library.read(NOTICE).decode()


@pytest.mark.slow
def test_a_library_without_a_bundle_names_no_weights(own, tmp_path):
    options = BuildOptions(onnxruntime=own)
    library = zipfile.ZipFile(build_library(None, tmp_path / "search.aar", options).archive)
    assert "weights" not in library.read(NOTICE).decode()
