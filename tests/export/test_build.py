"""What towers are calibrated on, chosen by and compared on."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from mcad_mobile.engine.bundle import TOWERS, FileRecord, Rung
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.engine.towers import RUNTIMES
from mcad_mobile.engine.towers.onnx import OnnxRuntime
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import MissingExtra, install_line
from mcad_mobile.export import export_bundle, pipeline
from mcad_mobile.export.backends.backend import Candidate
from mcad_mobile.export.build import BundleRequest, build
from mcad_mobile.export.compare import PARITY_INPUTS, Standard
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.prepare import Prepared, Steps, prepare
from mcad_mobile.export.quantization.calibration import load_samples
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.backends import replace_methods
from tests.support.tiny_students import write_open_clip


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = write_open_clip(tmp_path_factory.mktemp("builder") / "student")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    (folder / "LICENSE").write_text("Name the photographers.")
    (folder / "NOTICE").write_text("By us.")
    return load_student(f"open_clip:local-dir:{folder}")


@pytest.fixture(scope="module")
def samples(student):
    return load_samples(student, None, 4)


def prepared_in(folder, student, calibrate, held_out, steps=None) -> Prepared:
    folder.mkdir(exist_ok=True)
    return prepare(student, calibrate, held_out, folder, steps or Steps())


@pytest.fixture(scope="module")
def made(student, samples, tmp_path_factory):
    return prepared_in(tmp_path_factory.mktemp("parts"), student, *samples)


def test_ways_to_quantize_are_chosen_on_inputs_that_are_neither_calibrated_on_nor_reported(
    student, samples, made
):
    _, held_out = samples
    jobs = made.jobs
    pixels = held_out.pixels[PARITY_INPUTS:]
    assert np.array_equal(jobs["image"].validation["pixels"], pixels)
    mask = held_out.text_inputs["attention_mask"][PARITY_INPUTS:]
    assert np.array_equal(jobs["text"].validation["attention_mask"], mask)
    for name in TOWERS:
        inputs = {key: value[PARITY_INPUTS:] for key, value in held_out.inputs(name).items()}
        assert np.array_equal(jobs[name].expected, float_embeddings(student.tower(name), inputs))
        assert jobs[name].any_length == (name == "text")
        assert len(jobs[name].expected) == len(pixels) == len(mask) > 0


def test_calibration_inputs_also_choose_where_too_few_are_held_out(student, samples, tmp_path):
    calibrate, held_out = samples
    few = held_out[:PARITY_INPUTS]
    jobs = prepared_in(tmp_path, student, calibrate, few).jobs
    assert np.array_equal(jobs["image"].validation["pixels"], calibrate.pixels)
    assert len(jobs["text"].expected) == len(calibrate.ids)


def test_towers_read_a_phones_token_rows_and_are_compared_with_the_students_own(
    student, samples, made
):
    calibrate, held_out = samples
    common, job = made.common, made.jobs["text"]
    shape, bits = student.token_table.shape, student.text_spec.table_bits
    phone = TokenTable(common / "token_table.bin", *shape, bits)
    golden = np.load(common / job.golden.inputs["token_rows"].path)
    for read, given in (
        (job.samples["token_rows"], calibrate),
        (job.validation["token_rows"], held_out[PARITY_INPUTS:]),
        (golden, held_out[:2]),
    ):
        assert np.array_equal(read, phone(given.ids))
        assert not np.array_equal(read, given.text_inputs["token_rows"])  # which are not rounded
    expected = float_embeddings(student.tower("text"), held_out[:2].text_inputs)
    found = np.load(common / job.golden.embeddings.path)
    assert np.allclose(found, expected, atol=1e-6)


def test_a_missing_compiler_is_an_error_before_any_work(student, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    request, steps = BundleRequest(find_target("snapdragon"), tmp_path / "bundle"), []
    with pytest.raises(MissingExtra):
        pipeline.export(student, [request], progress=lambda *step: steps.append(step))
    assert not steps


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript", "safetensors"])
def test_export_bundle_names_the_extra_that_is_missing(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=module) as raised:
        export_bundle("cpu", tmp_path / "bundle")
    assert install_line("export") in raised.value.hint


def test_bundles_share_rungs_and_steps_are_told_in_their_order(
    student, samples, tmp_path, monkeypatch
):
    """Without backends: each writes a file with its name, whose runtime gives float embeddings."""
    told, built = [], []
    held_out = samples[1]
    steps = Steps(lambda *step: told.append(step), 6)
    prepared = prepared_in(tmp_path / "work", student, *samples, steps)

    class Exact(OnnxRuntime):
        def __init__(self, name, simulated):
            self.name, self.simulated = name, simulated

        def load(self, bundle, rung, threads, gpu):
            tower = "image" if "image" in rung.files[0].path else "text"

            def run(inputs):
                (row,) = (
                    number
                    for number, single in enumerate(split_batch(prepared.compared[tower]))
                    if all(np.array_equal(single[key], inputs[key]) for key in inputs)
                )
                return prepared.expected[tower][row : row + 1]

            return lambda inputs: np.concatenate([run(one) for one in split_batch(inputs)])

    def build_rung(order, folder):
        job = order.tower
        corrected = job is prepared.jobs[job.name] and job.uncorrected is not None
        about = (job.name, order.runtime, order.precision, order.target.id)
        way = (order.keep_precision, *order.four_bit_weights)
        built.append((*about, corrected, *way))
        path = folder / f"{job.name}_{order.runtime}_{order.precision}.onnx"
        path.write_text(job.name)
        job.progress("converting")
        return Rung(
            runtime=order.runtime,
            precision=order.precision,
            files=(FileRecord.of(folder, path),),
            inputs=job.inputs,
            outputs=(job.output,),
            total_nodes=1,
            expected=job.golden.embeddings,
        )

    for runtime in ("onnx", "qnn"):
        monkeypatch.setitem(RUNTIMES, runtime, Exact(runtime, runtime == "qnn"))
        replace_methods(monkeypatch, runtime, build=build_rung, reference=lambda *about: None)
    del told[:]
    made, rungs = {}, {}
    standard = Standard(prepared.compared, prepared.expected)
    for chip in ("SM8650", "cpu"):
        out = tmp_path / f"out-{chip}"
        request = BundleRequest(find_target(chip), out)
        made[chip], warned = build(prepared, request, standard, rungs, out)
        assert warned == []
    whole = (False,)
    assert built == [
        ("image", "qnn", "w8a16", "snapdragon-8-gen-3", True, *whole),
        ("image", "onnx", "int8", "snapdragon-8-gen-3", True, *whole),
        ("text", "qnn", "w8a16", "snapdragon-8-gen-3", False, *whole),
        ("text", "onnx", "int8", "snapdragon-8-gen-3", False, *whole),
        ("image", "onnx", "fp32", "cpu", False, *whole),  # with its own biases
        ("text", "onnx", "fp32", "cpu", False, *whole),
    ]
    named = [step for step, *_ in told]
    assert [step[1:] for step in told] == [(number, 6) for number in range(6) for _ in range(3)]
    assert "image tower: qnn w8a16 for SM8650: converting" in named
    assert "text tower: onnx fp32: comparing with float" in named
    ladders = {
        "SM8650": [("qnn", "w8a16"), ("onnx", "int8")],
        "cpu": [("onnx", "int8"), ("onnx", "fp32")],
    }
    for chip, ladder in ladders.items():
        bundle = made[chip]
        for name in TOWERS:
            assert [(rung.runtime, rung.precision) for rung in bundle.tower(name).rungs] == ladder
            for rung in bundle.tower(name).rungs:
                assert bundle.path(rung.files[0]).read_text() == name
                assert rung.parity.cosine_min == pytest.approx(1, abs=1e-6)
        assert bundle.name == f"{student.name}-{bundle.target.id}"
        photos = float_embeddings(student.tower("image"), held_out.inputs("image"))
        assert np.allclose(bundle.array(bundle.sample), photos, atol=1e-6)
        facts, licence = bundle.student, bundle.student.licence_text
        assert (facts.source, facts.preprocess) == (
            student.source.weights,
            student.source.preprocess,
        )
        assert (facts.sha256, facts.image_sha256) == (student.sha256, student.image_sha256)
        assert facts.licence == "CC-BY-4.0"
        assert bundle.path(licence).read_text() == "Name the photographers.\nBy us."
        assert len(bundle.text.golden.texts) == len(bundle.array(bundle.text.golden.ids)) == 2
    # What a search chose is built as it chose it, and in no other precision.
    chosen = {
        "image": Candidate("image", "int8", "near", 1, 1, tmp_path, None),
        "text": Candidate(
            "text", "mixed", "few", 1, 1, tmp_path, None, four_bit_weights=frozenset("w")
        ),
    }
    precisions = {name: candidate.precision for name, candidate in chosen.items()}
    out = tmp_path / "chosen"
    request = BundleRequest(find_target("cpu"), out, precisions=precisions, chosen=chosen)
    del built[:]
    build(prepared, request, standard, rungs, out)
    assert built == [("text", "onnx", "mixed", "cpu", False, True, "w")]
    assert made["SM8650"].target.htp_arch == 75 and made["cpu"].target.htp_arch is None


def test_a_tower_that_looks_at_its_padding_takes_texts_of_full_length_alone(
    student, samples, tmp_path
):
    padded = dataclasses.replace(student.text_spec, attends_to_padding=True)
    student = dataclasses.replace(student, text_spec=padded)
    prepared = prepared_in(tmp_path, student, samples[0], samples[1][:2])
    assert not prepared.jobs["text"].any_length
