"""The rungs of a bundle's ladder: which of them a target gets, and the backend that builds each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import TOWERS, Precision, Rung, TowerName
from mcad_mobile.engine.towers import RUNTIMES, runtime_of
from mcad_mobile.errors import require
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.backends.backend import TowerPlan
from mcad_mobile.targets import Target


def tower_plans(
    name: TowerName, target: Target, precisions: Mapping[TowerName, Precision] | None = None
) -> list[TowerPlan]:
    """Return a tower's rungs that can be built here; `precisions` replaces the first one's."""
    plans = [
        TowerPlan(plan.runtime, precision)
        for plan in target.ladder
        for precision in [plan.image if name == "image" else plan.text]
        if precision is not None and backend_of(plan.runtime).can_build(plan.runtime, target)
    ]
    if precisions is None:
        return plans
    source = RUNTIMES[plans[0].runtime].source
    return [
        TowerPlan(plan.runtime, precisions[name]) if number == 0 or plan.runtime == source else plan
        for number, plan in enumerate(plans)
    ]


def keyed_plans(
    target: Target, precisions: Mapping[TowerName, Precision] | None = None
) -> dict[TowerName, dict[tuple[str, ...], TowerPlan]]:
    """Return the rungs of a bundle by tower and key; equal keys mean equal files and notes."""

    def key(name: TowerName, plan: TowerPlan) -> tuple[str, ...]:
        shared_by = backend_of(plan.runtime).shared_by(plan.runtime, target)
        return name, plan.runtime, plan.precision, shared_by

    return {
        name: {key(name, plan): plan for plan in tower_plans(name, target, precisions)}
        for name in TOWERS
    }


def require_compilers(target: Target, *, cloud: bool) -> None:
    """Raise MissingExtra if a compiler for one of the target's rungs is not installed."""
    for plan in target.ladder:
        made_by = backend_of(plan.runtime)
        if made_by.compiler is not None and not (cloud and made_by.in_cloud):
            with quiet():
                require(*made_by.compiler)


def graph_form(target: Target) -> tuple[str, int]:
    """Return what decides which quantized graphs a chip takes."""
    return target.family, backend_of(target.ladder[0].runtime).graph_form(target)


def with_source_facts(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Give rungs that cannot run here the parity and embeddings of the rung they come from."""
    by_runtime = {rung.runtime: rung for rung in rungs}

    def complete(rung: Rung) -> Rung:
        source = by_runtime.get(runtime_of(rung).source)
        if source is None:
            return rung
        return replace(rung, parity=source.parity, expected=source.expected)

    return tuple(map(complete, rungs))
