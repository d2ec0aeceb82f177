"""What towers are calibrated on, chosen by and compared on."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from mcad_mobile.engine.bundle import TOWERS, DataFacts, FileRecord, PrecisionRecord, Rung
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.errors import MissingExtra, install_line
from mcad_mobile.export import bundle_builder, export_bundle, pipeline
from mcad_mobile.export.backends.backend import RungOptions
from mcad_mobile.export.bundle_builder import BundleBuilder, BundleRequest
from mcad_mobile.export.comparison import PARITY_INPUTS
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.precision.candidates import Candidate
from mcad_mobile.export.precision.recall_drop import Budget
from mcad_mobile.export.quantization.calibration import load_samples
from mcad_mobile.export.tower_job import TowerJob
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


def jobs_of(student, calibrate, held_out, folder) -> dict[str, TowerJob]:
    """By tower; those that will be quantized."""
    builder = BundleBuilder(
        student, calibrate, held_out, folder, allow_low_parity=True, simulated_inputs=PARITY_INPUTS
    )
    return builder.jobs


@pytest.fixture(scope="module")
def made(student, samples, tmp_path_factory):
    """The builder's folder, and its jobs."""
    folder = tmp_path_factory.mktemp("parts")
    return folder, jobs_of(student, *samples, folder)


def test_a_recipe_is_chosen_on_inputs_that_are_neither_calibrated_on_nor_reported(
    student, samples, made
):
    _, held_out = samples
    _, jobs = made
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
    jobs = jobs_of(student, calibrate, few, tmp_path)
    assert np.array_equal(jobs["image"].validation["pixels"], calibrate.pixels)
    assert len(jobs["text"].expected) == len(calibrate.ids)


def test_towers_read_a_phones_token_rows_and_are_compared_with_the_students_own(
    student, samples, made
):
    calibrate, held_out = samples
    common, job = made[0] / "common", made[1]["text"]
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


@pytest.mark.parametrize(
    ("chip", "module", "extra"),
    [("snapdragon", "onnxruntime_qnn", "snapdragon"), ("dimensity", "litert_torch", "dimensity")],
)
def test_a_missing_compiler_is_an_error_before_any_work(
    student, tmp_path, monkeypatch, chip, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(pipeline, "load_samples", lambda *given: pytest.fail("work was begun"))
    request = BundleRequest(find_target(chip), tmp_path / "bundle")
    with pytest.raises(MissingExtra) as raised:
        pipeline.export(student, [request])
    assert install_line(extra) in raised.value.hint


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript", "safetensors"])
def test_export_bundle_names_the_extra_that_is_missing(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=module) as raised:
        export_bundle("cpu", tmp_path / "bundle")
    assert install_line("export") in raised.value.hint


def test_bundles_share_rungs_and_steps_are_told_as_they_are_waited_for(
    student, samples, tmp_path, monkeypatch
):
    """Without backends: each writes a file with its name."""
    steps, built, begun = [], [], []
    calibrate, held_out = samples
    builder = BundleBuilder(
        student,
        calibrate,
        held_out,
        tmp_path,
        allow_low_parity=True,
        simulated_inputs=PARITY_INPUTS,
        progress=lambda *step: steps.append(step),
        rungs=6,
    )
    simulated = builder.comparison._progress

    def build(job, plan, target, folder, options):
        corrected = job is builder.jobs[job.name] and job.uncorrected is not None
        built.append((job.name, *plan, target.id, corrected, options.keep_precision))
        path = folder / f"{job.name}_{plan.runtime}_{plan.precision}.onnx"
        path.write_text(job.name)
        job.progress("converting")
        simulated("of another rung", 1, 2)  # as it goes on beside this work
        return Rung(
            runtime=plan.runtime,
            precision=plan.precision,
            files=(FileRecord.of(folder, path),),
            inputs=job.inputs,
            outputs=(job.output,),
            total_nodes=1,
            expected=job.golden.embeddings,
        )

    def start(name, rung, bundle, cloud):
        begun.append((name, rung.precision, len(bundle.tower(name).rungs)))

        def compared():
            simulated(f"{name} {rung.precision}", 1, 2)
            return rung, [f"{name} {rung.name} is low."]

        return compared

    for runtime in ("onnx", "qnn"):
        replace_methods(monkeypatch, runtime, build=build)
    monkeypatch.setattr(builder.comparison, "start", start)
    del steps[:]
    made, warned = {}, {}
    for chip in ("SM8650", "cpu"):
        target = find_target(chip)
        out = tmp_path / f"out-{chip}"
        made[chip], warned[chip] = builder.build(BundleRequest(target, out), out)
    assert built == [
        ("image", "qnn", "w8a16", "snapdragon-8-gen-3", True, False),
        ("image", "onnx", "int8", "snapdragon-8-gen-3", True, False),
        ("text", "qnn", "w8a16", "snapdragon-8-gen-3", False, False),
        ("text", "onnx", "int8", "snapdragon-8-gen-3", False, False),
        ("image", "onnx", "fp32", "cpu", False, False),  # with its own biases
        ("text", "onnx", "fp32", "cpu", False, False),
    ]
    assert begun == [(name, precision, 1) for name, _, precision, *_ in built]
    # What a simulator does beside other work is not told; what is waited for is.
    named = [step for step, *_ in steps if step != "of another rung"]
    assert len(named) == len(steps)
    numbers = [number for _, number, total in steps if total == 12]
    parts = 2 * [*range(4), 8, 9]  # what a job tells is a part of its step
    assert numbers == sorted([*range(12), *parts])
    assert "image tower: qnn w8a16 for SM8650: converting" in named
    assert "text tower: comparing onnx fp32 with float" in named
    assert named.index("image tower: comparing qnn w8a16 for SM8650 with float") < named.index(
        "image w8a16"
    )
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
        low = [f"{name} {' '.join(rung)} is low." for name in TOWERS for rung in ladder]
        assert warned[chip] == low
        assert bundle.name == f"{student.name}-{bundle.target.id}"
        photos = float_embeddings(student.tower("image"), held_out.inputs("image"))
        assert np.allclose(bundle.array(bundle.sample), photos, atol=1e-6)
        facts, licence = bundle.student, bundle.student.licence_text
        assert (facts.source, facts.preprocess) == (
            student.source.weights,
            student.source.preprocess,
        )
        assert (facts.sha256, facts.image_sha256) == (student.sha256(), student.image_sha256())
        assert facts.licence == "CC-BY-4.0"
        assert bundle.path(licence).read_text() == "Name the photographers.\nBy us."
        assert len(bundle.text.golden.texts) == len(bundle.array(bundle.text.golden.ids)) == 2
    assert made["SM8650"].target.htp_arch == 75 and made["cpu"].target.htp_arch is None


def test_a_search_leaves_out_what_is_far_from_float_and_backends_build_what_it_chose(
    student, samples, tmp_path, monkeypatch
):
    """Without a search: of each tower it takes the last candidate."""
    calibrate, held_out = samples[0], samples[1][:2]
    padded = dataclasses.replace(student.text_spec, attends_to_padding=True)
    student = dataclasses.replace(student, text_spec=padded)
    builder = BundleBuilder(
        student, calibrate, held_out, tmp_path, allow_low_parity=False, simulated_inputs=2
    )
    assert not builder.jobs["text"].any_length  # it looks at its padding
    data = DataFacts("photos", "val", 1, 2, "0" * 64)
    found = PrecisionRecord(data, "a table", 0.5, 60.0, (), (), (), 7, "Because.")
    tried, built = {}, {}

    def candidate(name, precision, label, cosine, **more):
        def load(path):
            expected = float_embeddings(student.tower(name), held_out.inputs(name))
            aside = np.roll(expected, 1, 1)
            return lambda inputs: cosine * expected + (1 - cosine**2) ** 0.5 * aside

        return Candidate(name, precision, label, 1, 1, tmp_path / label, load, **more)

    candidates = {
        "image": [candidate("image", "int8", "near", 1.0), candidate("image", "int8", "far", 0.1)],
        "text": [candidate("text", "mixed", "few", 1.0, method="mse", four_bit_weights={"w"})],
    }

    class LastOfEach:
        def __init__(self, candidates, meter, points):
            tried.update(
                {name: [candidate.label for candidate in candidates[name]] for name in candidates}
            )
            self.last = tuple(candidates[name][-1] for name in TOWERS)

        def run(self):
            return self.last

        def record(self, chosen, ranked, judged_by):
            assert (chosen, set(ranked)) == (self.last, set(TOWERS))
            assert judged_by.startswith("the files that were written")
            return found

    def build(job, plan, target, folder, options):
        built[job.name, plan.precision] = options
        path = folder / f"{job.name}_{plan.precision}.onnx"
        path.touch()
        files = (FileRecord.of(folder, path),)
        made = {"inputs": job.inputs, "outputs": (job.output,), "expected": job.golden.embeddings}
        return Rung(runtime="onnx", precision=plan.precision, files=files, total_nodes=1, **made)

    replace_methods(
        monkeypatch,
        "onnx",
        build=build,
        candidates=lambda job, *about: (candidates[job.name], [job.name]),
    )
    monkeypatch.setattr(bundle_builder, "Search", LastOfEach)
    monkeypatch.setattr(builder.comparison, "start", lambda name, rung, *_: lambda: (rung, []))
    target = find_target("cpu")
    chosen, record = builder.choose_precisions(Budget(0.5, [], data, tmp_path / "kept"), target)
    assert chosen == {"image": "int8", "text": "mixed"}
    assert tried == {"image": ["near"], "text": ["few"]}
    assert record.why.startswith("Because. Too far from float to be tried, by cosine: image far (")
    assert record.why.count("Too far") == 1
    bundle, _ = builder.build(BundleRequest(target, tmp_path, precisions=chosen), tmp_path)
    assert bundle.precision == record
    as_planned = RungOptions(keep_precision=True)
    assert built == {
        ("image", "int8"): as_planned,
        ("image", "fp32"): as_planned,
        ("text", "mixed"): RungOptions("mse", {"w"}, keep_precision=True),
        ("text", "fp32"): as_planned,
    }
