"""Read mcad-bench/1 documents back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from mcad_mobile.base.documents import Bytes, Count, NotNegative, Record, Size, decode
from mcad_mobile.bench.devices.base import RESULT_SCHEMA
from mcad_mobile.engine.bundle import Cosine, Dim, StudentFacts, TargetFacts
from mcad_mobile.errors import BenchError

# The mcad-bench/1 document, as it is read back: docs/bench.md says what its fields mean.

# Far beyond any device; a chart has to hold it.
Ms = Annotated[float, Meta(ge=0, le=1e9)]
MiB = Annotated[float, Meta(ge=0, le=1e9)]
PerSecond = Annotated[float, Meta(ge=0, le=1e9)]
Limit = Annotated[float, Meta(gt=0, le=1e9)]
Samples = Annotated[list[Ms], Meta(min_length=1)]
Range = tuple[MiB, MiB]


class TowerFacts(Record, frozen=True):
    runtime: str
    precision: str
    bytes: Bytes
    low_parity: bool = False


class LadderFacts(Record, frozen=True):
    image: list[TowerFacts]
    text: list[TowerFacts]


class BundleFacts(Record, frozen=True):
    name: str
    created: str
    student: StudentFacts
    target: TargetFacts
    dim: Dim
    tools: dict[str, str]
    towers: LadderFacts


class DeviceFacts(Record, frozen=True):
    """What each kind of device tells, and some do not."""

    kind: str
    cpu: str
    os: str
    system: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    soc: str | UnsetType | None = UNSET
    emulator: str | UnsetType = UNSET
    instruction_sets: list[str] | UnsetType = UNSET
    cores: Count | UnsetType = UNSET
    core_max_mhz: dict[str, Count] | UnsetType = UNSET
    arch: str | UnsetType = UNSET
    abi: str | UnsetType = UNSET
    memory_mib: Count | UnsetType | None = UNSET
    memory_available_mib: Count | UnsetType = UNSET
    kernel: str | UnsetType = UNSET
    build: str | UnsetType = UNSET
    python: str | UnsetType = UNSET
    load_average_1m: NotNegative | UnsetType | None = UNSET
    pushed_files: Count | UnsetType = UNSET


class HealthFacts(Record, frozen=True):
    thermal_status: Count | UnsetType = UNSET
    temperature_c: Annotated[float, Meta(ge=-273, le=1000)] | UnsetType = UNSET
    battery_percent: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    capped: dict[str, Count] | UnsetType = UNSET


class RepeatFacts(Record, frozen=True):
    p50_ms: Ms
    counted: bool
    why: str
    before: HealthFacts
    after: HealthFacts


class Iterations(Record, frozen=True):
    image: Count | UnsetType = UNSET
    text: Count | UnsetType = UNSET


class Conditions(Record, frozen=True):
    threads: Size | None
    pinned_cores: list[Count]
    searches: Size | UnsetType = UNSET
    warm_up_searches: Count | UnsetType = UNSET
    results_per_search: Size | UnsetType = UNSET
    page_cache: str | UnsetType = UNSET
    iterations: Iterations | UnsetType = UNSET
    waited_share: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    repeats: list[RepeatFacts] = field(default_factory=list)

    def __post_init__(self) -> None:
        told = (self.searches, self.warm_up_searches, self.results_per_search, self.page_cache)
        if len({one is UNSET for one in told}) > 1:
            raise ValueError(
                "searches are told in part: how many, after how many, of which results"
            )


class TriedRung(Record, frozen=True):
    rung: Count
    runtime: str
    precision: str
    provider: str | None
    nodes: dict[str, Count] | None
    cosine_min: Cosine | None
    why: str
    status: str


class Tried(Record, frozen=True):
    image: list[TriedRung] = field(default_factory=list)
    text: list[TriedRung] = field(default_factory=list)


class UsedRung(Record, frozen=True):
    runtime: str
    precision: str
    bytes: Bytes
    provider: str | UnsetType | None = UNSET
    nodes: dict[str, Count] | UnsetType | None = UNSET


class Used(Record, frozen=True):
    image: UsedRung | UnsetType = UNSET
    text: UsedRung | UnsetType = UNSET


class IndexFacts(Record, frozen=True):
    photos: Count | None
    bytes_per_photo: MiB | None
    source: str = ""


class Step(Record, frozen=True):
    step: str
    pss: MiB
    rss: MiB


class IndexingMemory(Record, frozen=True):
    peak_pss: MiB | None
    peak_rss: MiB | None
    steps: list[Step]


class TowerMemory(Record, frozen=True):
    load_peak: Range | None = None
    run_peak: Range | None = None


class TowersMemory(Record, frozen=True):
    image: TowerMemory | UnsetType = UNSET
    text: TowerMemory | UnsetType = UNSET


class MemoryFacts(Record, frozen=True):
    peak_pss: MiB | None
    peak_rss: MiB | None
    steps: list[Step]
    samples: Count | UnsetType = UNSET
    indexing: IndexingMemory | UnsetType = UNSET
    towers: TowersMemory | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.peak_pss is None) != (self.peak_rss is None):
            raise ValueError("one of peak_pss and peak_rss is null")


class Percentiles(Record, frozen=True):
    p50: Ms
    p90: Ms
    p99: Ms


class Latencies(Record, frozen=True):
    tokenize: Percentiles | UnsetType = UNSET
    text: Percentiles | UnsetType = UNSET
    scan: Percentiles | UnsetType = UNSET
    rescore: Percentiles | UnsetType = UNSET
    total: Percentiles | UnsetType = UNSET
    decode: Percentiles | UnsetType = UNSET
    image: Percentiles | UnsetType = UNSET


class StageSamples(Record, frozen=True):
    tokenize: Samples | UnsetType = UNSET
    text: Samples | UnsetType = UNSET
    scan: Samples | UnsetType = UNSET
    rescore: Samples | UnsetType = UNSET
    total: Samples | UnsetType = UNSET
    decode: Samples | UnsetType = UNSET
    image: Samples | UnsetType = UNSET


class IndexingFacts(Record, frozen=True):
    """Measured, or why it was not."""

    photos: Count | UnsetType = UNSET
    photos_per_s: PerSecond | UnsetType = UNSET
    unsupported: str | UnsetType = UNSET
    source: str = ""

    def __post_init__(self) -> None:
        if self.unsupported is UNSET and UNSET in (self.photos, self.photos_per_s):
            raise ValueError("neither photos and photos_per_s nor unsupported are told")


class MemoryTarget(Record, frozen=True):
    limit_mib: Limit
    measured_mib: MiB | None
    passed: bool | None = field(name="pass")


class SearchTarget(Record, frozen=True):
    limit_ms: Limit
    measured_ms: Ms | None
    passed: bool | None = field(name="pass")


class Targets(Record, frozen=True):
    memory: MemoryTarget
    search: SearchTarget

    def __post_init__(self) -> None:
        measured = (self.memory.measured_mib, self.search.measured_ms)
        if [one is None for one in measured] != [
            target.passed is None for target in (self.memory, self.search)
        ]:
            raise ValueError("a target has a verdict without a measurement, or none with one")


class CloudJobs(Record, frozen=True):
    compile: str | None
    inference: str
    url: str


class Jobs(Record, frozen=True):
    image: CloudJobs | UnsetType = UNSET
    text: CloudJobs | UnsetType = UNSET


class BenchDocument(Record, frozen=True):
    """One result. Version 0.1.0 wrote neither `ladder`, `samples_ms` nor `conditions.repeats`."""

    schema: str
    created: str
    bundle: BundleFacts
    device: DeviceFacts
    tools: dict[str, str]
    conditions: Conditions
    runtime: Used
    index: IndexFacts
    memory_mib: MemoryFacts
    latency_ms: Latencies
    indexing: IndexingFacts
    measured: list[str]
    not_measured: list[str]
    targets: Targets
    ladder: Tried = Tried()
    samples_ms: StageSamples = StageSamples()
    jobs: Jobs | UnsetType = UNSET

    def __post_init__(self) -> None:
        for name in ("image", "text"):
            there = len(getattr(self.bundle.towers, name))
            for tried in getattr(self.ladder, name):
                if tried.rung >= there:
                    raise ValueError(
                        f"the ladder tells of rung {tried.rung} of the {name} tower, of {there}"
                    )
        if self.indexing.unsupported is UNSET and self.memory_mib.indexing is UNSET:
            raise ValueError("indexing was measured, and memory_mib lacks indexing")
        if self.conditions.pinned_cores and self.device.cores is UNSET:
            raise ValueError("threads were pinned, and device lacks cores")
        if self.device.memory_available_mib and not self.device.memory_mib:
            raise ValueError("device tells memory_available_mib, and lacks memory_mib")


_HINT = "Give a file of `bench --json`; one that was cut short is measured again."


def load_documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The documents of `bench --json` or `--report X.json`: one a file, or a list of them. What
    they lack and an older version did not write is there as nothing. BenchError for a file that is
    missing, holds no document, or one with a field that is missing, unknown or of another kind."""
    return [msgspec.to_builtins(one) for path in paths for one in _documents(path)]


def _documents(path: Path) -> list[BenchDocument]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist.", "Make it: bench --json > FILE.") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error}.", _HINT) from error
    if not raw.lstrip().startswith(b"["):
        return [decode(raw, BenchDocument, path, BenchError, _HINT, schema=RESULT_SCHEMA)]
    several = decode(raw, list[msgspec.Raw], path, BenchError, _HINT)
    if not several:
        raise BenchError(f"{path} holds no result: its list is empty.", _HINT)
    return [
        decode(
            bytes(one), BenchDocument, f"{path}[{number}]", BenchError, _HINT, schema=RESULT_SCHEMA
        )
        for number, one in enumerate(several)
    ]
