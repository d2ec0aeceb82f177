"""A fake cloud with the protobuf API of Qualcomm's real client, on loopback.

Written from the client's behaviour (qai_hub 0.56: public_rest_api.py, api_utils.py). Models really
run: ONNX on onnxruntime, EPContext models on the HTP simulator, .tflite on LiteRT. Only the
profile's times and memory are made up.
"""

from __future__ import annotations

import io
import itertools
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import h5py
import numpy as np
from qai_hub import public_api_pb2 as pb
from qai_hub.util.dataset_entries_converters import dataset_entries_to_h5, h5_to_dataset_entries

from mcad_mobile.bench.devices.aihub import AiHubDevice
from tests.bench.devices.aihub_compilers import compiled, run_model

S25, S24 = "Samsung Galaxy S25", "Samsung Galaxy S24"
TOKEN = "tok-3fd2c0ffee-secret"
DEVICES = (
    (S24, "14.1", "qualcomm-snapdragon-8gen3"),
    (S24, "14", "qualcomm-snapdragon-8gen3"),
    (S25, "15", "qualcomm-snapdragon-8-elite-for-galaxy"),
    ("Google Pixel 9", "15", "google-tensor-g4"),
)
TIMES_US = [900 + 10 * (n % 11) for n in range(100)]
MIB = 2**20
_ANSWERS_WITHIN_S = 10.0  # longer jobs continue: the client gives up after 28
DONE, FAILED, RUNNING = pb.JOB_STATE_DONE, pb.JOB_STATE_FAILED, pb.JOB_STATE_RUNNING_INFERENCE


def device(*names: str, **more: object) -> AiHubDevice:
    return AiHubDevice(**{"names": names or (S25,), "poll_s": 0.0, **more})


class Cloud:
    """`quota`: jobs accepted before it answers 429. `running`: how often a job must be polled until
    it is done. `fail`: the failure of jobs by kind ("compile", "inference"); `wrong`: phones that
    give wrong embeddings; `refused`: phones that it takes no jobs for; `without`: what results of
    new jobs lack ("profile", "output"); `expired`: ids of datasets. `archive`: the file of every
    compiled model. `locked`: it refuses every request and quotes the token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.quota = 1000
        self.running = 0
        self.fail: dict[str, str] = {}
        self.wrong: set[str] = set()
        self.refused: set[str] = set()
        self.without: set[str] = set()
        self.expired: set[str] = set()
        self.archive: bytes | None = None
        self.locked = False
        self.compute_units = ["NPU"] * 7
        self.jobs: dict[str, pb.Job] = {}
        self.lacking: dict[str, set[str]] = {}
        self.models: dict[str, pb.Model] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.outputs: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        self.log: list[tuple[str, str]] = []
        self.leaks: list[str] = []
        self.numbers = itertools.count()
        self.lock = threading.RLock()
        self.compiler = threading.Lock()  # torch.export keeps process-wide state
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def configure(self, path: Path, token: str = TOKEN) -> Path:
        """Write the client's own configuration file."""
        path.write_text(
            f"[api]\napi_url = {self.url}\nweb_url = {self.url}\napi_token = {token}\n"
            "verbose = True\n"
        )
        return path

    def count(self, method: str, part: str) -> int:
        return sum(m == method and part in path for m, path in self.log)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=30)

    # The routes, each returning (status, message or None, or bytes)

    def devices(self, query: dict[str, list[str]]) -> pb.DeviceList:
        name, version = (query.get(key, [""])[0] for key in ("name", "os"))
        listed = pb.DeviceList()
        for device, os, chip in DEVICES:
            if name in ("", device) and version in ("", os):
                plain = chip.removesuffix("-for-galaxy")
                attributes = [f"chipset:{plain}", f"chipset:{chip}", "os:android", "format:phone"]
                attributes += [f"framework:{f}" for f in ("onnx", "tflite", "qnn")]
                listed.devices.add(name=device, os=os, attributes=attributes)
        return listed

    def new(self, prefix: str) -> str:
        """Return an id unique among clouds."""
        return f"{prefix}{self.server.server_port}{next(self.numbers):04d}"

    def create_job(self, asked: pb.Job) -> tuple[int, Any]:
        if len(self.jobs) >= self.quota:
            return 429, b"You have too many jobs in flight."
        kind = asked.WhichOneof("job").removesuffix("_job")
        job_id = self.new("j")
        job = getattr(asked, f"{kind}_job")
        setattr(job, f"{kind}_job_id", job_id)
        job.model.CopyFrom(self.models[job.model.model_id])
        job.job_state = DONE
        if kind == "compile":
            job.device.CopyFrom(job.devices.devices[0])
        if job.device.name in self.refused:
            return 400, b"This model is not supported on this device."
        if kind in self.fail:
            job.job_state, job.failure_reason = FAILED, self.fail[kind]
        else:
            job.job_state = RUNNING
            worker = threading.Thread(target=self.try_to_run, args=(kind, job_id, job))
            worker.start()
            worker.join(_ANSWERS_WITHIN_S)
        self.jobs[job_id] = asked
        self.lacking[job_id] = set(self.without)
        return 200, pb.CreateUpdateResponse(id=job_id)

    def compile(self, job: pb.CompileJob) -> None:
        model_id = self.new("m")
        name, content = self.files[job.model.model_id]
        chip = next(chip for known, _, chip in DEVICES if known == job.device.name)
        target = chip.removeprefix("qualcomm-").removesuffix("-for-galaxy")
        if self.archive is None:
            name, content = compiled(self.folder / model_id, name, content, job.options, target)
        else:
            name, content = f"{model_id}.onnx.zip", self.archive
        self.files[model_id] = (name, content)
        made = pb.Model(model_id=model_id, name=name, model_type=job.model.model_type)
        self.models[model_id] = made
        job.target_model.CopyFrom(made)

    def try_to_run(self, kind: str, job_id: str, job: Any) -> None:
        try:
            if kind == "compile":
                with self.compiler:
                    self.compile(job)
            else:
                self.infer(job_id, job)
        except Exception as error:  # any error of the runtime
            job.failure_reason = str(error)
            job.job_state = FAILED
        else:
            job.job_state = DONE

    def infer(self, job_id: str, job: pb.InferenceJob) -> None:
        name, content = self.files[job.model.model_id]
        _, data = self.files[job.dataset.dataset_id]
        with h5py.File(io.BytesIO(data), "r") as read:
            entries = h5_to_dataset_entries(read)
        output, rows = run_model(self.folder / job_id, name, content, entries)
        if job.device.name in self.wrong:
            rows = [np.roll(row, 1, axis=-1) for row in rows]
        out = io.BytesIO()
        with h5py.File(out, "w") as written:
            dataset_entries_to_h5({output: rows}, written)
        dataset_id = self.new("d")
        self.files[dataset_id] = ("outputs.h5", out.getvalue())
        self.outputs[job_id] = dataset_id

    def job(self, job_id: str) -> pb.Job | None:
        found = self.jobs.get(job_id)
        self.asked[job_id] = self.asked.get(job_id, 0) + 1
        if found is None or self.asked[job_id] > self.running:
            return found
        busy = pb.Job()
        busy.CopyFrom(found)
        getattr(busy, busy.WhichOneof("job")).job_state = RUNNING
        return busy

    def job_summaries(self) -> pb.JobSummaryList:
        listed = pb.JobSummaryList()
        for job_id, job in reversed(self.jobs.items()):
            kind = job.WhichOneof("job")
            about = getattr(job, kind)
            getattr(listed.job_summaries.add(), f"{kind}_summary").CopyFrom(
                type(getattr(pb.JobSummary(), f"{kind}_summary"))(
                    job_id=job_id, name=about.name, job_state=about.job_state
                )
            )
        return listed

    def result(self, job_id: str) -> pb.JobResult:
        detail = pb.ProfileDetail(major_version=1, minor_version=2, execution_time=900)
        detail.all_execution_times.extend(TIMES_US)
        detail.execution_memory.peak.lower, detail.execution_memory.peak.upper = 20 * MIB, 34 * MIB
        detail.cold_load_memory.peak.lower, detail.cold_load_memory.peak.upper = 40 * MIB, 45 * MIB
        for number, unit in enumerate(self.compute_units):
            compute = pb.ComputeUnit.Value(f"COMPUTE_UNIT_{unit}")
            detail.layer_details.add(name=f"layer{number}", compute_unit=compute)
        found = pb.InferenceJobResult(inference_job_id=job_id)
        if "output" not in self.lacking[job_id]:
            found.output_dataset_id = self.outputs[job_id]
        wanted = self.jobs[job_id].inference_job.is_profiling_on
        if wanted and "profile" not in self.lacking[job_id]:
            found.detail.CopyFrom(detail)
        return pb.JobResult(inference_job_result=found)


def _handler(cloud: Cloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, status: int, body: Any = b"", **headers: str) -> None:
            content = body if isinstance(body, bytes) else body.SerializeToString()
            self.send_response(status)
            kind = "text/plain" if isinstance(body, bytes) else "application/x-protobuf"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def handle_any(self) -> None:
            body = self._body()
            url = urlparse(self.path)
            cloud.log.append((self.command, url.path))
            if TOKEN.encode() in body or TOKEN in self.path:
                cloud.leaks.append(self.path)
            parts = [part for part in url.path.split("/") if part]
            if parts[0] == "files":
                self._file(parts[1:], body)
            elif (given := self.headers.get("Authorization")) != f"token {TOKEN}":
                self._answer(401, b"")
            elif cloud.locked:
                self._answer(403, f"The account of {given!r} is locked.".encode())
            else:
                with cloud.lock:
                    self._api(self.command, parts[2:], parse_qs(url.query), body)

        do_GET = do_POST = do_PUT = do_PATCH = handle_any

        def _file(self, parts: list[str], body: bytes) -> None:
            name = cloud.files.get(parts[-1], ("", b""))[0]
            if self.command == "GET":
                self._answer(200, cloud.files[parts[-1]][1])
            elif self.command == "PUT":
                cloud.files[parts[-1]] = (name, body)
                self._answer(200, b"", ETag='"etag-1"')
            else:
                cloud.files[parts[-1]] = (name, _form_file(self.headers["Content-Type"], body))
                self._answer(204)

        def _api(self, method: str, parts: list[str], query: Any, body: bytes) -> None:
            match method, parts:
                case "GET", ["devices"]:
                    self._answer(200, cloud.devices(query))
                case "POST", ["models"]:
                    model = pb.Model.FromString(body)
                    model.model_id = cloud.new("m")
                    cloud.models[model.model_id] = model
                    suffix = ".zip" if model.is_directory else ""
                    cloud.files[model.model_id] = (model.name + suffix, b"")
                    self._answer(200, pb.CreateUpdateResponse(id=model.model_id))
                case "GET", ["models", model_id, "multipart_upload"]:
                    where = pb.FileMultipartUploadURL(upload_id="u1", max_part_size=2**32)
                    where.urls.append(f"{cloud.url}/files/{model_id}")
                    self._answer(200, pb.FileUploadResponse(multipart_url=where))
                case "POST", ["models", model_id, "multipart_upload"]:
                    complete = pb.FileMultipartUploadComplete.FromString(body)
                    assert list(complete.etags) == ['"etag-1"']
                    self._answer(200, pb.CreateUpdateResponse(id=model_id))
                case "GET", ["models", model_id]:
                    found = cloud.models.get(model_id)
                    self._answer(404) if found is None else self._answer(200, found)
                case "GET", ["models" | "datasets", file_id, "download" | "download_data"]:
                    where = pb.FileDownloadURL(
                        url=f"{cloud.url}/files/{file_id}", filename=cloud.files[file_id][0]
                    )
                    self._answer(200, pb.FileDownloadResponse(url=where))
                case "POST", ["datasets"]:
                    dataset_id = cloud.new("d")
                    cloud.files[dataset_id] = ("inputs.h5", b"")
                    self._answer(200, pb.CreateUpdateResponse(id=dataset_id))
                case "GET", ["datasets", dataset_id, "upload_url"]:
                    where = pb.FileUploadURL(
                        url=f"{cloud.url}/files/{dataset_id}", file_field_name="file"
                    )
                    where.fields["key"] = dataset_id
                    self._answer(200, pb.FileUploadResponse(url=where))
                case "PATCH", ["datasets", dataset_id]:
                    self._answer(200, pb.CreateUpdateResponse(id=dataset_id))
                case "GET", ["datasets", dataset_id]:
                    if dataset_id not in cloud.files:
                        self._answer(404)
                        return
                    found = pb.Dataset(dataset_id=dataset_id, permanent=True)
                    if dataset_id in cloud.expired:
                        found.permanent, found.expiration_time.seconds = False, 1
                    self._answer(200, found)
                case "POST", ["jobs"]:
                    self._answer(*cloud.create_job(pb.Job.FromString(body)))
                case "GET", ["job_summaries"]:
                    self._answer(200, cloud.job_summaries())
                case "GET", ["jobs", job_id]:
                    job = cloud.job(job_id)
                    self._answer(404) if job is None else self._answer(200, job)
                case "GET", ["jobs", job_id, "result"]:
                    self._answer(200, cloud.result(job_id))
                case _:
                    self._answer(404, f"no route {method} {parts}".encode())

    return Handler


def _form_file(content_type: str, body: bytes) -> bytes:
    """Return the part "file" of a multipart form."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    for part in BytesParser().parsebytes(head + body).get_payload():
        if part.get_param("name", header="content-disposition") == "file":
            content: bytes = part.get_payload(decode=True)
            return content
    raise ValueError("the form has no file")
