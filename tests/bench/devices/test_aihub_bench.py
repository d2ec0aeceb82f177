"""bench in Qualcomm AI Hub: the real client against a cloud on loopback that speaks its API."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcad_mobile.bench.devices.aihub import Descent, Measured, cloud_document
from mcad_mobile.bench.document import load_documents
from mcad_mobile.bench.measurement import Workload, bench_towers, measure
from mcad_mobile.engine.bundle import TOWERS, Bundle, TargetFacts
from mcad_mobile.errors import AiHubError, BenchError
from mcad_mobile.export.aihub import AiHub, CloudDevice
from tests.bench.devices.aihub_cloud import S24, S25, TIMES_US, Cloud, device
from tests.support.pythons import needs_litert
from tests.support.tiny_bundle import make_tiny_bundle


def with_broken_top(bundle: Bundle, folder: Path) -> Bundle:
    """Its image tower with two rungs on top: no model at all, and one with other weights."""
    (folder / "broken.onnx").write_bytes(b"no model")
    other = make_tiny_bundle(folder / "other", seed=8).image.rungs[0]
    named = [replace(record, path=str(folder / "other" / record.path)) for record in other.files]
    broken = replace(other, files=(replace(named[0], path=str(folder / "broken.onnx")),))
    rungs = (broken, replace(other, files=tuple(named)), *bundle.image.rungs)
    return replace(bundle, image=replace(bundle.image, rungs=rungs))


def test_both_towers_are_measured_on_several_phones_in_one_go(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    documents, failures = bench_towers(bundle, device(S25, S24))
    assert failures == []
    assert [document["device"]["model"] for document in documents] == [S25, S24]
    stored = tmp_path / "results.json"
    stored.write_text(json.dumps(documents))
    assert json.loads(stored.read_text()) == documents
    assert len(load_documents([stored])) == 2  # no field of theirs is missing, or unknown
    for document in documents:
        assert document["schema"] == "mcad-bench/1"
        assert document["samples_ms"]["text"] == [us / 1000 for us in TIMES_US]
        assert document["latency_ms"]["image"]["p50"] == pytest.approx(0.95)
        times = dict.fromkeys(("image", "text"), len(TIMES_US))
        assert document["conditions"]["iterations"] == times
        assert {name: len(found) for name, found in document["samples_ms"].items()} == times
        assert document["runtime"]["text"]["nodes"] == {"npu": 7, "gpu": 0, "cpu": 0}
        assert document["memory_mib"]["towers"]["text"]["run_peak"] == [20.0, 34.0]
        assert document["ladder"]["text"][0]["cosine_min"] > 0.9999
        # A search was not measured: it has no verdict.
        assert document["targets"]["search"]["pass"] is None
        memory = {"limit_mib": 100.0, "measured_mib": None, "pass": None}
        assert document["targets"]["memory"] == memory
        assert any(item.startswith("A search") for item in document["not_measured"])
    assert documents[0]["device"]["soc"] == "SM8750"
    # Each model and each set of inputs is uploaded once for both phones.
    assert cloud.count("POST", "/models/") == 2 * 2
    assert cloud.count("POST", "/datasets/") == 2


@pytest.mark.parametrize(
    ("runtime", "theirs"),
    [
        ("onnx", "onnx"),
        pytest.param("litert", "tflite", marks=[needs_litert, pytest.mark.slow]),
        ("qnn", "precompiled_qnn_onnx"),
    ],
)
def test_float_model_is_compiled_there_for_each_phone(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, runtime: str, theirs: str
) -> None:
    documents, failures = bench_towers(bundle, device(S25, S24, compile_to=runtime))
    assert failures == []
    compiled = [job.compile_job for job in cloud.jobs.values() if job.HasField("compile_job")]
    assert len(compiled) == 4
    assert {job.options for job in compiled} == {f"--target_runtime {theirs}"}
    assert {job.devices.devices[0].name for job in compiled} == {S25, S24}
    for document in documents:
        for name in ("image", "text"):
            assert document["jobs"][name]["compile"]
            assert document["runtime"][name]["bytes"] is None
            ran = document["ladder"][name][-1]
            assert (ran["runtime"], ran["status"]) == (runtime, "pass")
            assert ran["cosine_min"] > 0.999


def test_failed_job_is_an_error_with_its_reason_and_is_submitted_again(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.fail = {"inference": "Failed to profile: out of device memory"}
    documents, failures = bench_towers(bundle, device(S25, S24))
    assert documents == []
    assert [failure.partition(" fp32: job j")[0] for failure in failures] == [
        f"{phone}, {name} tower: onnx" for phone in (S25, S24) for name in ("image", "text")
    ]
    assert "out of device memory" in failures[0]
    cloud.fail = {}
    assert len(bench_towers(bundle, device())[0]) == 1


def test_failed_compilation_names_the_job(cloud: Cloud, bundle: Bundle, tmp_path: Path) -> None:
    cloud.fail = {"compile": "Unsupported operator Foo"}
    documents, failures = bench_towers(bundle, device(compile_to="qnn"))
    assert documents == []
    assert all("Unsupported operator Foo" in failure for failure in failures)
    assert all(": qnn fp16: job j" in failure for failure in failures)
    assert not any(job.HasField("inference_job") for job in cloud.jobs.values())


def test_wrong_vectors_of_a_phone_count_for_nothing_and_others_are_kept(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.wrong = {S25}
    (document,), failures = bench_towers(bundle, device(S25, S24))
    assert document["device"]["model"] == S24
    assert document["latency_ms"]["text"]["p50"] > 0
    assert len(failures) == 2
    assert all(f.startswith(S25) and "golden-input embeddings" in f for f in failures)


def test_phone_that_jobs_are_refused_for_leaves_the_others(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.refused = {S25}
    for compile_to in (None, "onnx"):
        phones = device(S25, S24, compile_to=compile_to)
        (document,), failures = bench_towers(bundle, phones)
        assert document["device"]["model"] == S24
        assert all(f.startswith(S25) and "not supported on this" in f for f in failures)


@pytest.mark.parametrize(
    ("lost", "message"), [("profile", "has no profile"), ("output", "produced nothing")]
)
def test_results_that_are_not_there_are_told_and_the_job_is_submitted_again(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, lost: str, message: str
) -> None:
    cloud.without = {lost}
    twice = replace(bundle, image=replace(bundle.image, rungs=bundle.image.rungs * 2))
    documents, failures = bench_towers(twice, device())
    assert documents == []
    assert all(message in f and "submitted anew" in f for f in failures)
    assert len(cloud.jobs) == 2  # it says nothing about the rung: the next one is not tried
    cloud.without = set()
    assert len(bench_towers(bundle, device())[0]) == 1
    assert len(cloud.jobs) == 4


def test_rung_whose_job_fails_or_whose_vectors_are_wrong_leads_to_the_next(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    (document,), failures = bench_towers(with_broken_top(bundle, tmp_path), device())
    assert failures == []
    broken, wrong, right = document["ladder"]["image"]
    assert broken["status"] == "skip"
    assert re.search(r"job j\d+ failed: .*protobuf", broken["why"], re.IGNORECASE)
    assert wrong["status"] == "fail"
    assert "golden-input embeddings are wrong" in wrong["why"]
    assert (right["rung"], right["status"]) == (2, "pass")
    assert document["jobs"]["image"]["inference"] in cloud.outputs
    assert document["runtime"]["image"]["bytes"] == bundle.image.rungs[0].bytes
    assert [rung["status"] for rung in document["ladder"]["text"]] == ["pass"]


def test_tower_without_a_rung_that_passes_is_told_beside_the_other_one(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    broken = with_broken_top(bundle, tmp_path)
    image = replace(broken.image, rungs=broken.image.rungs[:2])
    (document,), (failure,) = bench_towers(replace(broken, image=image), device())
    assert list(document["runtime"]) == list(document["latency_ms"]) == ["text"]
    assert f"{S25}, image tower: onnx fp32: job j" in failure
    assert "cosine" in failure


def test_context_binary_of_another_chip_is_skipped_and_told(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    qnn = replace(bundle.text.rungs[0], runtime="qnn", precision="w8a16")
    both = {
        name: replace(bundle.tower(name), rungs=(qnn, bundle.tower(name).rungs[0]))
        for name in ("image", "text")
    }
    made_for = replace(bundle, target=TargetFacts("snapdragon-8-elite", None, None), **both)
    documents, _ = bench_towers(made_for, device(S24))
    skipped, ran = documents[0]["ladder"]["text"]
    assert skipped["status"] == "skip"
    assert "made for SM8750" in skipped["why"]
    assert (ran["runtime"], ran["status"]) == ("onnx", "pass")
    fits = replace(made_for.target, fits=("SM8650",))
    fitting, _ = bench_towers(replace(made_for, target=fits), device(S24))
    assert [rung["runtime"] for rung in fitting[0]["ladder"]["text"]] == ["qnn"]
    forced, _ = bench_towers(made_for, device(S24, force=True))
    assert [rung["runtime"] for rung in forced[0]["ladder"]["text"]] == ["qnn"]
    named, _ = bench_towers(made_for, device(S24), runtime="onnx")
    assert [rung["runtime"] for rung in named[0]["ladder"]["text"]] == ["onnx"]
    with pytest.raises(BenchError, match="no rung of runtime 'litert' of the image tower"):
        measure(made_for, device(S24), Workload(runtime="litert"))
    others = tuple(replace(qnn, runtime=runtime) for runtime in ("neuropilot", "tpu"))
    text = replace(made_for.text, rungs=(*others, bundle.text.rungs[0]))
    documents, _ = bench_towers(replace(made_for, text=text), device(S24))
    *skipped, ran = documents[0]["ladder"]["text"]
    assert ["another vendor's NPU" in rung["why"] for rung in skipped] == [True, True]
    assert ran["status"] == "pass"


def test_phone_that_no_rung_is_for_leaves_the_others(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    only = {
        name: replace(
            bundle.tower(name), rungs=(replace(bundle.tower(name).rungs[0], runtime="qnn"),)
        )
        for name in ("image", "text")
    }
    made_for = replace(bundle, target=TargetFacts("snapdragon-8-elite", None, None), **only)
    (document,), failures = bench_towers(made_for, device(S24, S25))
    assert document["device"]["model"] == S25
    assert len(failures) == 2
    assert all(f.startswith(S24) and "made for SM8750" in f for f in failures)


def test_unknown_phone_lists_those_that_sound_alike(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(AiHubError, match="no device called 'Galaxy S99'") as caught:
        bench_towers(bundle, device("Galaxy S99"))
    assert S24 in caught.value.hint and S25 in caught.value.hint


def test_phone_is_found_by_its_chipset(cloud: Cloud, bundle: Bundle, tmp_path: Path) -> None:
    documents, _ = bench_towers(bundle, device("snapdragon-8gen3", S24))
    assert [document["device"]["model"] for document in documents] == [S24]  # it is one phone
    assert documents[0]["device"]["os"] == "Android 14.1"  # the newer of two


def test_a_profile_of_before_has_one_time_and_no_memory(bundle: Bundle) -> None:
    phone = CloudDevice("Google Pixel 9", "15", "google-tensor-g4")
    summary = {"estimated_inference_time": 1500, "first_load_memory_peak_range": [2**20, 2**22]}
    profile = {"execution_summary": summary, "execution_detail": []}
    towers = {name: Descent(bundle, phone, name, [(0, "")]) for name in TOWERS}
    rung = {"runtime": "litert", "precision": "fp32", "nodes": {}}
    for descent in towers.values():
        descent.measured = Measured(rung, 10, {}, profile)
    document = cloud_document(phone, towers)
    assert document["samples_ms"] == {"image": [1.5], "text": [1.5]}
    assert document["memory_mib"]["towers"]["text"] == {"load_peak": [1.0, 4.0], "run_peak": None}
    assert document["device"]["soc"] == "Tensor_G4"


def test_a_chip_that_is_known_by_two_names_is_called_by_the_more_particular(
    cloud: Cloud,
) -> None:
    found = AiHub().device("snapdragon-8-elite-for-galaxy")
    assert (found.name, found.chipset) == (S25, "snapdragon-8-elite-for-galaxy")
