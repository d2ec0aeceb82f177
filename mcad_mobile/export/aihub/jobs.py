"""Jobs in AI Hub that outlive the command that submitted them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mcad_mobile.base.documents import Record, Word, decode
from mcad_mobile.base.files import write_atomically
from mcad_mobile.base.locks import exclusive_lock
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import AiHubError, AiHubRefused, require
from mcad_mobile.export.aihub.client import AiHub, CloudDevice, Dataset

SCHEMA = "mcad-aihub-jobs/2"

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

    def compile_key(self) -> str:
        where = f"{self.device.name}/{self.device.os}/{self.compile_options}"
        return _digest(self.source_key().encode(), where.encode())

    def inference_key(self) -> str:
        return _digest(self.compile_key().encode(), self.data_key().encode(), b"profile")


class _OnDisk(Record, frozen=True):
    schema: str
    clouds: dict[str, dict[str, Word]]


class Ledger:
    """A file of what was submitted to each cloud, keyed by content. A command that was interrupted
    or met a quota continues from it; commands that run at the same time submit in turn."""

    def __init__(self, path: Path, api_url: str) -> None:
        self.path = path
        self._api_url = api_url
        self._clouds: dict[str, dict[str, str]] = {}
        self._checked_keys: set[str] = set()
        self._is_locked = False
        self._read()

    def submit_once(self, key: str, submit: Callable[[], str], has: Callable[[str], bool]) -> str:
        """Return the id under `key`; submit first if there is none, or AI Hub lost it (`has`)."""
        with self._locked():
            known = self._ids.get(key)
            if known is None or not (key in self._checked_keys or has(known)):
                submitted = submit()
                self._ids[key] = submitted
                self._save()
            self._checked_keys.add(key)
            return self._ids[key]

    def forget(self, key: str, failed: str) -> None:
        """Let the job `failed` be submitted again next time, unless another run did so already."""
        with self._locked():
            if self._ids.get(key) == failed:
                del self._ids[key]
                self._save()

    @property
    def _ids(self) -> dict[str, str]:
        return self._clouds.setdefault(self._api_url, {})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file and read it. May be nested: submitting a job submits what it needs."""
        if self._is_locked:
            yield
            return
        with exclusive_lock(self.path.with_name(f".{self.path.name}.lock")):
            self._is_locked = True
            try:
                self._read()
                yield
            finally:
                self._is_locked = False

    def _read(self) -> None:
        if not self.path.is_file():
            return
        subject = f"{self.path} is no list of AI Hub jobs that this version reads: it"
        hint = "Remove it; the jobs will be submitted again."
        read = decode(self.path.read_bytes(), _OnDisk, subject, AiHubError, hint, schema=SCHEMA)
        self._clouds = read.clouds

    def _save(self) -> None:
        document = {"schema": SCHEMA, "clouds": self._clouds}
        write_atomically(self.path, json.dumps(document, indent=2).encode())


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
    ledger: Ledger
    scratch: Path
    poll_s: float = 10.0
    timeout_s: float = 7200.0
    progress: Progress = silent

    def compile(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Compile each job's model. One that is refused or fails does not stop the others."""
        asking = [job for job in jobs if job.compile_options is not None]
        submitted, failures = self._submit_and_wait(
            {job.compile_key(): partial(self._submit_compile, job) for job in asking}
        )
        outcomes = []
        for key in (job.compile_key() for job in jobs):
            found, failure = submitted.get(key, ""), failures.get(key, "")
            model = self.hub.compiled_model(found) if found and not failure else ""
            outcomes.append(Outcome(compile=found, model=model, failure=failure))
        return outcomes

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Compile, then run each model on its job's data, with a profile."""
        compiled = self.compile(jobs)
        submitted, failures = self._submit_and_wait(
            {
                job.inference_key(): partial(self._submit_inference, job, outcome)
                for job, outcome in zip(jobs, compiled, strict=True)
                if not outcome.failure
            }
        )
        return [
            replace(
                outcome,
                inference=submitted.get(job.inference_key(), ""),
                failure=outcome.failure or failures.get(job.inference_key(), ""),
            )
            for job, outcome in zip(jobs, compiled, strict=True)
        ]

    def _submit_and_wait(
        self, submissions: Mapping[str, Callable[[], str]]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Submit all, then wait; return key -> job id, and key -> why it was refused or failed."""
        submitted, refused = {}, {}
        for key, submit in submissions.items():
            try:
                submitted[key] = submit()
            except AiHubRefused as error:
                refused[key] = error.message
        return submitted, refused | self._wait(submitted)

    def _uploaded(self, job: Job) -> str:
        def upload() -> str:
            self.progress(f"uploading {job.name}")
            return self.hub.upload_model(_stage(job, self.scratch), job.name)

        return self.ledger.submit_once(job.source_key(), upload, self.hub.has_model)

    def _submit_compile(self, job: Job) -> str:
        def submit() -> str:
            model = self._uploaded(job)
            self.progress(f"compiling {job.name} for {job.device.name}")
            return self.hub.submit_compile(model, job.device, job.compile_options or "", job.name)

        return self.ledger.submit_once(job.compile_key(), submit, self.hub.has_job)

    def _submit_inference(self, job: Job, compiled: Outcome) -> str:
        def upload() -> str:
            return self.hub.upload_dataset(job.data, f"{job.name} inputs")

        def submit() -> str:
            model = compiled.model or self._uploaded(job)
            dataset = self.ledger.submit_once(job.data_key(), upload, self.hub.has_dataset)
            self.progress(f"running {job.name} on {job.device.name}")
            return self.hub.submit_inference(model, job.device, dataset, job.name)

        return self.ledger.submit_once(job.inference_key(), submit, self.hub.has_job)

    def _wait(self, submitted: Mapping[str, str]) -> dict[str, str]:
        """Wait until every job has ended; return key -> why it failed. AiHubError on timeout."""
        failures: dict[str, str] = {}
        waiting = dict(submitted)
        deadline = time.monotonic() + self.timeout_s
        while waiting:
            for key, job in list(waiting.items()):
                state = self.hub.state(job)
                self.progress(f"job {job}: {state.code.lower().replace('_', ' ')}")
                if state.finished:
                    del waiting[key]
                if state.finished and not state.success:
                    self.ledger.forget(key, job)
                    failures[key] = f"job {job} failed: {state.message or 'it does not say why'}"
            if waiting and time.monotonic() > deadline:
                raise AiHubError(
                    f"AI Hub did not finish {', '.join(waiting.values())} in {self.timeout_s:.0f} "
                    "s.",
                    "Run the same command again: it waits for the same jobs.",
                )
            if waiting:
                time.sleep(self.poll_s)
        return failures


def _stage(job: Job, scratch: Path) -> Path:
    """Return a single file as it is, or a folder with a fixed-shape ONNX model and its weights."""
    if len(job.files) == 1:
        return job.files[0]
    folder = scratch / f"{job.source_key()[:16]}.onnx"
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(job.files):
        place = folder / file.name
        if place.exists():
            continue
        if number == 0:
            place.write_bytes(_with_fixed_shapes(file, job.data))
        else:
            place.symlink_to(file.resolve())
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
