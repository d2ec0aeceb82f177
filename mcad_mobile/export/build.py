"""Build the bundles of several chips; a rung that several share is built once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

from msgspec import structs

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import READER_SHAPES, TOWERS, Bundle, Precision, Rung, TowerName
from mcad_mobile.engine.towers import RUNTIMES, runtime_of
from mcad_mobile.errors import require
from mcad_mobile.export.aihub_compiler import CloudCompiler
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.backends.backend import Candidate, RungOrder, TowerPlan
from mcad_mobile.export.compare import Standard
from mcad_mobile.export.prepare import Prepared, chip_facts
from mcad_mobile.targets import Target

Key = tuple[str, ...]  # of rungs with equal files and notes


@dataclass(frozen=True)
class BundleRequest:
    """A bundle to write, for a chip and `more` of its family; `precisions` None gives each tower's
    first rung the target's own. Rungs are made as a search chose, if they are of the precision that
    it `chose`."""

    target: Target
    out: Path
    cloud: CloudCompiler | None = None
    precisions: Mapping[TowerName, Precision] | None = None
    chosen: Mapping[TowerName, Candidate] = field(default_factory=dict)
    more: tuple[Target, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """All its chips."""
        return self.target, *self.more


@dataclass(frozen=True)
class BuiltRung:
    """A rung whose files are alone in a folder, and warnings for its user."""

    folder: Path
    rung: Rung
    warnings: list[str]


def build(
    prepared: Prepared,
    request: BundleRequest,
    standard: Standard,
    built: dict[Key, BuiltRung],
    out: Path,
) -> tuple[Bundle, list[str]]:
    """Write a bundle's files, except bundle.json, to the empty folder `out`; return the bundle and
    warnings. Rungs that are not in `built` are added to it."""
    shutil.copytree(prepared.common, out, dirs_exist_ok=True)
    rungs: dict[TowerName, tuple[Rung, ...]] = {}
    warnings: list[str] = []
    for name, plans in keyed_plans(request.targets, request.precisions, prepared.jobs).items():
        for key, plan in plans.items():
            if key not in built:
                built[key] = _build_rung(prepared, request, standard, key, plan, name)
            shutil.copytree(built[key].folder, out, dirs_exist_ok=True)
            warnings += built[key].warnings
        rungs[name] = with_source_facts([built[key].rung for key in plans])
    return prepared.bundle(out, request.targets, rungs), warnings


def _build_rung(
    prepared: Prepared,
    request: BundleRequest,
    standard: Standard,
    key: Key,
    plan: TowerPlan,
    name: TowerName,
) -> BuiltRung:
    """Build a rung in a folder of its own, and compare it with float."""
    folder = prepared.common.parent / "-".join(key)
    folder.mkdir()
    on_chip = f" for {plan.target.chip}" if plan.target.id in key else ""
    prepared.steps.begin(f"{name} tower: {plan.runtime} {plan.precision}{on_chip}")
    # Biases are corrected for 8-bit weights; float rungs keep the original ones.
    job = prepared.jobs[name]
    if plan.precision == "fp32":
        job = job.uncorrected or job
    chosen = request.chosen.get(name)
    if chosen is not None and chosen.precision != plan.precision:
        chosen = None
    order = RungOrder(
        job,
        *plan,
        four_bit_weights=frozenset() if chosen is None else chosen.four_bit_weights,
        keep_precision=name in (request.precisions or {}),
        compile_context=None if request.cloud is None else request.cloud.compile,
    )
    rung = backend_of(plan.runtime).build(order, folder)
    if plan.place:
        rung = structs.replace(rung, chip=chip_facts(plan.target, request.targets))
    job.progress("comparing with float")
    alone = prepared.bundle(folder, [plan.target], {name: (rung,)})
    return BuiltRung(folder, *standard.compare(name, rung, alone, request.cloud))


def tower_plans(
    name: TowerName, target: Target, precisions: Mapping[TowerName, Precision] | None = None
) -> list[TowerPlan]:
    """Return a tower's rungs that can be built here; `precisions` replaces the first one's. The
    reader has the text tower's, without those that are larger or slower on CPUs than others."""
    if name in READER_SHAPES:
        return [
            plan
            for plan in tower_plans("text", target)
            if plan.precision != "fp32" and (target.has_npu or RUNTIMES[plan.runtime].on_any_cpu)
        ]
    plans = [
        TowerPlan(plan.runtime, precision, target)
        for plan in target.ladder
        for precision in [plan.image if name == "image" else plan.text]
        if precision is not None and backend_of(plan.runtime).can_build(plan.runtime, target)
    ]
    precision = (precisions or {}).get(name)
    if precision is None:
        return plans
    source = RUNTIMES[plans[0].runtime].source
    return [
        plan._replace(precision=precision) if number == 0 or plan.runtime == source else plan
        for number, plan in enumerate(plans)
    ]


def keyed_plans(
    targets: Sequence[Target],
    precisions: Mapping[TowerName, Precision] | None = None,
    names: Iterable[TowerName] = TOWERS,
) -> dict[TowerName, dict[Key, TowerPlan]]:
    """Return the rungs of a bundle by tower and key, the best of each chip first; equal keys mean
    equal files and notes."""

    def keyed(name: TowerName, plan: TowerPlan) -> tuple[Key, TowerPlan]:
        shared_by = backend_of(plan.runtime).shared_by(plan.runtime, plan.target)
        place = plan.target.id if len(targets) > 1 and shared_by == plan.target.id else ""
        return (name, plan.runtime, plan.precision, shared_by, place), plan._replace(place=place)

    def plans(name: TowerName) -> Iterator[TowerPlan]:
        ladders = [tower_plans(name, target, precisions) for target in targets]
        return filter(None, chain.from_iterable(zip_longest(*ladders)))

    return {name: dict(keyed(name, plan) for plan in plans(name)) for name in names}


def require_compilers(target: Target, *, cloud: bool) -> None:
    """Raise MissingExtra if a compiler for one of the target's rungs is not installed."""
    for plan in target.ladder:
        made_by = backend_of(plan.runtime)
        if made_by.compiler is not None and not (cloud and made_by.in_cloud):
            with quiet():
                require(*made_by.compiler)


def with_source_facts(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Give rungs that cannot run here the parity and embeddings of the rung they come from."""
    by_runtime = {rung.runtime: rung for rung in rungs}

    def complete(rung: Rung) -> Rung:
        source = by_runtime.get(runtime_of(rung).source)
        if source is None:
            return rung
        return structs.replace(rung, parity=source.parity, expected=source.expected)

    return tuple(map(complete, rungs))
