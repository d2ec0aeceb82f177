"""A tower to export, and what several of its rungs start from, made once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Golden, TensorSpec, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower
from mcad_mobile.export.backends.onnx.convert import export_onnx, is_convolutional
from mcad_mobile.export.parity import WARN_BELOW, parity

if TYPE_CHECKING:
    from mcad_mobile.export.quantization.four_bits import FourBits
    from mcad_mobile.export.quantization.ranges import CalibrationMethod, Histogram, Ranges

# To give a convolutional tower 8 bits on CPUs, from the fewest floats to the most, and what is told
# of it. All that comes later goes through what is left in float.
_WAYS = {
    "everywhere": "",
    "products": "Depthwise convolutions and sums of the {} tower are float on CPUs",
    "inner_convolutions": "Depthwise convolutions of the {} tower, sums and the convolutions "
    "before them are float on CPUs, and rare large activations are cut",
}


@dataclass(frozen=True)
class TowerJob:
    """A tower to export: `module` with its float inputs and output, for a batch of one, real
    `samples` of its inputs to calibrate on, others to choose by where it can be quantized in
    several ways (`judged`, and what the float student makes of them: `exact` [N, dim], of unit
    length), and its self-test. What is made lies in the existing folder `work`, which is this
    job's own. `any_length`: its texts may be cut after their last token. Where biases of `module`
    make up for weights of 8 bits, `own_biases` is the same tower with its own. `progress` hears
    how many weights have been rounded to 4 bits, which takes minutes."""

    module: nn.Module
    name: TowerName
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    samples: Inputs
    judged: Inputs
    exact: NDArray[np.float32]
    golden: Golden
    work: Path
    any_length: bool = False
    own_biases: TowerJob | None = None
    progress: Progress = silent

    @cached_property
    def float_onnx(self) -> Path:
        """The tower as float ONNX."""
        path = self.work / "float.onnx"
        export_onnx(self.module, path, self.inputs, self.output)
        return path

    @cached_property
    def cpu_onnx(self) -> Path:
        """The same for CPUs, which can leave a text's padding out: a query of ten words takes
        half the time (benchmarks/results/peers.json). Accelerators want fixed shapes."""
        if not self.any_length:
            return self.float_onnx
        path = self.work / "any_length.onnx"
        export_onnx(self.module, path, self.inputs, self.output, any_length=True)
        return path

    @cached_property
    def int8_onnx(self) -> tuple[Path, tuple[str, ...]]:
        """The tower in 8 bits for CPUs, and notes on it."""
        if not is_convolutional(self.cpu_onnx):
            path = self.work / "int8.onnx"
            self._quantize(path)
            return path, ()
        way, notes = self._way
        return self.work / f"int8_{way}.onnx", notes

    def int8_by(self, method: CalibrationMethod) -> Path:
        """`int8_onnx` with ranges by `method`, where it has ranges."""
        path, _ = self.int8_onnx
        if method == "min-max" or not is_convolutional(self.cpu_onnx):
            return path
        other = path.with_stem(f"{path.stem}_{method}")
        if not other.exists():
            self._quantize(other, self._way[0], method=method)
        return other

    @cached_property
    def _way(self) -> tuple[str, tuple[str, ...]]:
        """The first of `_WAYS` that costs little enough, or that which costs least, and notes."""
        from mcad_mobile.engine.towers.onnx import OnnxTower, saturates

        cosines: dict[str, float] = {}
        for way in _WAYS:
            path = self.work / f"int8_{way}.onnx"
            self._quantize(path, way)
            cosines[way] = self._cosine(OnnxTower(path, exact_kernels=saturates()))
            if cosines[way] >= WARN_BELOW:
                break
        best = max(cosines, key=cosines.__getitem__)
        if not _WAYS[best]:
            return best, ()
        told = _WAYS[best].format(self.name)
        return best, (f"{told}: with 8 bits everywhere its cosine is {cosines['everywhere']:.3f}.",)

    @cached_property
    def four_bits(self) -> dict[str, FourBits]:
        """All weights that can have 4 bits on CPUs, by their names in `cpu_onnx`: of those that
        have 8 in `int8_onnx`. Each as if it were the only one."""
        from mcad_mobile.export.quantization.four_bits import each_in_four_bits

        held = {tensor.name for tensor in onnx.load(self.int8_onnx[0]).graph.initializer}
        found = each_in_four_bits(onnx.load(self.cpu_onnx), self.samples, self.progress)
        return {name: four for name, four in found.items() if f"{name}_quantized" in held}

    @cached_property
    def _all_in_four_bits(self) -> dict[str, FourBits]:
        """The same as they are together, by their names in `float_onnx`."""
        from mcad_mobile.export.quantization.four_bits import renamed, together_in_four_bits

        model = onnx.load(self.cpu_onnx)
        found = together_in_four_bits(model, self.samples, self.four_bits, self.progress)
        return renamed(found, model, onnx.load(self.float_onnx))

    def mixed_onnx(self, names: frozenset[str], method: CalibrationMethod = "min-max") -> Path:
        """`int8_by` this method with these weights in 4 bits."""
        from mcad_mobile.export.quantization.four_bits import together_in_four_bits

        if not names:
            return self.int8_by(method)
        told = hashlib.sha256("\n".join([method, *sorted(names)]).encode()).hexdigest()[:16]
        mixed = self.work / f"mixed-{told}.onnx"
        if not mixed.exists():
            model = onnx.load(self.cpu_onnx)
            four = together_in_four_bits(model, self.samples, names, self.progress)
            way = self._way[0] if is_convolutional(self.cpu_onnx) else None
            self._quantize(mixed, way, four, method)
        return mixed

    def _quantize(
        self,
        out: Path,
        way: str | None = None,
        four: dict[str, FourBits] | None = None,
        method: CalibrationMethod = "min-max",
    ) -> None:
        """A convolutional tower by one of `_WAYS`, any other as it has but one."""
        from mcad_mobile.export.backends.onnx import quantize

        source, samples = self.cpu_onnx, self.samples
        if way is None:
            quantize.quantize_dynamic_int8(source, out, four=four)
            return
        ranges = self._ranges(method)
        if way == "inner_convolutions":
            quantize.quantize_inner_convolutions(source, out, samples, four=four, ranges=ranges)
        else:
            only = way == "products"
            quantize.quantize_static_int8(
                source, out, samples, only_products=only, four=four, ranges=ranges
            )

    def npu_onnx(
        self, precision: str, htp_arch: int, method: CalibrationMethod = "min-max"
    ) -> Path:
        """The tower quantized for Hexagon NPUs, `precision` w8a8, w8a16 or w4a16, once for all
        architectures that take one form. Ranges of 8 bits are found by `method`."""
        from mcad_mobile.export.backends.qnn import quantize

        if precision == "w4a16" and self.own_biases is not None:
            return self.own_biases.npu_onnx(precision, htp_arch)
        told = precision if method == "min-max" else f"{precision}_{method}"
        path = self.work / f"{told}_v{quantize.w8a16_form(htp_arch)}.onnx"
        if path.exists():
            return path
        source, samples = self.float_onnx, self.samples
        if precision == "w4a16":
            quantize.quantize_w4a16(source, path, samples, self._all_in_four_bits, htp_arch)
        elif precision == "w8a16":
            quantize.quantize_w8a16(source, path, samples, htp_arch)
        else:
            quantize.quantize_w8a8(source, path, samples, htp_arch, self._ranges(method))
        return path

    def _ranges(self, method: CalibrationMethod) -> Ranges | None:
        """Of what `float_onnx` computes; None where the quantizer's own are meant."""
        from mcad_mobile.export.quantization.ranges import cut

        if method == "min-max":
            return None
        return {name: cut(found, method) for name, found in self._histograms.items()}

    @cached_property
    def _histograms(self) -> dict[str, Histogram]:
        from mcad_mobile.export.quantization.ranges import activations, histograms, singles

        model = onnx.load(self.float_onnx)
        return histograms(activations(model), singles(model, self.samples))

    def integer_litert(self, precision: str, method: CalibrationMethod = "min-max") -> Path:
        """The tower as an integer .tflite, `precision` w8a8, w8a16 or w4a16, made once for all
        rungs that start from it."""
        from mcad_mobile.export.backends.litert.convert import channels_last
        from mcad_mobile.export.backends.litert.quantize import quantize_litert

        if precision == "w4a16" and self.own_biases is not None:
            return self.own_biases.integer_litert(precision)
        told = precision if method == "min-max" else f"{precision}_{method}"
        path = self.work / f"{told}.tflite"
        if path.exists():
            return path
        source, narrow, stream = self._litert_source(precision)
        specs = channels_last(self.inputs)
        quantize_litert(source, path, self.samples, specs, precision, method, narrow, stream=stream)
        return path

    def _litert_source(self, precision: str) -> tuple[Path, tuple[str, ...], bool]:
        """A float .tflite to start from, its products whose weights 4 bits can tell, and whether
        it has a residual stream that 8 bits would break."""
        if precision == "w4a16":
            return *self._four_bits_litert, False
        if precision == "w8a8":
            source, stream = self._even_litert
            return source, (), stream
        return self._float_litert, (), False

    @cached_property
    def _float_litert(self) -> Path:
        from mcad_mobile.export.backends.litert.convert import channels_last, convert_litert

        path = self.work / "float.tflite"
        convert_litert(self.module, path, channels_last(self.inputs), self.samples)
        return path

    @cached_property
    def _even_litert(self) -> tuple[Path, bool]:
        """The same with even channels where products end in a residual stream, and whether there
        is one."""
        from mcad_mobile.export.backends.litert.convert import channels_last, convert_litert, even
        from mcad_mobile.export.backends.qnn.residual_stream import gains_by_matrix

        gains = gains_by_matrix(onnx.load(self.cpu_onnx), self.samples)
        if not gains:
            return self._float_litert, False
        path = self.work / "even.tflite"
        evened = even(self.module, gains)
        convert_litert(evened, path, channels_last(self.inputs), self.samples)
        return path, True

    @cached_property
    def _four_bits_litert(self) -> tuple[Path, tuple[str, ...]]:
        """The same with all weights rounded to 4 bits, and which products are of these."""
        from mcad_mobile.export.backends.litert.quantize import with_four_bits
        from mcad_mobile.export.quantization.four_bits import by_values

        path = self.work / "four_bits.tflite"
        weights = by_values(onnx.load(self.float_onnx), self._all_in_four_bits)
        return path, with_four_bits(self._float_litert, path, weights)

    def litert_precision(self, planned: str) -> tuple[str, tuple[str, ...]]:
        """`planned`, or w8a16 in place of a w8a8 that costs the tower too much, and notes on it."""
        if planned != "w8a8" or self._w8a8_cosine >= WARN_BELOW:
            return planned, ()
        taken = f"The {self.name} tower has 16-bit activations on Dimensity"
        return "w8a16", (f"{taken}: with 8-bit ones its cosine is {self._w8a8_cosine:.3f}.",)

    @cached_property
    def _w8a8_cosine(self) -> float:
        from mcad_mobile.engine.towers.litert import LiteRTTower
        from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs

        path = self.integer_litert("w8a8")
        inputs, output = stored_specs(path, channels_last(self.inputs), self.output)
        return self._cosine(LiteRTTower(path, inputs, (output,)))

    def _cosine(self, tower: LoadedTower) -> float:
        """To the float student, on average over inputs that it was not calibrated on."""
        return parity(self.exact, tower(self.judged)).cosine_mean
