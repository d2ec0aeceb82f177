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

from mcad_mobile.bundle import Golden, TensorSpec, TowerName
from mcad_mobile.export.onnx import export_onnx, is_convolutional
from mcad_mobile.export.validate import WARN_BELOW, parity
from mcad_mobile.runtimes import Inputs, LoadedTower

if TYPE_CHECKING:
    from mcad_mobile.quantize.four_bits import FourBits

_PRODUCTS = "int8_products.onnx"


@dataclass(frozen=True)
class TowerJob:
    """A tower to export: `module` with its float inputs and output, for a batch of one, real
    `samples` of its inputs to calibrate on, what the float student makes of the first of them
    (`exact` [N, dim], of unit length), and its self-test. What is made lies in the existing folder
    `work`, which is this job's own. `any_length`: its texts may be cut after their last token."""

    module: nn.Module
    name: TowerName
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    samples: Inputs
    exact: NDArray[np.float32]
    golden: Golden
    work: Path
    any_length: bool = False

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
        """The tower in 8 bits for CPUs, and notes on it. Where 8-bit activations cost a
        convolutional one too much, depthwise convolutions and sums, through which all that comes
        later goes, are left in float: they are a small part of its work."""
        from mcad_mobile.runtimes.onnx import OnnxTower
        from mcad_mobile.runtimes.saturation import saturates

        path, products = self.work / "int8.onnx", self.work / _PRODUCTS
        self._quantize(path)
        if not is_convolutional(self.cpu_onnx):
            return path, ()
        cosine = self._cosine(OnnxTower(path, exact=saturates()))
        if cosine >= WARN_BELOW:
            return path, ()
        self._quantize(products, only_products=True)
        if self._cosine(OnnxTower(products, exact=saturates())) <= cosine:
            return path, ()
        left = f"Depthwise convolutions and sums of the {self.name} tower are float on CPUs"
        return products, (f"{left}: with 8 bits everywhere its cosine is {cosine:.3f}.",)

    @cached_property
    def four_bits(self) -> dict[str, FourBits]:
        """All weights that can have 4 bits on CPUs, by their names in `cpu_onnx`."""
        from mcad_mobile.quantize.four_bits import in_four_bits

        return in_four_bits(onnx.load(self.cpu_onnx), self.samples)

    def mixed_onnx(self, names: frozenset[str]) -> Path:
        """`int8_onnx` with these weights in 4 bits."""
        path, _ = self.int8_onnx
        if not names:
            return path
        told = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
        mixed = self.work / f"mixed-{told}.onnx"
        if not mixed.exists():
            four = {name: self.four_bits[name] for name in sorted(names)}
            self._quantize(mixed, only_products=path.name == _PRODUCTS, four=four)
        return mixed

    def _quantize(
        self, out: Path, *, only_products: bool = False, four: dict[str, FourBits] | None = None
    ) -> None:
        from mcad_mobile.quantize.qdq import quantize_dynamic_int8, quantize_static_int8

        if not is_convolutional(self.cpu_onnx):
            quantize_dynamic_int8(self.cpu_onnx, out, four=four)
            return
        quantize_static_int8(
            self.cpu_onnx, out, self.samples, only_products=only_products, four=four
        )

    def npu_onnx(self, precision: str, htp_arch: int) -> Path:
        """The tower quantized for Hexagon NPUs, `precision` w8a8, w8a16 or w4a16, once for all
        architectures that take one form."""
        from mcad_mobile.quantize import qdq
        from mcad_mobile.quantize.four_bits import renamed

        path = self.work / f"{precision}_v{qdq.w8a16_form(htp_arch)}.onnx"
        if path.exists():
            return path
        if precision == "w4a16":
            models = (onnx.load(one) for one in (self.cpu_onnx, self.float_onnx))
            four = renamed(self.four_bits, *models)
            qdq.quantize_w4a16(self.float_onnx, path, self.samples, four, htp_arch)
        else:
            write = {"w8a8": qdq.quantize_w8a8, "w8a16": qdq.quantize_w8a16}[precision]
            write(self.float_onnx, path, self.samples, htp_arch)
        return path

    def integer_litert(self, precision: str) -> Path:
        """The tower as an integer .tflite, made once for all rungs that start from it."""
        from mcad_mobile.export.litert import channels_last, convert_litert
        from mcad_mobile.quantize.litert import quantize_litert

        source, path = self.work / "float.tflite", self.work / f"{precision}.tflite"
        specs = channels_last(self.inputs)
        if not source.exists():
            convert_litert(self.module, source, specs)
        if not path.exists():
            quantize_litert(source, path, self.samples, specs, precision)
        return path

    def litert_precision(self, planned: str) -> tuple[str, tuple[str, ...]]:
        """`planned`, or w8a16 in place of a w8a8 that costs the tower too much, and notes on it."""
        if planned != "w8a8" or self._w8a8_cosine >= WARN_BELOW:
            return planned, ()
        taken = f"The {self.name} tower has 16-bit activations on Dimensity"
        return "w8a16", (f"{taken}: with 8-bit ones its cosine is {self._w8a8_cosine:.3f}.",)

    @cached_property
    def _w8a8_cosine(self) -> float:
        from mcad_mobile.export.litert import channels_last, stored_specs
        from mcad_mobile.runtimes.litert import LiteRTTower

        path = self.integer_litert("w8a8")
        inputs, output = stored_specs(path, channels_last(self.inputs), self.output)
        return self._cosine(LiteRTTower(path, inputs, (output,)))

    def _cosine(self, tower: LoadedTower) -> float:
        """To the float student, on average over samples that it was calibrated on."""
        inputs = {name: value[: len(self.exact)] for name, value in self.samples.items()}
        return parity(self.exact, tower(inputs)).cosine_mean
