"""Towers for Hexagon NPUs, on the HTP simulator of Qualcomm's SDK (x86_64 Linux)."""

from __future__ import annotations

import functools
import platform
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.standard_output import STDOUT, muted
from mcad_mobile.engine.bundle import Bundle, Rung
from mcad_mobile.engine.towers.protocol import Inputs, Runtime, split_batch
from mcad_mobile.errors import Remedy, RuntimeUnavailable, require

if TYPE_CHECKING:
    import onnxruntime as ort

_FATAL_ONLY = 4
_SIMULATOR_MACHINES = ("x86_64", "AMD64")  # for which Qualcomm has a simulator


class QnnTower:
    """A compiled EPContext model, simulated for the chip of its context binary."""

    simulated = True
    kernels = "HTP simulator"

    def __init__(self, path: Path, soc_model: int, htp_arch: int) -> None:
        options = session_options(soc_model, htp_arch)
        self._lock = threading.Lock()  # concurrent runs are not documented as safe
        try:
            self._session = open_session(path, options)
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise RuntimeUnavailable(
                f"Qualcomm's NPU simulator cannot load {path}: {error}.",
                "Export the bundle again with the onnxruntime-qnn that is installed here.",
            ) from error

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        with self._lock:
            outputs = [self._session.run(None, single)[0] for single in split_batch(inputs)]
        return np.concatenate(outputs).astype(np.float32, copy=False)


def session_options(soc_model: int, htp_arch: int) -> ort.SessionOptions:
    """Session options for one chip; a node that the NPU cannot run is an error, not a fallback."""
    import onnxruntime as ort

    qnn, devices = _devices()
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = {
        "backend_path": qnn.get_qnn_htp_path(),
        "soc_model": str(soc_model),
        "htp_arch": str(htp_arch),
    }
    options.add_provider_for_devices(devices, settings)
    return options


def open_session(model: Path | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    """Open a model's file or content without the banner that Qualcomm's library prints."""
    import onnxruntime as ort

    with muted(STDOUT):
        return ort.InferenceSession(model, options)


@functools.cache
def _devices() -> tuple[Any, list[Any]]:
    """Qualcomm's package and its devices, registered once per process."""
    import onnxruntime as ort

    qnn = require("onnxruntime_qnn", "snapdragon")
    ort.register_execution_provider_library("QNN", qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == "QNN"]
    if not devices:
        raise RuntimeUnavailable(
            f"onnxruntime-qnn {qnn.__version__} offers no QNN device.",
            "Use a pair of onnxruntime and onnxruntime-qnn that were released together.",
        )
    return qnn, devices


class Qnn(Runtime):
    """Context binaries for one Snapdragon, simulated where Qualcomm has a simulator."""

    name, label = "qnn", "QNN"
    library, package = "onnxruntime", "onnxruntime-qnn"
    in_app = "Qualcomm's runtime"
    for_one_chip = True
    simulated = True

    def why_not(self, rung: Rung) -> str | None:
        if platform.machine() not in _SIMULATOR_MACHINES:
            return "this runner has no QNN runtime"
        return "its chip is only simulated here, and simulated time is never a latency"

    def load(self, bundle: Bundle, rung: Rung, threads: int, gpu: bool) -> QnnTower:
        path = bundle.path(rung.files[0])
        chip = bundle.chip(rung)
        soc_model, htp_arch = chip.soc_model, chip.htp_arch
        if soc_model is None or htp_arch is None:
            raise RuntimeUnavailable(
                f"{bundle.directory} does not say for which Snapdragon {path.name} is compiled.",
                Remedy.EXPORT_AGAIN,
            )
        return QnnTower(path, soc_model, htp_arch)
