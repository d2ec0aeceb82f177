"""Compare written rungs with the float student: load them from their files, and run them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle, FileRecord, Rung, TowerName
from mcad_mobile.engine.towers import Inputs, load_tower, normalize, runtime_of
from mcad_mobile.engine.towers.protocol import summary
from mcad_mobile.export.aihub_compiler import CloudCompiler
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.parity import check_kernels, check_parity, measure_parity

GOLDEN_INPUTS = 2
PARITY_INPUTS = 16
# All HTP architectures compute the same integers; v81 rounds differently when it makes floats.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Standard:
    """What rungs are compared with: the float towers' `expected` embeddings [N, dim] of `inputs`,
    golden inputs first; and whether any parity will do. Simulators can take a minute per input, so
    they run the first `simulated`, and a chip that agrees with an earlier one on the golden inputs
    reuses its result for the others."""

    inputs: Mapping[TowerName, Inputs]
    expected: Mapping[TowerName, NDArray[np.float32]]
    allow_low_parity: bool = False
    simulated: int = PARITY_INPUTS
    progress: Progress = silent
    _earlier: dict[TowerName, list[NDArray[np.float32]]] = field(default_factory=dict)

    def compare(
        self, name: TowerName, rung: Rung, bundle: Bundle, cloud: CloudCompiler | None
    ) -> tuple[Rung, list[str]]:
        """Run a rung of `bundle` here, or in the cloud that compiled it; return it with its parity
        and, if it is quantized, its own golden embeddings, and warnings. ParityError if it differs
        too much. What cannot run here is returned unchanged: it has the integers of the rung that
        it is compiled from."""
        runtime, inputs = runtime_of(rung), self.inputs[name]
        if runtime.source:
            return rung, []
        if cloud is not None and backend_of(rung.runtime).in_cloud:
            embeddings, rung = cloud.run(bundle, rung, inputs)
        elif runtime.simulated:
            embeddings = self._simulate(name, rung, bundle, inputs)
        else:
            embeddings = summary(load_tower(bundle, rung)(inputs))
        expected = self.expected[name][: len(embeddings)]
        if rung.precision != "fp32":
            few = _rows(inputs, slice(GOLDEN_INPUTS))
            golden = embeddings[:GOLDEN_INPUTS]
            reference = backend_of(rung.runtime).reference(rung, bundle.directory, few)
            if reference is not None:
                check_kernels(name, rung, expected[:GOLDEN_INPUTS], reference, golden)
            path = f"golden/{PurePosixPath(rung.files[0].path).with_suffix('')}_expected.npy"
            rung = replace(rung, expected=save_array(bundle.directory, path, normalize(golden)))
        measured = measure_parity(expected, embeddings)
        warnings = check_parity(name, rung.runtime, measured, allow_low=self.allow_low_parity)
        return replace(rung, parity=measured), warnings

    def _simulate(
        self, name: TowerName, rung: Rung, bundle: Bundle, inputs: Inputs
    ) -> NDArray[np.float32]:
        """Return the embeddings of the first inputs, by towers that share them: a simulator's
        session uses one core."""
        # A folder to calibrate on may hold fewer captions, or fewer photos that can be decoded.
        count = min(self.simulated, len(next(iter(inputs.values()))))
        idle = [load_tower(bundle, rung) for _ in range(min(allowed_cores(), count))]

        def embed(number: int) -> NDArray[np.float32]:
            tower = idle.pop()
            embedding = summary(tower(_rows(inputs, slice(number, number + 1))))
            idle.append(tower)
            return embedding

        rows: list[NDArray[np.float32]] = []
        with ThreadPoolExecutor(len(idle)) as threads:
            for part in (range(min(GOLDEN_INPUTS, count)), range(GOLDEN_INPUTS, count)):
                # An interrupt cancels what has not begun, and waits for the rest: Qualcomm's
                # library aborts a process that exits while it computes.
                for row in threads.map(embed, part):
                    rows.append(row)
                    self.progress(f"{name} tower: simulated inputs", len(rows), count)
                golden = normalize(np.concatenate(rows))[:GOLDEN_INPUTS]
                for earlier in self._earlier.get(name, []):
                    if np.abs(golden - normalize(earlier[:GOLDEN_INPUTS])).max() < _TOLERANCE:
                        return np.concatenate([*rows[:GOLDEN_INPUTS], earlier[GOLDEN_INPUTS:]])
        self._earlier.setdefault(name, []).append(np.concatenate(rows))
        return self._earlier[name][-1]


def save_array(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    """Write a .npy file of the bundle in `directory`."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _rows(inputs: Inputs, rows: slice) -> Inputs:
    return {name: value[rows] for name, value in inputs.items()}
