"""Load a student's rungs from their files, run them, and compare them with the float student."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle, FileRecord, Rung, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, load_tower, normalize, runtime_of
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.backends import backend
from mcad_mobile.export.parity import (
    check_kernels,
    check_parity,
    measure_parity,
)
from mcad_mobile.export.precision.candidates import Candidate

GOLDEN_INPUTS = 2
PARITY_INPUTS = 16
# All HTP architectures compute the same integers; v81 rounds differently when it makes floats.
_TOLERANCE = 1e-5

T = TypeVar("T")
ComparedRung = tuple[Rung, list[str]]  # the rung with its parity and embeddings, and warnings


class Comparison:
    """Compares rungs with the float towers' `expected` embeddings of `inputs`, golden inputs first.
    Simulators take seconds per input, so they run while other rungs are built."""

    def __init__(
        self,
        inputs: Mapping[TowerName, Inputs],
        expected: Mapping[TowerName, NDArray[np.float32]],
        *,
        allow_low_parity: bool,
        simulated_inputs: int,
        progress: Progress = silent,
    ) -> None:
        self._inputs = inputs
        self._expected = expected
        self._allow_low_parity = allow_low_parity
        self._simulated_inputs = simulated_inputs
        self._progress = progress
        self._simulated: dict[TowerName, list[NDArray[np.float32]]] = {}
        self._simulator_lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Stop simulation after the current inputs: Qualcomm's library aborts a process that exits
        while it computes."""
        self._closed = True
        with self._simulator_lock:
            pass

    def start(
        self, name: TowerName, rung: Rung, bundle: Bundle, cloud: CloudCompiler | None
    ) -> Callable[[], ComparedRung]:
        """Start to compare a rung of `bundle`; return a function that waits for the result, or
        raises ParityError. A rung that this machine cannot run is returned unchanged."""
        if runtime_of(rung).source:  # it cannot run, but has the integers of its source
            return lambda: (rung, [])
        finish = partial(self._finish, name, bundle.directory)
        if cloud is not None and backend(rung.runtime).in_cloud:
            embeddings, rung = cloud.run(bundle, rung, self._inputs[name])
        else:
            tower = load_tower(bundle, rung)
            if tower.simulated:
                # A simulator uses one core, so further threads each get a session of their own.
                further = range(1, min(allowed_cores(), self._simulated_inputs))
                towers = [tower, *(load_tower(bundle, rung) for _ in further)]

                def simulated() -> ComparedRung:
                    with self._simulator_lock:  # in parallel with builds, not with other simulators
                        return finish(rung, self._simulate(name, towers))

                return _start_thread(simulated).result
            embeddings = tower(self._inputs[name])
        compared = finish(rung, embeddings)
        return lambda: compared

    def _finish(
        self, name: TowerName, directory: Path, rung: Rung, embeddings: NDArray[np.float32]
    ) -> ComparedRung:
        expected = self._expected[name][: len(embeddings)]
        if rung.precision != "fp32":
            golden = embeddings[:GOLDEN_INPUTS]
            few = _rows(self._inputs[name], slice(GOLDEN_INPUTS))
            reference = backend(rung.runtime).reference(rung, directory, few)
            if reference is not None:
                check_kernels(name, rung, expected[:GOLDEN_INPUTS], reference, golden)
            path = f"golden/{Path(rung.files[0].path).stem}_expected.npy"
            rung = replace(rung, expected=save_array(directory, path, normalize(golden)))
        measured = measure_parity(expected, embeddings)
        warnings = check_parity(name, rung.runtime, measured, allow_low=self._allow_low_parity)
        return replace(rung, parity=measured), warnings

    def acceptable(
        self, name: TowerName, candidates: Sequence[Candidate]
    ) -> tuple[list[Candidate], str]:
        """Return the candidates whose parity is high enough, and a sentence on the others."""
        if self._allow_low_parity:
            return list(candidates), ""
        low = {}
        for candidate in candidates:
            embeddings = candidate.load(candidate.path)(self._inputs[name])
            measured = measure_parity(self._expected[name], embeddings)
            if measured.is_low:
                low[candidate] = measured
        if len(low) == len(candidates):
            best = max(low, key=lambda candidate: low[candidate].cosine_mean)
            check_parity(name, best.label, low[best], allow_low=False)
        labels = [
            f"{candidate.label} ({measured.cosine_mean:.3f})" for candidate, measured in low.items()
        ]
        left_out = f" Too far from float to be tried, by cosine: {name} {', '.join(labels)}."
        return [
            candidate for candidate in candidates if candidate not in low
        ], left_out if low else ""

    def _simulate(self, name: TowerName, towers: Sequence[LoadedTower]) -> NDArray[np.float32]:
        """Run equal towers in their simulator, which can take a minute per input. A chip that
        agrees with an earlier one on the golden inputs reuses its result for the other inputs."""
        # A folder to calibrate on may hold fewer captions, or fewer photos that can be decoded.
        numbers = range(min(self._simulated_inputs, len(self._expected[name])))
        golden = np.concatenate(self._run(name, towers, numbers[:GOLDEN_INPUTS], len(numbers)))
        earlier = self._simulated.setdefault(name, [])
        for embeddings in earlier:
            difference = normalize(golden) - normalize(embeddings[:GOLDEN_INPUTS])
            if np.abs(difference).max() < _TOLERANCE:
                return np.concatenate([golden, embeddings[GOLDEN_INPUTS:]])
        rest = self._run(name, towers, numbers[GOLDEN_INPUTS:], len(numbers))
        earlier.append(np.concatenate([golden, *rest]))
        return earlier[-1]

    def _run(
        self, name: TowerName, towers: Sequence[LoadedTower], numbers: Sequence[int], total: int
    ) -> list[NDArray[np.float32]]:
        """Return the embeddings [1, dim] of these inputs, each computed by the next free tower."""
        embeddings: dict[int, NDArray[np.float32]] = {}
        remaining = iter(numbers)

        def work(tower: LoadedTower) -> None:
            for number in remaining:
                if self._closed:
                    return
                embeddings[number] = tower(_rows(self._inputs[name], slice(number, number + 1)))
                done = numbers[0] + len(embeddings)
                self._progress(f"{name} tower: simulated inputs", done, total)

        futures = [_start_thread(partial(work, tower)) for tower in towers]
        wait(futures)
        for future in futures:
            future.result()
        return [embeddings[number] for number in numbers]


def _start_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` on a daemon thread of its own; at exit, a pool would first finish its queue."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised again in the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def save_array(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    """Write a .npy file of the bundle in `directory`."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _rows(inputs: Inputs, rows: slice) -> Inputs:
    return {name: value[rows] for name, value in inputs.items()}
