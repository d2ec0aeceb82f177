"""Build the bundles of several chips; a rung that several share is built once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from mcad_mobile.engine.bundle import TOWERS, Bundle, Precision, Rung, TowerName
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.backends.backend import Candidate, RungOrder, TowerPlan
from mcad_mobile.export.compare import ComparedRung, Simulator, Standard, compare, compare_simulated
from mcad_mobile.export.prepare import Prepared, Steps
from mcad_mobile.export.rungs import keyed_plans, with_source_facts
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import Target

Key = tuple[str, ...]  # of rungs with equal files and notes


@dataclass(frozen=True)
class BundleRequest:
    """A bundle to write; `precisions` None gives each tower's first rung the target's own."""

    target: Target
    out: Path
    cloud: CloudCompiler | None = None
    precisions: Mapping[TowerName, Precision] | None = None


@dataclass(frozen=True)
class BuiltRung:
    """A rung's files, alone in a folder, and how it compares with float: now, or when a simulator
    has run it."""

    folder: Path
    title: str
    compared: ComparedRung | Future[ComparedRung]


@dataclass(frozen=True)
class Builder:
    """What rungs are built with: parts lie in `folder`; simulations run in `background`, beside
    other builds; `chosen` is what a search for precisions chose; `built` are the rungs so far."""

    prepared: Prepared
    folder: Path
    standard: Standard
    simulator: Simulator
    background: Executor
    steps: Steps
    chosen: Mapping[TowerName, Candidate] = field(default_factory=dict)
    built: dict[Key, BuiltRung] = field(default_factory=dict)


def build(builder: Builder, request: BundleRequest, out: Path) -> tuple[Bundle, list[str]]:
    """Write a bundle's files, except bundle.json, to the empty folder `out`; return the bundle and
    warnings. All rungs are built before the first simulation is waited for."""
    prepared, steps = builder.prepared, builder.steps
    shutil.copytree(prepared.common, out, dirs_exist_ok=True)
    keyed = keyed_plans(request.target, request.precisions)
    new = [
        (key, plan, name)
        for name in TOWERS
        for key, plan in keyed[name].items()
        if key not in builder.built
    ]
    for key, plan, name in new:
        builder.built[key] = _build_rung(builder, request, key, plan, name)
    for key, _, name in new:
        made = builder.built[key]
        steps.begin(f"{name} tower: comparing {made.title} with float")
        if isinstance(made.compared, Future):
            with builder.simulator.shown():
                compared = made.compared.result()
            builder.built[key] = replace(made, compared=compared)
    rungs: dict[TowerName, tuple[Rung, ...]] = {}
    warnings: list[str] = []
    for name in TOWERS:
        compared_rungs = []
        for key in keyed[name]:
            made = builder.built[key]
            assert not isinstance(made.compared, Future)
            shutil.copytree(made.folder, out, dirs_exist_ok=True)
            compared_rungs.append(made.compared.rung)
            warnings += made.compared.warnings
        rungs[name] = with_source_facts(compared_rungs)
    return prepared.bundle(out, request.target, rungs), warnings


def rung_order(
    job: TowerJob, plan: TowerPlan, request: BundleRequest, chosen: Candidate | None
) -> RungOrder:
    """Return how to make a rung: as a search chose, if it is of the precision that it chose."""
    order = RungOrder(job, *plan, request.target, keep_precision=request.precisions is not None)
    if chosen is not None and chosen.precision == plan.precision:
        weights = chosen.four_bit_weights
        order = replace(order, method=chosen.method, four_bit_weights=weights, keep_precision=True)
    if request.cloud is not None:
        order = replace(order, compile_context=request.cloud.compile)
    return order


def _build_rung(
    builder: Builder, request: BundleRequest, key: Key, plan: TowerPlan, name: TowerName
) -> BuiltRung:
    """Build a rung in a folder of its own, and begin to compare it with float."""
    folder = builder.folder / "-".join(key)
    folder.mkdir()
    on_chip = f" for {request.target.chip}" if request.target.id in key else ""
    title = f"{plan.runtime} {plan.precision}{on_chip}"
    builder.steps.begin(f"{name} tower: {title}")
    # Biases are corrected for 8-bit weights; float rungs keep the original ones.
    job = builder.prepared.jobs[name]
    if plan.precision == "fp32":
        job = job.uncorrected or job
    order = rung_order(job, plan, request, builder.chosen.get(name))
    rung = backend_of(plan.runtime).build(order, folder)
    alone = builder.prepared.bundle(folder, request.target, {name: (rung,)})
    job.progress("comparing with float")
    simulator, standard = builder.simulator, builder.standard
    if request.cloud is not None or not runtime_of(rung).simulated:
        return BuiltRung(folder, title, compare(name, rung, alone, request.cloud, standard))
    towers = simulator.load(alone, rung)
    simulated = builder.background.submit(
        compare_simulated, name, rung, alone, towers, standard, simulator
    )
    return BuiltRung(folder, title, simulated)
