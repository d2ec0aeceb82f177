"""Export of the default student, by the real converters, compilers and simulators."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.engine.towers import choose_rung, load_tower, normalize
from mcad_mobile.engine.towers.onnx import EXACT_KERNELS, saturates
from tests.support.exported import SIMULATED, mcad, mcad_json

ALL = ["snapdragon", pytest.param("dimensity", marks=pytest.mark.slow), "cpu"]
EXPECTED = {
    "snapdragon": {"image": ("qnn", "w8a16"), "text": ("qnn", "w8a16")},
    "dimensity": {"image": ("litert", "w8a8"), "text": ("litert", "w8a16")},
    "cpu": {"image": ("onnx", "int8"), "text": ("onnx", "int8")},
}
# Mean and least cosine of the student in models/mcad-s, as measured: they change with it. Other
# processors' kernels round otherwise, within the tolerance of the test.
PARITY = {
    ("image", "qnn", "w8a16"): (0.9994, 0.9991),  # of the golden inputs
    ("text", "qnn", "w8a16"): (0.9993, 0.9992),
    ("image", "onnx", "int8"): (0.9941, 0.9803),
    ("text", "onnx", "int8"): (0.9922, 0.9773),
    ("image", "onnx", "fp32"): (1.0, 1.0),
    ("text", "onnx", "fp32"): (1.0, 1.0),
}
each_target = pytest.mark.parametrize("exported", ALL, indirect=True)


@each_target
def test_each_tower_runs_as_its_target_wants(exported):
    wanted = EXPECTED[exported.target]
    for name, tower in exported.document["towers"].items():
        assert (tower["runtime"], tower["precision"]) == wanted[name]


@each_target
def test_the_bundle_verifies_and_every_rung_was_compared_with_float(exported):
    bundle = Bundle.load(exported.directory)
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            assert rung.parity is not None
            assert rung.parity.inputs == (SIMULATED if rung.runtime == "qnn" else 16)
            mean, least = PARITY.get((name, rung.runtime, rung.precision), (0.9905, 0.953))
            assert rung.parity.cosine_mean >= mean - 5e-4
            assert rung.parity.cosine_min >= least - 3e-3


@each_target
def test_onnx_models_are_such_as_old_runtimes_load_and_the_last_rung_is_one(exported):
    bundle = Bundle.load(exported.directory)
    for name in TOWERS:
        assert bundle.tower(name).rungs[-1].runtime == "onnx"
        for rung in bundle.tower(name).rungs:
            if rung.files[0].path.endswith(".onnx"):  # of an NPU too: what names its binary
                model = onnx.load(bundle.path(rung.files[0]))
                assert model.ir_version <= 9
                assert {entry.domain: entry.version for entry in model.opset_import}[""] <= 20
                onnx.checker.check_model(model)


@each_target
def test_the_cpus_text_tower_leaves_padding_out(exported):
    bundle = Bundle.load(exported.directory)
    rung = bundle.text.rungs[-1]
    golden = bundle.text.golden.inputs
    inputs = {key: np.load(bundle.path(record))[:1] for key, record in golden.items()}
    tokens = int(inputs["attention_mask"].sum())
    assert 2 < tokens < inputs["attention_mask"].shape[1]
    options = ort.SessionOptions()
    if saturates():
        options.add_session_config_entry(*EXACT_KERNELS)
    session = ort.InferenceSession(bundle.path(rung.files[0]), options)
    cut = {key: value[:, :tokens] for key, value in inputs.items()}
    (alone,), (padded,) = session.run(None, cut), session.run(None, inputs)
    found = load_tower(bundle, rung)(inputs)
    np.testing.assert_allclose(found, alone, atol=1e-5)
    # To 8 bits, padding shows: activations are scaled by their largest.
    assert (rung.precision == "fp32") == np.allclose(alone, padded, atol=1e-4)


@each_target
def test_golden_inputs_give_golden_embeddings_on_the_rung_that_runs_here(exported):
    bundle = Bundle.load(exported.directory)
    for name in TOWERS:
        golden = bundle.tower(name).golden
        inputs = {key: np.load(bundle.path(record)) for key, record in golden.inputs.items()}
        found = normalize(choose_rung(bundle, name).tower(inputs))
        expected = np.load(bundle.path(golden.embeddings))
        assert (found * expected).sum(1).min() > 0.98


@each_target
def test_the_texts_of_the_self_test_have_the_ids_that_are_stored_for_them(exported):
    bundle = Bundle.load(exported.directory)
    golden = bundle.text.golden
    assert len(golden.texts) == len(np.load(bundle.path(golden.embeddings))) > 1
    tokenizer = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    found = np.stack([tokenizer(text).ids for text in golden.texts])
    assert np.array_equal(found, np.load(bundle.path(golden.ids)))
    assert bundle.image.golden.texts == ()


@each_target
def test_no_path_of_the_machine_that_exported_is_left_in_a_bundle(exported):
    here = str(exported.directory.parent).encode()
    for path in exported.directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert here not in data, path
            assert b"site-packages" not in data, path


@pytest.mark.slow
def test_the_simulator_is_given_as_many_inputs_as_every_rung(tmp_path):
    document = mcad_json("export", "--target", "snapdragon", "--out", tmp_path / "bundle")
    bundle = Bundle.load(tmp_path / "bundle")
    for name in TOWERS:
        parity = bundle.tower(name).rungs[0].parity
        assert parity.inputs == 16
        assert parity.cosine_mean == pytest.approx(
            document["towers"][name]["cosine_mean"], abs=1e-4
        )
        assert parity.cosine_mean > 0.998
        assert parity.cosine_min > 0.99


def test_a_snapdragon_tower_is_a_context_binary_with_every_node_on_the_npu(snapdragon):
    bundle = Bundle.load(snapdragon.directory)
    for name, tower in snapdragon.document["towers"].items():
        assert tower["npu_nodes"] == tower["total_nodes"] > 0
        context, binary = bundle.tower(name).rungs[0].files
        graph = onnx.load(bundle.path(context), load_external_data=False).graph
        assert [node.op_type for node in graph.node] == ["EPContext"]
        assert re.search(rb"soc_type=SM8750;arch=79", bundle.path(binary).read_bytes())


@pytest.mark.slow
def test_a_dimensity_tower_computes_with_integers_only(dimensity):
    from ai_edge_litert.interpreter import Interpreter

    bundle = Bundle.load(dimensity.directory)
    for name in TOWERS:
        rung = bundle.tower(name).rungs[0]
        interpreter = Interpreter(str(bundle.path(rung.files[0])))
        kinds = {np.dtype(detail["dtype"]).kind for detail in interpreter.get_tensor_details()}
        assert kinds <= {"i", "b"}
        assert all(spec.scale for spec in rung.outputs)


@pytest.mark.slow
def test_every_operator_of_a_dimensity_tower_is_on_the_list_of_mediateks_compiler(dimensity):
    for tower in dimensity.document["towers"].values():
        assert tower["npu_nodes"] == tower["total_nodes"] > 20
        assert any("on the list of MediaTek's compiler" in note for note in tower["notes"])


def test_exporting_over_something_that_is_no_bundle_leaves_it_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    message = mcad("export", "--target", "cpu", "--out", tmp_path, code=1)
    assert "is not a bundle" in message
    assert (tmp_path / "holiday.txt").read_text() == "mine"
