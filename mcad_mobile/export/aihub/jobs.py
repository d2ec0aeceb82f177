"""Jobs in AI Hub that outlive the command that submitted them: a job's name says what is in it, so
a command that was interrupted or met a quota goes on with the jobs that AI Hub has."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import AiHubError, AiHubRefused, require
from mcad_mobile.export.aihub.client import AiHub, CloudDevice, Dataset

# Our runtime -> AI Hub's name for it. A precompiled QNN ONNX is an EPContext model and its context
# binary, as onnxruntime-qnn writes them here.
TARGET_RUNTIMES = {"qnn": "precompiled_qnn_onnx", "litert": "tflite", "onnx": "onnx"}


@dataclass(frozen=True)
class Job:
    """A model, the first of `files`, on a device; not compiled if `compile_options` is None."""

    name: str
    device: CloudDevice
    files: tuple[Path, ...]
    data: Dataset = field(default_factory=dict)
    compile_options: str | None = None

    def source_key(self) -> str:
        return _digest(*(file.name.encode() + file.read_bytes() for file in self.files))

    def data_key(self) -> str:
        parts = [name.encode() + x.tobytes() for name, value in self.data.items() for x in value]
        return _digest(*parts)

    def compile_name(self) -> str:
        """The name of the job that compiles it."""
        return f"{self.name} {self._compile_key()[:16]}"

    def inference_name(self) -> str:
        """The name of the job that runs it."""
        key = _digest(self._compile_key().encode(), self.data_key().encode(), b"profile")
        return f"{self.name} {key[:16]}"

    def _compile_key(self) -> str:
        where = f"{self.device.name}/{self.device.os}/{self.compile_options}"
        return _digest(self.source_key().encode(), where.encode())


@dataclass(frozen=True)
class Outcome:
    """The ids of the jobs and of the compiled model, and why a job failed ("" if none did)."""

    inference: str = ""
    compile: str = ""
    model: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Runner:
    """Submits jobs to all devices at once, and asks every `poll_s` seconds how they are."""

    hub: AiHub
    poll_s: float = 10.0
    timeout_s: float = 7200.0
    progress: Progress = silent
    _uploads: dict[str, str] = field(default_factory=dict)

    def compile(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Compile each job's model. One that is refused or fails does not stop the others."""
        asking = [job for job in jobs if job.compile_options is not None]
        ended = self._submit_and_wait(
            {job.compile_name(): partial(self._submit_compile, job) for job in asking}
        )
        outcomes = []
        for job in jobs:
            found, failure = ended.get(job.compile_name(), ("", ""))
            model = self.hub.compiled_model(found) if found and not failure else ""
            outcomes.append(Outcome(compile=found, model=model, failure=failure))
        return outcomes

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Compile, then run each model on its job's data, with a profile."""
        outcomes = self.compile(jobs)
        ended = self._submit_and_wait(
            {
                job.inference_name(): partial(self._submit_inference, job, outcome.model)
                for job, outcome in zip(jobs, outcomes, strict=True)
                if not outcome.failure
            }
        )
        return [
            replace(outcome, inference=found, failure=outcome.failure or failure)
            for job, outcome in zip(jobs, outcomes, strict=True)
            for found, failure in [ended.get(job.inference_name(), ("", ""))]
        ]

    def _submit_and_wait(
        self, submissions: Mapping[str, Callable[[str], str]]
    ) -> dict[str, tuple[str, str]]:
        """Submit what AI Hub has no job for by its name, then wait until every job has ended;
        return name -> job id, and why it was refused or failed, or "". AiHubError on timeout."""
        ended: dict[str, tuple[str, str]] = {}
        waiting: dict[str, str] = {}
        for name, submit in submissions.items():
            try:
                waiting[name] = self.hub.find_job(name) or submit(name)
            except AiHubRefused as error:
                ended[name] = ("", error.message)
        deadline = time.monotonic() + self.timeout_s
        while True:
            for name, job in list(waiting.items()):
                state = self.hub.state(job)
                self.progress(f"job {job}: {state.code.lower().replace('_', ' ')}")
                if state.finished:
                    del waiting[name]
                    why = f"job {job} failed: {state.message or 'it does not say why'}"
                    ended[name] = (job, "" if state.success else why)
            if not waiting:
                return ended
            if time.monotonic() > deadline:
                raise AiHubError(
                    f"AI Hub did not finish {', '.join(waiting.values())} in {self.timeout_s:.0f} "
                    "s.",
                    "Run the same command again: it waits for the same jobs.",
                )
            time.sleep(self.poll_s)

    def _submit_compile(self, job: Job, name: str) -> str:
        model = self._uploaded_model(job)
        self.progress(f"compiling {job.name} for {job.device.name}")
        return self.hub.submit_compile(model, job.device, job.compile_options or "", name)

    def _submit_inference(self, job: Job, compiled: str, name: str) -> str:
        model, key = compiled or self._uploaded_model(job), job.data_key()
        if key not in self._uploads:
            self._uploads[key] = self.hub.upload_dataset(job.data, f"{job.name} inputs")
        self.progress(f"running {job.name} on {job.device.name}")
        return self.hub.submit_inference(model, job.device, self._uploads[key], name)

    def _uploaded_model(self, job: Job) -> str:
        key = job.source_key()
        if key not in self._uploads:
            self.progress(f"uploading {job.name}")
            with tempfile.TemporaryDirectory(prefix="mcad-aihub-") as scratch:
                staged = _stage(job, Path(scratch))
                self._uploads[key] = self.hub.upload_model(staged, job.name)
        return self._uploads[key]


def _stage(job: Job, scratch: Path) -> Path:
    """Return a single file as it is, or a folder with a fixed-shape ONNX model and its weights."""
    model, *weights = job.files
    if not weights:
        return model
    folder = scratch / f"{job.source_key()[:16]}.onnx"
    folder.mkdir()
    (folder / model.name).write_bytes(_with_fixed_shapes(model, job.data))
    for file in weights:
        (folder / file.name).symlink_to(file.resolve())
    return folder


def _with_fixed_shapes(model: Path, data: Dataset) -> bytes:
    onnx = require("onnx", "aihub")
    from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

    loaded = onnx.load(model, load_external_data=False)
    open_sizes = {
        dim.dim_param: size
        for taken in loaded.graph.input
        for value in data.get(taken.name, [])[:1]
        for size, dim in zip(value.shape, taken.type.tensor_type.shape.dim, strict=True)
        if dim.dim_param
    }
    if not open_sizes:
        return model.read_bytes()
    for name, size in open_sizes.items():
        make_dim_param_fixed(loaded.graph, name, size)
    fixed: bytes = loaded.SerializeToString()
    return fixed


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def describe(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return what would be submitted, for a dry run, without a request to AI Hub."""
    uploads: dict[str, dict[str, Any]] = {}
    for job in jobs:
        size = sum(file.stat().st_size for file in job.files)
        upload = {"job": "upload", "model": job.name, "bytes": size}
        uploads.setdefault(job.source_key(), upload)
    places = [{"model": job.name, "device": job.device.name} for job in jobs]
    compiles = [
        {"job": "compile", **place, "options": job.compile_options}
        for job, place in zip(jobs, places, strict=True)
        if job.compile_options is not None
    ]
    runs = [
        {"job": "inference with profile", **place, "inputs": len(next(iter(job.data.values()), ()))}
        for job, place in zip(jobs, places, strict=True)
    ]
    return [*uploads.values(), *compiles, *runs]
