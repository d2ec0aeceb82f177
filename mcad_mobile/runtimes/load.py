"""A rung of a tower's ladder: whether it can run here, and how it is loaded."""

from __future__ import annotations

import importlib.util
import platform

from mcad_mobile.bundle import Bundle, Rung, TowerName
from mcad_mobile.errors import RuntimeUnavailable
from mcad_mobile.runtimes.base import LoadedTower

_SIMULATOR_MACHINES = ("x86_64", "AMD64")  # for which Qualcomm has one


def rungs_of(
    bundle: Bundle, tower: TowerName, runtime: str | None = None, precision: str | None = None
) -> tuple[Rung, ...]:
    """The rungs of a tower, best first; those of `runtime`, if it is named, and of `precision`,
    where the tower has it: the two towers of a bundle may differ in that. RuntimeUnavailable if
    there are none."""
    rungs = bundle.tower(tower).rungs
    found = tuple(rung for rung in rungs if runtime in (None, rung.runtime))
    found = tuple(rung for rung in found if rung.precision == precision) or found
    if not found:
        offered = ", ".join(dict.fromkeys(rung.runtime for rung in rungs))
        raise RuntimeUnavailable(
            f"{bundle.directory} has no {tower} tower for runtime {runtime!r}.",
            f"It has: {offered}.",
        )
    return found


def why_not(rung: Rung) -> str | None:
    """Why a rung is not chosen by itself on this machine, or None if it is. A QNN rung never is:
    without the chip it is only simulated."""
    if rung.runtime == "qnn" and platform.machine() not in _SIMULATOR_MACHINES:
        return "this runner has no QNN runtime"
    if rung.runtime == "qnn":
        return "its chip is only simulated here, and simulated time is never a latency"
    if rung.runtime == "neuropilot":
        return "it is compiled for a Dimensity's NPU, and runs on that chip alone"
    if rung.runtime == "litert" and rung.precision in ("w8a16", "w4a16"):
        return "LiteRT has no fast CPU kernels for 16-bit activations: it is for the NPU"
    if rung.runtime == "litert" and importlib.util.find_spec("ai_edge_litert") is None:
        return "ai-edge-litert is not installed here"
    return None


def load_rung(bundle: Bundle, rung: Rung, threads: int = 1, *, gpu: bool = False) -> LoadedTower:
    """RuntimeUnavailable or MissingExtra if the rung cannot be run here. `gpu`: of ONNX's rungs,
    by CUDA."""
    path = bundle.path(rung.files[0])
    if rung.runtime == "onnx":
        from mcad_mobile.runtimes.onnx import OnnxTower
        from mcad_mobile.runtimes.saturation import saturates

        exact = rung.precision != "fp32" and not gpu and saturates()
        return OnnxTower(path, threads, exact=exact, gpu=gpu)
    if rung.runtime == "litert":
        from mcad_mobile.runtimes.litert import LiteRTTower

        return LiteRTTower(path, rung.inputs, rung.outputs, threads)
    if rung.runtime == "qnn":
        from mcad_mobile.runtimes.qnn import QnnTower
        from mcad_mobile.targets import find_target  # and what reads its table, 0.9 MiB

        target = find_target(bundle.target.id)
        assert target.soc_model is not None and target.htp_arch is not None
        return QnnTower(path, target.soc_model, target.htp_arch)
    if rung.runtime == "neuropilot":
        raise RuntimeUnavailable(
            f"{path} is compiled for the NPU of {bundle.target.chip}, and runs on that chip alone.",
            "Use --runtime litert: the .tflite that it was compiled from.",
        )
    raise RuntimeUnavailable(
        f"{bundle.directory} names runtime {rung.runtime!r}, which this version does not know.",
        "Update mcad-mobile.",
    )
