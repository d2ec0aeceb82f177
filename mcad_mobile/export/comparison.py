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
    """Compares rungs with the float towers' `expected` embeddings of `inputs`, golden first."""

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
        """Return a rung of `bundle` with its parity and embeddings, and warnings."""
        if rung.runtime in COMPILED_FROM:
            return rung, []
        if cloud is not None and rung.runtime == "qnn":
            embeddings, rung = cloud.run(bundle, rung, self._inputs[name])
        else:
            tower, inputs = load_rung(bundle, rung), self._inputs[name]
            embeddings = self._simulate(name, tower) if tower.simulated else tower(inputs)
        expected = self._expected[name][: len(embeddings)]
        if rung.precision != "fp32":
            golden = embeddings[:GOLDEN_INPUTS]
            if rung.runtime != "qnn":
                few = _rows(self._inputs[name], slice(GOLDEN_INPUTS))
                reference = parity.evaluate_reference(rung, bundle.directory, few)
                parity.check_kernels(name, rung, expected[:GOLDEN_INPUTS], reference, golden)
            stem = Path(rung.files[0].path).stem
            path = f"golden/{stem}_expected.npy"
            rung = replace(rung, expected=save_array(bundle.directory, path, normalize(golden)))
        found = parity.parity(expected, embeddings)
        warnings = parity.check(name, rung.runtime, found, allow_low=self._allow_low_parity)
        return replace(rung, parity=found), warnings

    def acceptable(self, name: TowerName, recipes: Sequence[Recipe]) -> tuple[list[Recipe], str]:
        """Return the recipes whose parity `compare` would accept, and a sentence on the others."""
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
        labels = [f"{recipe.label} ({found.cosine_mean:.3f})" for recipe, found in low.items()]
        left_out = f" Too far from float to be tried, by cosine: {name} {', '.join(labels)}."
        return [recipe for recipe in recipes if recipe not in low], left_out if low else ""

    def _simulate(self, name: TowerName, tower: LoadedTower) -> NDArray[np.float32]:
        """Run a tower in its simulator, which can take a minute an input. A chip that agrees with
        an earlier one on the golden inputs computes the same, and is not given the others."""
        inputs = self._inputs[name]
        golden = tower(_rows(inputs, slice(GOLDEN_INPUTS)))
        known = self._by_simulator.setdefault(name, [])
        for embeddings in known:
            difference = normalize(golden) - normalize(embeddings[:GOLDEN_INPUTS])
            if np.abs(difference).max() < _SAME:
                return np.concatenate([golden, embeddings[GOLDEN_INPUTS:]])
        numbers = range(GOLDEN_INPUTS, self._simulated_inputs)
        rest = [tower(_rows(inputs, slice(number, number + 1))) for number in numbers]
        known.append(np.concatenate([golden, *rest]))
        return known[-1]


def save_array(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    """Write a .npy file of the bundle in `directory`."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _rows(inputs: Inputs, rows: slice) -> Inputs:
    return {name: value[rows] for name, value in inputs.items()}
