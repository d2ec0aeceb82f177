"""A measurement on any device that can start a runner: self-test, searches, photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from mcad_mobile.base.documents import Count, convert
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.device_protocol import MEMORY_SEARCHES, Mode, Spec
from mcad_mobile.bench.document import Health, MiB, PerSecond, Samples, Step, percentiles
from mcad_mobile.bench.repeats import Repeat, cool_down, counted_runs
from mcad_mobile.bench.runner import checking
from mcad_mobile.bench.self_test import Ladder, choose_rung, judge_ladder, used_rung
from mcad_mobile.bench.watch import Watched
from mcad_mobile.engine.bundle import TOWERS, TowerName
from mcad_mobile.errors import BenchError, RunnerCrashed


class _Output(msgspec.Struct, frozen=True):
    """What a runner prints in every mode (docs/bench.md). Unknown fields are ignored."""

    pinned_cores: list[Count]
    foreign_modules: list[str] = []


class _TriedRung(msgspec.Struct, frozen=True):
    rung: Count
    loaded: bool
    why: str = ""
    provider: str | None = None
    nodes: dict[str, Count] | None = None


class _CheckOutput(_Output, frozen=True, kw_only=True):
    ladder: dict[str, list[_TriedRung]]
    tools: dict[str, str] = {}


class _SearchStages(msgspec.Struct, frozen=True):
    tokenize: Samples
    text: Samples
    scan: Samples
    rescore: Samples
    total: Samples


class _SearchOutput(_Output, frozen=True, kw_only=True):
    photos: Count
    bytes_per_photo: MiB
    steps: list[Step]
    samples_ms: _SearchStages
    waited_share: Annotated[float, Meta(ge=0, le=1)] | None = None


class _IndexStages(msgspec.Struct, frozen=True):
    decode: Samples
    image: Samples


class _IndexOutput(_Output, frozen=True, kw_only=True):
    photos: Count
    photos_per_s: PerSecond
    frames_per_s: PerSecond | None = None
    steps: list[Step]
    samples_ms: _IndexStages


class _ReadOutput(_Output, frozen=True, kw_only=True):
    photos: Count
    photos_an_hour: PerSecond
    steps: list[Step]


class _NoIndexing(_Output, frozen=True, kw_only=True):
    unsupported: str


_OUTPUTS: dict[Mode, type[_Output]] = {
    "check": _CheckOutput,
    "search": _SearchOutput,
    "index": _IndexOutput,
    "read": _ReadOutput,
}


class Launcher(Protocol):
    """Starts a runner on a device."""

    @property
    def places(self) -> dict[str, Any]: ...

    def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
        """Run a `mcad-run/1` document. BenchError: the runner fails."""
        ...

    def health(self) -> Health: ...


@dataclass(frozen=True)
class Session:
    """The measurement of one spec on one device."""

    launcher: Launcher
    spec: Spec
    progress: Progress = silent

    def check(self) -> tuple[Ladder, dict[str, str]]:
        """Run the self-test of every candidate rung; one that crashes the runner is recorded, and
        the others are tried again. Return the judged ladder, and the runner's "tools"."""
        rungs = self.spec.candidates()
        crashed: list[tuple[TowerName, dict[str, Any]]] = []
        while True:
            try:
                checked = self._launch("check", {"rungs": rungs}).document
                break
            except RunnerCrashed as crash:
                steps = {
                    checking(name, self.spec.bundle.tower(name).rungs[number]): (name, number)
                    for name, numbers in rungs.items()
                    for number in reversed(numbers)  # of two alike, the first is meant
                }
                if crash.step not in steps:
                    raise
                name, number = steps[crash.step]
                rungs[name].remove(number)
                why = f"the process crashed with code {crash.code}: {crash.last_line}"
                crashed.append((name, {"rung": number, "loaded": False, "why": why}))
        for name, numbers in rungs.items():
            printed = [tried["rung"] for tried in checked["ladder"].get(name, [])]
            if printed != numbers:
                raise BenchError(
                    f"The runner was asked to try rungs {numbers} of the {name} tower, but "
                    f"reported on {printed}.",
                    "Use a runner and a mcad-mobile of the same version.",
                )
        for name, tried in crashed:
            checked["ladder"][name] += [tried]
            checked["ladder"][name].sort(key=lambda rung: rung["rung"])
        return judge_ladder(self.spec.bundle, checked), checked.get("tools", {})

    def measure(self, ladder: Ladder) -> dict[str, Any]:
        """Search and index with the first rung of each tower that passed. Return the part of a
        device's document that is the same for all kinds of devices."""
        chosen = {name: choose_rung(ladder, name) for name in TOWERS}
        numbers = {"rung": {name: rung["rung"] for name, rung in chosen.items()}}
        repeats = self._searches(numbers)
        counted, records = counted_runs(repeats)
        indexing = self._launch("index", numbers)
        documents = [repeat.watched.document for repeat in counted]
        found = documents[0]
        cores = found["pinned_cores"]
        shares = (each.get("waited_share") for each in documents)
        waited = [share for share in shares if share is not None]
        samples = {
            stage: [ms for each in documents for ms in each["samples_ms"][stage]]
            for stage in found["samples_ms"]
        }
        document: dict[str, Any] = {
            "conditions": {
                "threads": self.spec.threads,
                # A runner reports its allowed cores. If it has more than threads, none is pinned.
                "pinned_cores": cores if len(cores) <= self.spec.threads else [],
                "searches": self.spec.searches,
                "warm_up_searches": MEMORY_SEARCHES,
                "results_per_search": self.spec.k,
                "page_cache": "warm",
                "repeats": records,
                **({"waited_share": max(waited)} if waited else {}),
            },
            "ladder": ladder,
            "runtime": {
                name: {**used_rung(self.spec.bundle, name, rung), "provider": rung["provider"]}
                for name, rung in chosen.items()
            },
            "index": {key: found[key] for key in ("photos", "bytes_per_photo")},
            "memory_mib": {
                **_peak([repeat.watched for repeat in counted]),
                "samples": sum(repeat.watched.samples for repeat in counted),
                "steps": found["steps"],
            },
        }
        if "unsupported" in indexing.document:
            document["indexing"] = {"unsupported": indexing.document["unsupported"]}
        else:
            samples.update(indexing.document["samples_ms"])
            document["indexing"] = {
                key: indexing.document[key]
                for key in ("photos", "photos_per_s", "frames_per_s")
                if key in indexing.document
            }
            steps = indexing.document["steps"]
            document["memory_mib"]["indexing"] = {**_peak([indexing]), "steps": steps}
        if self.spec.read_text:
            read = self._launch("read", {})
            facts = ("photos", "photos_an_hour")
            document["reading"] = {key: read.document[key] for key in facts}
            steps = read.document["steps"]
            document["memory_mib"]["reading"] = {**_peak([read]), "steps": steps}
        document["samples_ms"] = samples
        document["latency_ms"] = {stage: percentiles(taken) for stage, taken in samples.items()}
        return document

    def _searches(self, numbers: dict[str, Any]) -> list[Repeat]:
        repeats: list[Repeat] = []
        for number in range(self.spec.repeats):
            if number:
                self.progress(f"cooling down before run {number + 1} of {self.spec.repeats}")
                cool_down(self.launcher.health, self.spec.cool_down_s)
            before = self.launcher.health()
            watched = self._launch("search", numbers)
            repeats.append(Repeat(watched, before, self.launcher.health()))
        return repeats

    def _launch(self, mode: Mode, more: dict[str, Any]) -> Watched:
        document = {**self.spec.document(mode, self.launcher.places), **more}
        watched = self.launcher.launch(document, self.progress)
        kind = _NoIndexing if "unsupported" in watched.document else _OUTPUTS[mode]
        output = convert(
            watched.document,
            kind,
            f"The runner's output in mode {mode}",
            BenchError,
            "Use a runner and a mcad-mobile of the same version.",
        )
        if foreign := output.foreign_modules:
            raise BenchError(
                f"The measured process imported {', '.join(foreign)}, which no phone has, so its "
                "memory would be wrong.",
                "Find the import with: python -X importtime -m mcad_mobile.bench.runner.",
            )
        return watched


def _peak(runs: Sequence[Watched]) -> dict[str, float | None]:
    """Return the peaks of samples and steps, since samples can miss a step; None without any."""
    if not any(run.samples or run.document["steps"] for run in runs):
        return {"peak_pss": None, "peak_rss": None}
    return {
        f"peak_{kind}": max(
            max([getattr(run.peak, kind), *(step[kind] for step in run.document["steps"])])
            for run in runs
        )
        for kind in ("pss", "rss")
    }
