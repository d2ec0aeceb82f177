"""What a backend does: it makes the rungs of a runtime, and what a search for precisions tries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import FileRecord, Precision, Rung, TensorSpec, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import Target

_ACTIVATION_BITS = {"w8a8": 8, "w8a16": 16, "w4a16": 16}

# (quantized ONNX model, EPContext model to write, target) -> context binaries, number of nodes
CompileContext = Callable[[Path, Path, Target], tuple[list[Path], int]]


class TowerPlan(NamedTuple):
    """One way to run one tower on a chip. `place`: the folder in a bundle of several chips that
    holds the files of one."""

    runtime: str
    precision: Precision
    target: Target
    place: str = ""


@dataclass(frozen=True)
class RungOrder:
    """A rung to make. With `keep_precision`, a backend must not widen the precision."""

    tower: TowerJob
    runtime: str
    precision: Precision
    target: Target
    place: str = ""
    four_bit_weights: frozenset[str] = frozenset()
    keep_precision: bool = False
    compile_context: CompileContext | None = None


class Quantized(NamedTuple):
    """A quantized model, and what its user should know about its precision."""

    path: Path
    precision: Precision
    notes: tuple[str, ...] = ()


class Compiled(NamedTuple):
    """The files of a rung, the first to be opened; how many nodes it has, and the NPU gets."""

    files: tuple[Path, ...]
    nodes: int
    npu_nodes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tower that was written to `path` in one precision, and how to `load` it. Candidates are
    ranked by `weight_bytes`, then by `activation_bits`."""

    tower: TowerName
    precision: Precision
    label: str
    bytes: int
    weight_bytes: int
    path: Path
    load: Callable[[Path], LoadedTower]
    four_bit_weights: frozenset[str] = frozenset()
    activation_bits: int = 0


@dataclass(frozen=True)
class Sensitivity:
    """How much mean cosine to float a tower loses if the weight `name` has 4 bits."""

    name: str
    layer: str
    numbers: int
    loss: float


class Backend:
    """Makes the rungs of one runtime, or of several that compile the same files.

    Attributes:
        compiler: the module that an export needs, and the extra that has it.
        in_cloud: whether Qualcomm AI Hub compiles its files, too.
        suffix: of the file that a runtime opens.
    """

    compiler: tuple[str, str] | None = None
    in_cloud = False
    suffix = "onnx"

    def build(self, order: RungOrder, folder: Path) -> Rung:
        """Write a rung to `folder`. Until it has run, its expected embeddings are the float
        student's."""
        tower, quantized = order.tower, self.quantize(order)
        name = f"{tower.name}_{order.runtime}_{quantized.precision}.{self.suffix}"
        out = folder / order.place / name
        out.parent.mkdir(exist_ok=True)
        compiled = self.compile(order, quantized.path, out)
        inputs, output = self.specs(tower, quantized.path)
        return Rung(
            runtime=order.runtime,
            precision=quantized.precision,
            files=tuple(FileRecord.of(folder, file) for file in compiled.files),
            inputs=inputs,
            outputs=(output,),
            expected=tower.golden.embeddings,
            total_nodes=compiled.nodes,
            npu_nodes=compiled.npu_nodes,
            notes=(*quantized.notes, *compiled.notes),
        )

    def quantize(self, order: RungOrder) -> Quantized:
        """Convert and quantize a tower, once for all chips that take the same file."""
        raise NotImplementedError

    def compile(self, order: RungOrder, quantized: Path, out: Path) -> Compiled:
        """Write a quantized tower to `out`, and what lies beside it, as the runtime takes it."""
        raise NotImplementedError

    def specs(self, tower: TowerJob, quantized: Path) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
        """Return how a quantized tower's file stores its inputs and its output."""
        return tower.inputs, tower.output

    def load(self, tower: TowerJob, quantized: Path) -> LoadedTower:
        """Load a quantized tower to measure it here, whatever it will be compiled for."""
        raise NotImplementedError

    def reference(self, rung: Rung, directory: Path, inputs: Inputs) -> NDArray[np.float32] | None:
        """Return a written rung's embeddings, by kernels other than those that will run it; None if
        there are no others."""
        return None

    def can_build(self, runtime: str, target: Target) -> bool:
        """Whether the rung of this runtime can be made here."""
        return True

    def shared_by(self, runtime: str, target: Target) -> str:
        """Return a name of the chips that get the same files and notes as this one."""
        return target.id

    def graph_form(self, target: Target) -> int:
        """Return a number of the chips that take the same quantized graphs as this one."""
        return 0

    def measured_by(self, target: Target) -> str:
        """Say how recall is measured in a search for precisions."""
        raise NotImplementedError

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        """Return what a search tries."""
        return ("w8a8", "w8a16", "w4a16")

    def sizes(self, order: RungOrder, quantized: Path) -> tuple[int, int] | None:
        """Return how many bytes of a bundle a quantized tower takes, and how many its 4-bit weights
        save; None if it is not worth trying."""
        raise NotImplementedError

    def candidates(
        self, tower: TowerJob, target: Target
    ) -> tuple[list[Candidate], list[Sensitivity]]:
        """Write a tower in each way that the runtime supports on `target`; also return the weights
        that could have 4 bits, if each is decided on alone."""
        weights = onnx.load(tower.float_onnx).graph.initializer
        numbers = sum(math.prod(tensor.dims) for tensor in weights)
        found, precisions = [], self.precisions(target)
        for number, precision in enumerate(precisions):
            tower.progress("writing candidates", number, len(precisions))
            order = RungOrder(tower, "", precision, target, keep_precision=True)
            path = self.quantize(order).path
            sizes = self.sizes(order, path)
            if sizes is not None:
                candidate = Candidate(
                    tower.name,
                    precision,
                    precision,
                    sizes[0],
                    numbers - sizes[1],
                    path,
                    lambda path: self.load(tower, path),
                    activation_bits=_ACTIVATION_BITS[precision],
                )
                found.append(candidate)
        return found, []
