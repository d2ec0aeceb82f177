"""Jobs in Qualcomm AI Hub from one command to the next, and the account that they run on."""

from __future__ import annotations

import io
import json
import socket
import traceback
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from mcad_mobile.bench.measurement import bench_towers
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import AiHubError
from mcad_mobile.export.aihub import AiHub, CloudDevice, Dataset, Job, Runner
from tests.bench.devices.aihub_cloud import S25, TOKEN, Cloud, device


def golden_pixels(bundle: Bundle) -> Dataset:
    pixels = np.load(bundle.path(bundle.image.golden.inputs["pixels"]))
    return {"pixels": [sample[None] for sample in pixels]}


def test_second_run_goes_on_with_the_jobs_of_the_first(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    first, _ = bench_towers(bundle, device())
    jobs, uploads = len(cloud.jobs), cloud.count("PUT", "/files/")
    second, _ = bench_towers(bundle, device())
    assert (len(cloud.jobs), cloud.count("PUT", "/files/")) == (jobs, uploads)
    assert second[0]["jobs"] == first[0]["jobs"]
    assert second[0]["latency_ms"] == first[0]["latency_ms"]


def test_what_the_cloud_no_longer_knows_is_submitted_once_more(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    def submitted() -> tuple[int, int, int]:
        routes = ("/models/", "/datasets/", "/jobs/")
        return tuple(cloud.log.count(("POST", f"/api/v1{route}")) for route in routes)

    bench_towers(bundle, device())
    assert submitted() == (2, 2, 2)
    cloud.jobs.clear()
    assert len(bench_towers(bundle, device())[0]) == 1
    assert submitted() == (4, 4, 4)
    # An uploaded dataset expires after 30 days, and so do the outputs of a job.
    cloud.expired = {name for name in cloud.files if name.startswith("d")}
    assert len(bench_towers(bundle, device())[0]) == 1
    assert submitted() == (6, 6, 6)
    for lost in (cloud.jobs, cloud.models, cloud.files):
        lost.clear()
    assert len(bench_towers(bundle, device())[0]) == 1
    assert submitted() == (8, 8, 8)
    assert len(bench_towers(bundle, device())[0]) == 1
    assert submitted() == (8, 8, 8)


@pytest.mark.parametrize(
    ("data", "shape"), [({"x": [np.zeros((1, 7), np.float32)]}, [1, 7]), ({}, [1, "tokens"])]
)
def test_model_of_any_length_is_uploaded_with_the_shape_of_its_inputs_if_it_has_some(
    cloud: Cloud, tmp_path: Path, data: Dataset, shape: list[int | str]
) -> None:
    graph = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17]>
        agraph (float[1, tokens] x) => (float[1, tokens] y) { y = Relu(x) }"""
    )
    files = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    onnx.save(graph, files[0])
    files[1].write_bytes(b"weights")
    hub = AiHub()
    job = Job("m", hub.device(S25), files, data, "--target_runtime onnx")
    Runner(hub).compile([job])
    with zipfile.ZipFile(io.BytesIO(cloud.files[next(iter(cloud.models))][1])) as archive:
        by_name = {Path(name).name: archive.read(name) for name in archive.namelist()}
    uploaded = onnx.load_from_string(by_name["m.onnx"])
    for value in (*uploaded.graph.input, *uploaded.graph.output):
        sizes = value.type.tensor_type.shape.dim
        assert [size.dim_param or size.dim_value for size in sizes] == shape
    assert by_name["m.onnx.data"] == b"weights"


def test_compiled_model_that_was_removed_is_compiled_again(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    phone = device(compile_to="onnx")
    first, _ = bench_towers(bundle, phone)
    made = cloud.jobs[first[0]["jobs"]["text"]["compile"]].compile_job.target_model.model_id
    del cloud.models[made]
    second, failures = bench_towers(bundle, phone)
    assert failures == []
    assert second[0]["jobs"]["text"]["compile"] != first[0]["jobs"]["text"]["compile"]
    assert second[0]["jobs"]["image"] == first[0]["jobs"]["image"]


def test_quota_is_told_and_the_rest_is_submitted_later(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.quota = 1
    with pytest.raises(AiHubError, match=r"quota is used up(.|\n)*too many jobs in flight"):
        bench_towers(bundle, device())
    assert len(cloud.jobs) == 1
    cloud.quota = 1000
    documents, _ = bench_towers(bundle, device())
    assert len(cloud.jobs) == 2
    assert documents[0]["latency_ms"]["text"]["p50"] > 0


def test_jobs_that_take_their_time_are_waited_for(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.running = 3
    heard: list[str] = []
    documents, _ = bench_towers(bundle, device(), progress=heard.append)
    assert len(documents) == 1
    assert any("running inference" in line for line in heard)


def tiny_job(bundle: Bundle) -> Job:
    phone = AiHub().device(S25)
    return Job("tiny", phone, (bundle.directory / "image.onnx",), golden_pixels(bundle))


def runner_that_never_waits() -> Runner:
    return Runner(AiHub(), poll_s=0.0, timeout_s=0.0)


def test_jobs_that_never_end_are_given_up_and_waited_for_by_a_later_command(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.running = 10**6
    job = tiny_job(bundle)
    for _ in range(2):
        with pytest.raises(AiHubError, match=r"did not finish j\d+ in 0 s"):
            runner_that_never_waits().run([job])
    cloud.running = 0
    (outcome,) = runner_that_never_waits().run([job])
    assert outcome.failure == ""
    assert len(cloud.jobs) == 1


def test_unreachable_cloud_is_told(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        cloud.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(cloud.configure(tmp_path / "nobody.ini")))
    monkeypatch.setattr("qai_hub.util.session.BACKOFF_FACTOR", 0.0)
    with pytest.raises(AiHubError, match="could not list its devices") as caught:
        bench_towers(bundle, device())
    assert "again later" in caught.value.hint


def test_bad_token_says_how_to_set_one_and_never_shows_it(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "another-secret-token"
    ini = cloud.configure(tmp_path / "bad.ini", token=secret)
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(ini))
    with pytest.raises(AiHubError, match="would not list its devices") as caught:
        bench_towers(bundle, device())
    assert "qai-hub configure" in caught.value.hint
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_a_refusal_that_quotes_the_token_is_told_without_it(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.locked = True
    with pytest.raises(AiHubError, match=r"The account of 'token \[token\]' is locked") as caught:
        bench_towers(bundle, device())
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_without_a_configuration_the_error_says_how_to_make_one(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(tmp_path / "none.ini"))
    with pytest.raises(AiHubError, match=r"not configured here: .*none\.ini is missing"):
        bench_towers(bundle, device())


@pytest.mark.parametrize(
    "content",
    [
        f"[api]\napi_url = http://x\nweb_url = http://x\napi_token {TOKEN}\n",
        f"api_token = {TOKEN}\n",
        f"[api]\napi_token = {TOKEN}\n[api]\napi_token = {TOKEN}\n",
        f"[api]\napi_url = http://x\nweb_url = http://x\napi_token = %{TOKEN}\n",
        f"[api]\napi_url = http://x\nweb_url = http://x\napi_token = x\nverbose = {TOKEN}\n",
        "[api]\napi_url = http://x\nweb_url = http://x\napi_token =\n",
    ],
    ids=["no equals sign", "no section", "section twice", "percent sign", "moved", "empty"],
)
def test_damaged_configuration_is_named_and_not_quoted(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "bad.ini").write_text(content)
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(tmp_path / "bad.ini"))
    with pytest.raises(AiHubError, match=r"not configured here: .*bad\.ini is") as caught:
        bench_towers(bundle, device())
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_token_is_in_no_result_and_no_url(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    documents, _ = bench_towers(bundle, device())
    printed = capfd.readouterr()
    assert TOKEN not in json.dumps(documents) + printed.out + printed.err
    assert cloud.leaks == []
    assert printed.out == ""


def test_what_a_job_is_made_of_is_in_its_key(tmp_path: Path) -> None:
    def file(folder: str, name: str, content: bytes) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    model, weights = file("a", "m.onnx", b"model"), file("a", "m.data", b"weights")
    phone = CloudDevice("Galaxy", "15")
    ones = {"x": [np.ones((1, 2), np.float32)]}
    job = Job("image", phone, (model, weights), ones, "--target_runtime onnx")
    again = (file("b", "m.onnx", b"model"), file("b", "m.data", b"weights"))
    same = replace(job, files=again, data={"x": [np.ones((1, 2), np.float32)]})
    assert (same.compile_name(), same.inference_name()) == (
        job.compile_name(),
        job.inference_name(),
    )
    compiled_otherwise = [
        replace(job, device=CloudDevice("Pixel", "15")),
        replace(job, device=CloudDevice("Galaxy", "16")),
        replace(job, compile_options="--target_runtime tflite"),
        replace(job, files=(model,)),
        replace(job, files=(model, file("c", "m.data", b"Weights"))),
        replace(job, files=(model, file("d", "n.data", b"weights"))),
    ]
    run_otherwise = [
        replace(job, data={"y": ones["x"]}),
        replace(job, data={"x": [2 * ones["x"][0]]}),
        replace(job, data={"x": ones["x"] * 2}),
    ]
    compile_keys = {job.compile_name() for job in (job, *compiled_otherwise)}
    assert len(compile_keys) == 1 + len(compiled_otherwise)
    assert {job.compile_name() for job in run_otherwise} == {job.compile_name()}
    every = (job, *compiled_otherwise, *run_otherwise)
    assert len({job.inference_name() for job in every}) == len(every)
