"""A tower to export, and what the backends' rungs of it start from, each made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Golden, TensorSpec, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower
from mcad_mobile.export.backends.onnx.convert import export_onnx
from mcad_mobile.export.parity import parity
from mcad_mobile.export.quantization.four_bits import FourBits
from mcad_mobile.export.quantization.ranges import (
    CalibrationMethod,
    Histogram,
    Ranges,
    activations,
    cut,
    histograms,
    singles,
)


@dataclass(frozen=True, eq=False)
class TowerJob:
    """A tower to export.

    module: the float tower, for a batch of one, with the float `inputs` and `output`.
    samples: real inputs to calibrate on.
    validation: other real inputs, by which one of several ways to quantize is chosen.
    expected: the float student's embeddings of `validation`, [N, dim] float32 of unit length.
    golden: the tower's self-test.
    work: an existing folder for intermediate files, of this job alone.
    any_length: texts may be cut after their last token.
    uncorrected: the same tower with its own biases, if those of `module` are corrected for 8 bits.
    progress: hears how many weights have been rounded to 4 bits, which takes minutes.
    rounded: weights in 4 bits, by how they were rounded (backends/onnx/quantize.py): kept, as they
        take minutes.
    """

    module: nn.Module
    name: TowerName
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    samples: Inputs
    validation: Inputs
    expected: NDArray[np.float32]
    golden: Golden
    work: Path
    any_length: bool = False
    uncorrected: TowerJob | None = None
    progress: Progress = silent
    _cosines: dict[Path, float] = field(default_factory=dict, init=False, repr=False)
    rounded: dict[str, dict[str, FourBits]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def float_onnx(self) -> Path:
        """The tower as float ONNX with fixed shapes, as accelerators want them."""
        path = self.work / "float.onnx"
        export_onnx(self.module, path, self.inputs, self.output)
        return path

    @cached_property
    def cpu_onnx(self) -> Path:
        """The tower as float ONNX for CPUs. It takes texts without their padding: a query of ten
        words takes half the time (benchmarks/results/peers.json)."""
        if not self.any_length:
            return self.float_onnx
        path = self.work / "any_length.onnx"
        export_onnx(self.module, path, self.inputs, self.output, any_length=True)
        return path

    def ranges(self, method: CalibrationMethod) -> Ranges | None:
        """Return the ranges of the activations of `float_onnx`; None for min-max, which quantizers
        compute themselves."""
        if method == "min-max":
            return None
        return {name: cut(found, method) for name, found in self._histograms.items()}

    @cached_property
    def _histograms(self) -> dict[str, Histogram]:
        model = onnx.load(self.float_onnx)
        return histograms(activations(model), singles(model, self.samples))

    def cosine(self, path: Path, load: Callable[[Path], LoadedTower]) -> float:
        """Return the mean cosine of a written model to the float student on `validation`, computed
        once a file."""
        if path not in self._cosines:
            self._cosines[path] = parity(self.expected, load(path)(self.validation)).cosine_mean
        return self._cosines[path]
