"""Compare written rungs with the float student: load them from their files, and run them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle, FileRecord, Rung, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, load_tower, normalize, runtime_of
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.parity import check_kernels, check_parity, measure_parity

GOLDEN_INPUTS = 2
PARITY_INPUTS = 16
# All HTP architectures compute the same integers; v81 rounds differently when it makes floats.
_TOLERANCE = 1e-5


class ComparedRung(NamedTuple):
    """A rung with its parity and embeddings, and warnings for its user."""

    rung: Rung
    warnings: list[str]


class Stopped(Exception):
    """An export ended before its simulations."""


@dataclass(frozen=True)
class Simulator:
    """Runs towers in their simulator, which can take a minute per input, on the first `inputs` of
    each tower. It remembers what it computed: a chip that agrees with an earlier one on the golden
    inputs reuses its result for the others."""

    inputs: int = PARITY_INPUTS
    progress: Progress = silent
    _earlier: dict[TowerName, list[NDArray[np.float32]]] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _shown: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Tell progress: only while it is waited for, as other steps are told meanwhile."""
        self._shown.set()
        yield
        self._shown.clear()

    def stop(self) -> None:
        """Begin no other input: Qualcomm's library aborts a process that exits while it
        computes."""
        self._stopped.set()

    def load(self, bundle: Bundle, rung: Rung) -> list[LoadedTower]:
        """Load equal towers, which share the inputs: a simulator's session uses one core."""
        return [load_tower(bundle, rung) for _ in range(min(allowed_cores(), self.inputs))]

    def run(
        self, name: TowerName, towers: Sequence[LoadedTower], inputs: Inputs
    ) -> NDArray[np.float32]:
        """Return the embeddings [N, dim] of the first inputs."""
        # A folder to calibrate on may hold fewer captions, or fewer photos that can be decoded.
        count = min(self.inputs, len(next(iter(inputs.values()))))
        golden = self._run(name, towers, inputs, range(min(GOLDEN_INPUTS, count)), count)
        earlier = self._earlier.setdefault(name, [])
        for embeddings in earlier:
            difference = normalize(golden) - normalize(embeddings[:GOLDEN_INPUTS])
            if np.abs(difference).max() < _TOLERANCE:
                return np.concatenate([golden, embeddings[GOLDEN_INPUTS:]])
        rest = self._run(name, towers, inputs, range(len(golden), count), count)
        earlier.append(np.concatenate([golden, rest]) if len(rest) else golden)
        return earlier[-1]

    def _run(
        self,
        name: TowerName,
        towers: Sequence[LoadedTower],
        inputs: Inputs,
        numbers: Sequence[int],
        total: int,
    ) -> NDArray[np.float32]:
        """Return the embeddings of these inputs, each computed by the next idle tower."""
        idle = list(towers)

        def embed(number: int) -> NDArray[np.float32]:
            if self._stopped.is_set():
                raise Stopped
            tower = idle.pop()
            embedding = tower(_rows(inputs, slice(number, number + 1)))
            idle.append(tower)
            return embedding

        found = []
        with ThreadPoolExecutor(len(towers)) as threads:
            for number, embedding in zip(numbers, threads.map(embed, numbers), strict=True):
                found.append(embedding)
                if self._shown.is_set():
                    self.progress(f"{name} tower: simulated inputs", number + 1, total)
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Standard:
    """What rungs are compared with: the float towers' `expected` embeddings [N, dim] of `inputs`,
    golden inputs first; and whether any parity will do."""

    inputs: Mapping[TowerName, Inputs]
    expected: Mapping[TowerName, NDArray[np.float32]]
    allow_low_parity: bool = False


def compare(
    name: TowerName, rung: Rung, bundle: Bundle, cloud: CloudCompiler | None, standard: Standard
) -> ComparedRung:
    """Run a rung of `bundle` here, or in the cloud that compiled it, and compare it with float;
    ParityError if it differs too much. What cannot run here is returned unchanged: it has the
    integers of the rung that it is compiled from."""
    if runtime_of(rung).source:
        return ComparedRung(rung, [])
    inputs = standard.inputs[name]
    if cloud is not None and backend_of(rung.runtime).in_cloud:
        embeddings, rung = cloud.run(bundle, rung, inputs)
    else:
        embeddings = load_tower(bundle, rung)(inputs)
    return _judge(name, rung, bundle, embeddings, standard)


def compare_simulated(
    name: TowerName,
    rung: Rung,
    bundle: Bundle,
    towers: Sequence[LoadedTower],
    standard: Standard,
    simulator: Simulator,
) -> ComparedRung:
    """Run a rung's `towers`, loaded by the simulator, and compare them with float."""
    embeddings = simulator.run(name, towers, standard.inputs[name])
    return _judge(name, rung, bundle, embeddings, standard)


def _judge(
    name: TowerName,
    rung: Rung,
    bundle: Bundle,
    embeddings: NDArray[np.float32],
    standard: Standard,
) -> ComparedRung:
    """Return the rung with its parity and, if it is quantized, its own golden embeddings."""
    expected = standard.expected[name][: len(embeddings)]
    if rung.precision != "fp32":
        few = _rows(standard.inputs[name], slice(GOLDEN_INPUTS))
        golden = embeddings[:GOLDEN_INPUTS]
        reference = backend_of(rung.runtime).reference(rung, bundle.directory, few)
        if reference is not None:
            check_kernels(name, rung, expected[:GOLDEN_INPUTS], reference, golden)
        path = f"golden/{Path(rung.files[0].path).stem}_expected.npy"
        rung = replace(rung, expected=save_array(bundle.directory, path, normalize(golden)))
    measured = measure_parity(expected, embeddings)
    warnings = check_parity(name, rung.runtime, measured, allow_low=standard.allow_low_parity)
    return ComparedRung(replace(rung, parity=measured), warnings)


def save_array(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    """Write a .npy file of the bundle in `directory`."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _rows(inputs: Inputs, rows: slice) -> Inputs:
    return {name: value[rows] for name, value in inputs.items()}
