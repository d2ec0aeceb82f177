"""The runtimes that rungs can be for."""

from __future__ import annotations

from mcad_mobile.engine.bundle import Bundle, Rung
from mcad_mobile.engine.towers.litert import CompiledFromLiteRT, LiteRT
from mcad_mobile.engine.towers.onnx import OnnxRuntime
from mcad_mobile.engine.towers.protocol import LoadedTower, Runtime
from mcad_mobile.engine.towers.qnn import Qnn
from mcad_mobile.errors import RuntimeUnavailable, update_hint

RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        OnnxRuntime(),
        LiteRT(),
        Qnn(),
        CompiledFromLiteRT("neuropilot", "NeuroPilot"),
        CompiledFromLiteRT("tpu", "Tensor's TPU"),
    )
}


class _Unknown(Runtime):
    """A runtime that a newer version writes."""

    def __init__(self, name: str) -> None:
        self.name = self.label = name

    def load(self, bundle: Bundle, rung: Rung, threads: int, gpu: bool) -> LoadedTower:
        raise RuntimeUnavailable(
            f"{bundle.directory} names runtime {self.name!r}, which this version does not know.",
            update_hint(),
        )


def runtime_of(rung: Rung) -> Runtime:
    """Return what runs a rung."""
    return RUNTIMES.get(rung.runtime) or _Unknown(rung.runtime)
