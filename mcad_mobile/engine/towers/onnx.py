"""Towers on ONNX Runtime, on the CPU or a GPU."""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Bundle, Rung
from mcad_mobile.engine.towers.protocol import Inputs, Runtime, split_batch, without_padding
from mcad_mobile.errors import Remedy, RuntimeUnavailable

if TYPE_CHECKING:
    import onnxruntime as ort

# Makes ONNX Runtime use exact 8-bit kernels. It is documented to change nothing on processors with
# VNNI, but measured there, the image tower takes 2.5 times as long. So it is set only if needed.
EXACT_KERNELS = ("session.x64quantprecision", "1")

# A model of 159 bytes: MatMulInteger of "a" [M, 64] uint8 by 127s [64, 32] int8. Embedded here and
# in Saturation.java, so that no file has to be shipped; test_saturation.py rebuilds it.
PRODUCTS = (
    "CAgSADqSAQozCgVzaGFwZRIBYiIPQ29uc3RhbnRPZlNoYXBlKhYKBXZhbHVlKgoIARADKgF/QgF2oAEEChsKAWEKAWIS"
    "BHN1bXMiDU1hdE11bEludGVnZXISBHN1bXMqDwgCEAc6AkAgQgVzaGFwZVoRCgFhEgwKCggCEgYKAAoCCEBiFAoEc3Vt"
    "cxIMCgoIBhIGCgAKAgggQgQKABAN"
)
_ROWS, _TERMS, _LARGEST = 5, 64, 255
_EXACT_SUM = _TERMS * _LARGEST * 127


@functools.cache
def saturates() -> bool:
    """Say whether sums of 8-bit products overflow 16 bits here, as on x86 processors with AVX2 or
    AVX-512 but no VNNI (AMD Zen 1 to 3, Intel Haswell to Comet Lake and Skylake-X)."""
    # Tested by computing the largest sum, in about 5 ms: emulators and virtual machines run
    # instructions that they do not report.
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    session = ort.InferenceSession(
        base64.b64decode(PRODUCTS), options, providers=["CPUExecutionProvider"]
    )
    largest = np.full((_ROWS, _TERMS), _LARGEST, np.uint8)
    (sums,) = session.run(None, {"a": largest})
    return bool((sums != _EXACT_SUM).any())


_CUDA = "CUDAExecutionProvider"
# The fused kernel works on one number at a time: the text tower takes 1.2 ms with it, 0.9 ms with
# Add and LayerNormalization apart (ONNX Runtime 1.32, x86-64, one thread), with equal results.
_SLOW_FUSION = ("optimization.disable_specified_optimizers", "SkipLayerNormFusion")


class OnnxTower:
    """An ONNX model that uses little memory. With `exact_kernels`, its 8-bit products are exact on
    every processor, see saturates(); with `gpu`, CUDA runs it in plain float32 (no TF32)."""

    simulated = False

    def __init__(
        self, path: Path, threads: int = 1, *, exact_kernels: bool = False, gpu: bool = False
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        options.add_session_config_entry(*_SLOW_FUSION)
        if exact_kernels:
            options.add_session_config_entry(*EXACT_KERNELS)
        self.kernels = "CUDA" if gpu else "CPU, exact kernels" if exact_kernels else "CPU"
        self._cannot = f"ONNX Runtime {ort.__version__} cannot {{}} {path}: {{}}."
        provider: Any = (_CUDA, {"use_tf32": "0"}) if gpu else "CPUExecutionProvider"
        if gpu and _CUDA not in ort.get_available_providers():
            raise RuntimeUnavailable(
                f"ONNX Runtime {ort.__version__} has no {_CUDA} here.",
                Remedy.USE_NO_GPU,
            )
        try:
            self._session = _session(path, options, provider, exact_kernels)
            if gpu and _CUDA not in self._session.get_providers():  # it falls back silently
                raise RuntimeError("CUDA could not be started")
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise RuntimeUnavailable(
                self._cannot.format("load", error),
                "Export the bundle again, or install a newer onnxruntime.",
            ) from error
        shapes = [tensor.shape for tensor in self._session.get_inputs()]
        self._any_length = any(isinstance(size, str) for shape in shapes for size in shape)

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        singles = split_batch(inputs)
        if self._any_length:  # padding takes as long as words
            singles = [without_padding(single) for single in singles]
        try:
            outputs = [self._session.run(None, single)[0] for single in singles]
        except Exception as error:
            raise RuntimeUnavailable(
                self._cannot.format("run", error),
                "Export the bundle again, or install a newer onnxruntime.",
            ) from error
        whole = np.concatenate(outputs) if len(outputs) > 1 else outputs[0]
        return np.asarray(whole, np.float32)


def _session(path: Path, options: ort.SessionOptions, provider: Any, exact_kernels: bool) -> Any:
    """Open a model. ONNX Runtime 1.32 has no exact kernels for a weight that several products
    share: those products then run in floats, slower but as exact."""
    import onnxruntime as ort

    try:
        return ort.InferenceSession(path, options, providers=[provider])
    except Exception:
        if not exact_kernels:
            raise
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return ort.InferenceSession(path, options, providers=[provider])


class OnnxRuntime(Runtime):
    """ONNX models; only they run on CUDA."""

    name, label = "onnx", "ONNX Runtime"
    library, package = "onnxruntime", "onnxruntime"
    in_app = "ONNX Runtime"
    on_any_cpu = True

    def load(self, bundle: Bundle, rung: Rung, threads: int, gpu: bool) -> OnnxTower:
        exact = rung.precision != "fp32" and not gpu and saturates()
        path = bundle.path(rung.files[0])
        return OnnxTower(path, threads, exact_kernels=exact, gpu=gpu)

    def overflows(self) -> bool:
        return saturates()
