"""Phones in Qualcomm AI Hub, used through Qualcomm's own client, and jobs there that outlive the
command that submitted them: a job's name says what is in it, so a command that was interrupted or
met a quota goes on with the jobs that AI Hub has. The token stays in the client's configuration; it
is read here only to keep it out of messages."""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import io
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.errors import AiHubError, AiHubRefused, TargetError, require
from mcad_mobile.targets import Target, find_target

Dataset = Mapping[str, Sequence[NDArray[Any]]]  # input or output -> one array per sample

_CHIPSET = "chipset:qualcomm-"
# Suffixes of the names that a chip is also sold under; the silicon is the same.
_SOLD_AS = ("-for-galaxy", "-leading-version", "-proxy")
_RECENT_JOBS = 100  # of an account, among which a job is looked for
_SUBMITTED_AGAIN = "Run the same command again: the job is submitted anew."


@dataclass(frozen=True)
class CloudDevice:
    """A phone in AI Hub. `chipset` is AI Hub's name ("snapdragon-8-elite"), or ""."""

    name: str
    os: str = ""
    chipset: str = ""

    @property
    def target(self) -> Target | None:
        """The phone's chip in our table, or None."""
        chip = self.chipset
        for suffix in _SOLD_AS:
            chip = chip.removesuffix(suffix)
        try:
            return find_target(chip) if chip else None
        except TargetError:
            return None


class AiHub:
    """A session with the cloud at `api_url`; AiHubRefused means that a retry will not help."""

    def __init__(self) -> None:
        self._hub = require("qai_hub", "aihub")
        self._client = self._hub.Client()
        path = self._hub.client.api_utils.get_config_path()
        config = None
        # A parser's error quotes the line that it failed on, and with it the token: neither its
        # text nor the error itself, as a cause, may get into ours.
        with contextlib.suppress(self._hub.client.Error, OSError, ValueError, configparser.Error):
            config = self._client.config
        if config is None or not config.api_token:
            raise AiHubError(
                f"AI Hub is not configured here: {path} is missing, incomplete or damaged.",
                "Sign up at aihub.qualcomm.com, then: qai-hub configure --api_token TOKEN",
            )
        self.api_url = str(config.api_url)
        self._token = config.api_token
        config.verbose = False

    def device(self, name: str) -> CloudDevice:
        """Return the device of exactly this name, or the newest with this chipset."""
        every = self._devices()
        found = [device for device in every if name in (device.name, device.chipset)]
        if not found:
            words = name.casefold().split()
            near = sorted({d.name for d in every if any(w in d.name.casefold() for w in words)})
            raise AiHubError(
                f"AI Hub has no device called {name!r}.",
                f"It has: {', '.join(near[:8])}." if near else "`qai-hub list-devices` lists them.",
            )
        return max(found, key=_os_version)

    def device_with(self, target: Target) -> CloudDevice:
        """Return the newest phone with a chip of our table."""
        found = [device for device in self._devices() if device.target == target]
        if not found:
            raise AiHubError(
                f"AI Hub has no phone with {target.id} ({target.chip}).",
                "`qai-hub list-devices` lists what it has; or compile here.",
            )
        return max(found, key=_os_version)

    def _devices(self) -> list[CloudDevice]:
        with self._calling("list its devices"):
            return [CloudDevice(d.name, d.os, _chipset(d)) for d in self._client.get_devices()]

    def upload_model(self, path: Path, name: str) -> str:
        """Return the id of a model file, or of a folder with an ONNX model and its weights."""
        with self._calling(f"take {name}"):
            return str(self._client.upload_model(str(path), name=name).model_id)

    def upload_dataset(self, data: Dataset, name: str) -> str:
        entries = {key: [np.ascontiguousarray(x) for x in value] for key, value in data.items()}
        with self._calling(f"take {name}"):
            return str(self._client.upload_dataset(entries, name=name).dataset_id)

    def submit_compile(self, model: str, device: CloudDevice, options: str, name: str) -> str:
        """Submit a job with AI Hub's own compile options, and return its id."""
        with self._calling(f"compile {name} for {device.name}"):
            source = self._client.get_model(model)
            job = self._client.submit_compile_job(
                source, self._device(device), name=name, options=options, retry=False
            )
            return str(job.job_id)

    def submit_inference(self, model: str, device: CloudDevice, dataset: str, name: str) -> str:
        """Run a model on a dataset and profile it, which is one job since client 0.56."""
        with self._calling(f"run {name} on {device.name}"):
            job = self._client.submit_inference_job(
                self._client.get_model(model),
                self._device(device),
                inputs=self._client.get_dataset(dataset),
                name=name,
                profile=True,
                retry=False,
            )
            return str(job.job_id)

    def find_job(self, name: str) -> str:
        """Return the newest job of this name that has not failed and, if it succeeded, has all its
        results; "" if there is none. Files are removed by their owner, or 30 days after a job."""
        with self._calling("list its jobs"):
            for known in self._client.get_job_summaries(limit=_RECENT_JOBS):
                if known.name == name and not known.status.failure and self._has(known.job_id):
                    return str(known.job_id)
        return ""

    def _has(self, job: str) -> bool:
        found = self._client.get_job(job)
        if not found.get_status().success:
            return True
        with contextlib.suppress(self._hub.client.UserError):
            if isinstance(found, self._hub.CompileJob):
                return self._client.get_model(found.get_target_model().model_id) is not None
            outputs = found.get_output_dataset()
            kept = outputs is not None and not outputs.is_expired()
            return kept and bool(found.download_profile())
        return False

    def state(self, job: str) -> Any:
        """Return AI Hub's status, with `code`, `message`, `finished` and `success`."""
        with self._calling(f"report the status of job {job}"):
            return self._client.get_job(job).get_status()

    def url(self, job: str) -> str:
        """Return the address of the job's web page."""
        with self._calling(f"give the address of job {job}"):
            return str(self._client.get_job(job).url)

    def compiled_model(self, job: str) -> str:
        """Return the id of the model that a compile job made."""
        with self._calling(f"name the model of job {job}"):
            model = self._client.get_job(job).get_target_model()
        if model is None:
            raise AiHubError(f"Compile job {job} made no model.", _SUBMITTED_AGAIN)
        return str(model.model_id)

    def download_model(self, model: str, folder: Path) -> Path:
        """Download a model's file into `folder`, and return its path."""
        with self._calling(f"give model {model}"):
            return Path(self._client.get_model(model).download(str(folder)))

    def output(self, job: str) -> NDArray[Any]:
        """Return the single output tensor of an inference job: [samples, ...]."""
        with self._calling(f"give the output of job {job}"):
            data = self._client.get_job(job).download_output_data()
        if data is None:
            raise AiHubError(f"Inference job {job} produced nothing.", _SUBMITTED_AGAIN)
        if len(data) != 1:
            raise AiHubError(
                f"Job {job} produced {len(data)} tensors, not one embedding.",
                "Report this, with the job's page.",
            )
        (samples,) = data.values()
        return np.concatenate([np.asarray(x) for x in samples])

    def profile(self, job: str) -> dict[str, Any]:
        """{"execution_summary", "execution_detail"}: times in microseconds, memory in bytes."""
        with self._calling(f"give the profile of job {job}"):
            found: dict[str, Any] = self._client.get_job(job).download_profile()
        if not found:
            raise AiHubError(f"Job {job} has no profile.", _SUBMITTED_AGAIN)
        return found

    def _device(self, device: CloudDevice) -> Any:
        return self._hub.Device(device.name, device.os)

    @contextlib.contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Translate the client's errors, and drop its prints: standard output is for JSON."""
        client = self._hub.client
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except client.RateLimitedError as error:
            raise AiHubError(
                f"AI Hub's quota is used up: it did not {doing}. {self._message(error)}",
                "Run the same command again later: jobs that were submitted go on meanwhile, and "
                "are not submitted again.",
            ) from None
        except client.UserError as error:
            hint = "Check the model, the device and the options in the message."
            if "authenticate" in str(error) or "token" in str(error):
                hint = "Get a new token from your account page: qai-hub configure --api_token TOKEN"
            raise AiHubRefused(f"AI Hub would not {doing}: {self._message(error)}", hint) from None
        except (client.Error, client.APIException, OSError, TimeoutError, ValueError) as error:
            raise AiHubError(
                f"AI Hub could not {doing}: {self._message(error)}",
                "Run the same command again later: jobs that were submitted go on meanwhile.",
            ) from None

    def _message(self, error: BaseException) -> str:
        """Return the client's message on one line, without its box and without the token."""
        message = " ".join(str(error).translate(str.maketrans("┌┐└┘─|", "      ")).split())
        return message.replace(self._token, "[token]")


def _os_version(device: CloudDevice) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", device.os)]


def _chipset(device: Any) -> str:
    """Return the most specific chipset attribute, without its prefix."""
    chips = [a.removeprefix(_CHIPSET) for a in device.attributes if a.startswith(_CHIPSET)]
    return max(chips, key=len, default="")


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
