"""Rungs, read back from their files and compared with the float student; what several chips share
is found once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Bundle, FileRecord, Rung, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, load_rung, normalize
from mcad_mobile.export import parity as validate
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.rungs import COMPILED_FROM, Candidate, evaluate_as_written

GOLDEN_INPUTS = 2
PARITY_INPUTS = 16
# All architectures of the HTP compute the same integers; v81 rounds otherwise as it makes floats.
_SAME = 1e-5


class Comparison:
    """Of a student's rungs, whose float towers gave `exact` [N, dim] for `inputs`, each by tower.
    What is simulated is compared on the first `simulated` of them, at least the golden ones."""

    def __init__(
        self,
        inputs: dict[TowerName, Inputs],
        exact: dict[TowerName, NDArray[np.float32]],
        *,
        allow_low_parity: bool,
        simulated: int,
    ) -> None:
        self._inputs = inputs
        self._exact = exact
        self._allow_low_parity = allow_low_parity
        self._simulated = simulated
        self._by_simulator: dict[TowerName, list[NDArray[np.float32]]] = {}

    def judged(
        self, name: TowerName, rung: Rung, bundle: Bundle, cloud: CloudCompiler | None
    ) -> tuple[Rung, str | None]:
        """The rung of `bundle` with its parity and what its file gives for the golden inputs, and
        a warning: compared with the float student and, where this machine's own kernels ran it,
        with what it says evaluated as it is written. One that nothing here can run is left as it
        is. ParityError."""
        if rung.runtime in COMPILED_FROM:
            return rung, None
        if cloud is not None and rung.runtime == "qnn":
            embeddings, rung = cloud.run(bundle, rung, self._inputs[name])
        else:
            tower = load_rung(bundle, rung)
            run = self._simulate if tower.simulated else self._run
            embeddings = run(name, tower)
        exact = self._exact[name][: len(embeddings)]
        if rung.precision != "fp32":
            golden = embeddings[:GOLDEN_INPUTS]
            if rung.runtime != "qnn":
                few = {key: value[:GOLDEN_INPUTS] for key, value in self._inputs[name].items()}
                written = evaluate_as_written(rung, bundle.directory, few)
                validate.judge_kernels(name, rung, exact[:GOLDEN_INPUTS], written, golden)
            stem = Path(rung.files[0].path).stem
            path = f"golden/{stem}_expected.npy"
            rung = replace(rung, expected=save_array(bundle.directory, path, normalize(golden)))
        parity = validate.parity(exact, embeddings)
        warning = validate.judge(name, rung.runtime, parity, allow_low=self._allow_low_parity)
        return replace(rung, parity=parity), warning

    def accepted(
        self, name: TowerName, candidates: Sequence[Candidate]
    ) -> tuple[list[Candidate], str]:
        """The candidates whose rungs `judged` would accept, and a sentence on the others, if there
        are any. ParityError where none is left."""
        if self._allow_low_parity:
            return list(candidates), ""
        found = {
            one: validate.parity(self._exact[name], one.load(one.path)(self._inputs[name]))
            for one in candidates
        }
        low = {one: at for one, at in found.items() if validate.too_low(at)}
        if len(low) == len(candidates):
            best = max(low, key=lambda one: low[one].cosine_mean)
            validate.judge(name, best.told, low[best], allow_low=False)
        told = ", ".join(f"{one.told} ({at.cosine_mean:.3f})" for one, at in low.items())
        left_out = f" Too far from float to be tried, by cosine: {name} {told}." if low else ""
        return [one for one in candidates if one not in low], left_out

    def told_agreement(self, name: TowerName, chosen: Candidate) -> str:
        """How near the simulator is to the graph by which recall was judged."""
        simulated = self._by_simulator[name][-1]
        inputs = {key: value[: len(simulated)] for key, value in self._inputs[name].items()}
        found = validate.parity(normalize(chosen.load(chosen.path)(inputs)), simulated)
        return (
            f"Recall of the {name} tower was judged by ONNX Runtime on this processor. On "
            f"{found.inputs} real inputs the HTP simulator's embeddings have a cosine of "
            f"{found.cosine_mean:.4f} to its own, {found.cosine_min:.4f} at worst."
        )

    def _run(
        self, name: TowerName, tower: LoadedTower, rows: slice = slice(None)
    ) -> NDArray[np.float32]:
        return tower({key: value[rows] for key, value in self._inputs[name].items()})

    def _simulate(self, name: TowerName, tower: LoadedTower) -> NDArray[np.float32]:
        """An input can take the simulator a minute. What is compiled from one graph for several
        chips computes the same: where a chip gives what another one gave for the golden inputs, it
        is not asked about the others."""
        golden = self._run(name, tower, slice(GOLDEN_INPUTS))
        known = self._by_simulator.setdefault(name, [])
        for embeddings in known:
            if _same(golden, embeddings[:GOLDEN_INPUTS]):
                return np.concatenate([golden, embeddings[GOLDEN_INPUTS:]])
        others = range(GOLDEN_INPUTS, self._simulated)
        found = [self._run(name, tower, slice(number, number + 1)) for number in others]
        known.append(np.concatenate([golden, *found]))
        return known[-1]


def save_array(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    """A .npy file of a bundle."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(np.abs(normalize(one) - normalize(other)).max() < _SAME)
