"""Phones in Qualcomm AI Hub, used through Qualcomm's own client. The token stays in the client's
configuration; it is read here only to keep it out of messages."""

from __future__ import annotations

import configparser
import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
