"""Rungs of a student, read back from their files, run, and compared with the float student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Bundle, FileRecord, Rung, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, load_rung, normalize
from mcad_mobile.export import parity
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.precision.recipes import Recipe
from mcad_mobile.export.rungs import COMPILED_FROM

GOLDEN_INPUTS = 2
PARITY_INPUTS = 16
# All architectures of the HTP compute the same integers; v81 rounds otherwise as it makes floats.
_SAME = 1e-5


class Comparison:
    """Compares the rungs of one student with its float towers.

    Args:
        inputs: real inputs of each tower, the golden ones first.
        expected: the float towers' embeddings of them, [N, dim] float32 of unit length.
        allow_low_parity: accept rungs whose cosine is below what a bundle needs.
        simulated_inputs: how many of the inputs a simulator is given, the golden ones at least.
    """

    def __init__(
        self,
        inputs: Mapping[TowerName, Inputs],
        expected: Mapping[TowerName, NDArray[np.float32]],
        *,
        allow_low_parity: bool,
        simulated_inputs: int,
    ) -> None:
        self._inputs = inputs
        self._expected = expected
        self._allow_low_parity = allow_low_parity
        self._simulated_inputs = simulated_inputs
        self._by_simulator: dict[TowerName, list[NDArray[np.float32]]] = {}

    def compare(
        self, name: TowerName, rung: Rung, bundle: Bundle, cloud: CloudCompiler | None
    ) -> tuple[Rung, list[str]]:
        """Run a rung of `bundle`; return it with its parity and its embeddings of the golden
        inputs, and warnings. A rung that nothing here can run is returned as it is.

        ParityError if it is too far from float, or if this machine's kernels do not compute what
        its file describes.
        """
        if rung.runtime in COMPILED_FROM:
            return rung, []
        if cloud is not None and rung.runtime == "qnn":
            embeddings, rung = cloud.run(bundle, rung, self._inputs[name])
        else:
            tower = load_rung(bundle, rung)
            run = self._simulate if tower.simulated else self._run
            embeddings = run(name, tower)
        expected = self._expected[name][: len(embeddings)]
        if rung.precision != "fp32":
            golden = embeddings[:GOLDEN_INPUTS]
            if rung.runtime != "qnn":
                few = _first(self._inputs[name], GOLDEN_INPUTS)
                reference = parity.evaluate_reference(rung, bundle.directory, few)
                parity.check_kernels(name, rung, expected[:GOLDEN_INPUTS], reference, golden)
            stem = Path(rung.files[0].path).stem
            path = f"golden/{stem}_expected.npy"
            rung = replace(rung, expected=save_array(bundle.directory, path, normalize(golden)))
        found = parity.parity(expected, embeddings)
        warnings = parity.check(name, rung.runtime, found, allow_low=self._allow_low_parity)
        return replace(rung, parity=found), warnings

    def acceptable(self, name: TowerName, recipes: Sequence[Recipe]) -> tuple[list[Recipe], str]:
        """Return the recipes whose rungs `compare` would accept, and a sentence on the others, if
        there are any. ParityError if none is left."""
        if self._allow_low_parity:
            return list(recipes), ""
        low = {}
        for recipe in recipes:
            embeddings = recipe.load(recipe.path)(self._inputs[name])
            found = parity.parity(self._expected[name], embeddings)
            if parity.too_low(found):
                low[recipe] = found
        if len(low) == len(recipes):
            best = max(low, key=lambda recipe: low[recipe].cosine_mean)
            parity.check(name, best.label, low[best], allow_low=False)
        left_out = ", ".join(
            f"{recipe.label} ({found.cosine_mean:.3f})" for recipe, found in low.items()
        )
        return [recipe for recipe in recipes if recipe not in low], (
            f" Too far from float to be tried, by cosine: {name} {left_out}." if low else ""
        )

    def simulator_agreement(self, name: TowerName, chosen: Recipe) -> str:
        """Return a sentence on how near the simulator is to the graph whose recall was measured."""
        simulated = self._by_simulator[name][-1]
        inputs = _first(self._inputs[name], len(simulated))
        found = parity.parity(normalize(chosen.load(chosen.path)(inputs)), simulated)
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
        """Run a tower in its simulator, which can take a minute an input. A graph that is compiled
        for several chips computes the same on them: a chip that agrees with an earlier one on the
        golden inputs is not given the others."""
        golden = self._run(name, tower, slice(GOLDEN_INPUTS))
        known = self._by_simulator.setdefault(name, [])
        for embeddings in known:
            difference = normalize(golden) - normalize(embeddings[:GOLDEN_INPUTS])
            if np.abs(difference).max() < _SAME:
                return np.concatenate([golden, embeddings[GOLDEN_INPUTS:]])
        numbers = range(GOLDEN_INPUTS, self._simulated_inputs)
        rest = [self._run(name, tower, slice(number, number + 1)) for number in numbers]
        known.append(np.concatenate([golden, *rest]))
        return known[-1]


def save_array(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    """Write a .npy file of the bundle in `directory`."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _first(inputs: Inputs, count: int) -> Inputs:
    return {name: value[:count] for name, value in inputs.items()}
