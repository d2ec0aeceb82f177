"""A bundle for computers with LiteRT: photos by LiteRT, texts by ONNX Runtime, and both by ONNX
Runtime where LiteRT is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mcad_mobile.android.parts import pack_bundle
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.towers import choose_rung
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.exported import mcad_json
from tests.support.pythons import needs_litert
from tests.support.tiny_students import write_open_clip

pytestmark = [pytest.mark.usefixtures("traced_once"), needs_litert]

FALLBACKS = [("onnx", "int8"), ("onnx", "fp32")]
# LiteRT knows no version of MediaTek's compiler for it: its .tflite is for no one chip either.
DIMENSITY = "dimensity-8200"


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = write_open_clip(tmp_path_factory.mktemp("computer") / "student")
    return load_student(f"open_clip:local-dir:{folder}")


def made(student, out: Path, *chips: str) -> list[Bundle]:
    requests = [BundleRequest(find_target(chip), out / chip) for chip in chips]
    return [
        made.bundle
        for made in export(student, requests, ExportOptions(samples=4, allow_low_parity=True))
    ]


@pytest.fixture(scope="module")
def bundle(student, tmp_path_factory) -> Bundle:
    return made(student, tmp_path_factory.mktemp("bundles"), "cpu-litert")[0]


def rungs(bundle: Bundle, name: str) -> list[tuple[str, str]]:
    return [(rung.runtime, rung.precision) for rung in bundle.tower(name).rungs]


def test_photos_are_litert_s_and_texts_onnx_runtimes(bundle):
    assert rungs(bundle, "image") == [("litert", "w8a8"), *FALLBACKS]
    assert rungs(bundle, "text") == FALLBACKS
    by = {name: choose_rung(bundle, name).rung.runtime for name in TOWERS}
    assert by == {"image": "litert", "text": "onnx"}


def test_without_litert_the_next_rung_serves(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    loaded = choose_rung(bundle, "image")
    assert (loaded.rung.runtime, loaded.rung.precision) == FALLBACKS[0]


@pytest.mark.slow
def test_a_cpu_s_file_tells_of_no_npu_though_a_dimensity_s_was_made_beside_it(student, tmp_path):
    both = made(student, tmp_path, DIMENSITY, "cpu-litert")
    for_npu, for_cpu = (bundle.image.rungs[0] for bundle in both)
    assert for_cpu.npu_nodes == 0 < for_npu.npu_nodes
    assert for_npu.total_nodes == for_cpu.total_nodes
    assert not any("MediaTek" in note for note in for_cpu.notes)
    assert any("MediaTek" in note for note in for_npu.notes)


def test_activations_stay_at_8_bits_whatever_they_cost(student, tmp_path, monkeypatch):
    """LiteRT has no fast kernels for 16 on CPUs, and other rungs stand behind this one."""
    monkeypatch.setattr(TowerJob, "cosine", lambda self, path, load: 0.5)
    (bundle,) = made(student, tmp_path, "cpu-litert")
    assert rungs(bundle, "image")[0] == ("litert", "w8a8")


def test_an_app_leaves_litert_out(bundle, tmp_path):
    packed, left_out = pack_bundle(bundle, tmp_path / "packed", keep_float=False, no_npu="none")
    assert {rung.runtime for name in TOWERS for rung in packed.tower(name).rungs} == {"onnx"}
    assert "LiteRT" in left_out["image litert w8a8"]
    assert not list((tmp_path / "packed").glob("*.tflite"))


def test_it_is_listed_with_what_it_has(bundle):
    (listed,) = [chip for chip in mcad_json("targets") if chip["id"] == "cpu-litert"]
    assert listed["runtimes"] == ["litert", "onnx"]
    assert listed["precisions"] == ["fp32", "int8", "w8a8"]
