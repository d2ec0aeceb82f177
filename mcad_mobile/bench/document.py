"""The mcad-bench/1 document and its reader. docs/bench.md explains the fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType, field

from mcad_mobile.base.documents import Bytes, Count, NotNegative, Record, Size, decode
from mcad_mobile.bench.device_protocol import RESULT_SCHEMA
from mcad_mobile.engine.bundle import TOWERS, Cosine, Dim, StudentFacts, TargetFacts
from mcad_mobile.errors import BenchError

# The upper limits are far beyond any device, and a chart can still show them.
Ms = Annotated[float, Meta(ge=0, le=1e9)]
MiB = Annotated[float, Meta(ge=0, le=1e9)]
PerSecond = Annotated[float, Meta(ge=0, le=1e9)]
Limit = Annotated[float, Meta(gt=0, le=1e9)]
Samples = Annotated[list[Ms], Meta(min_length=1)]
Range = tuple[MiB, MiB]
T = TypeVar("T")


class PerTower(Record, Generic[T], frozen=True):
    image: T | UnsetType = UNSET
    text: T | UnsetType = UNSET


class PerStage(Record, Generic[T], frozen=True):
    tokenize: T | UnsetType = UNSET
    text: T | UnsetType = UNSET
    scan: T | UnsetType = UNSET
    rescore: T | UnsetType = UNSET
    total: T | UnsetType = UNSET
    decode: T | UnsetType = UNSET
    image: T | UnsetType = UNSET


class TowerFacts(Record, frozen=True):
    runtime: str
    precision: str
    bytes: Bytes
    low_parity: bool = False


class TowerLadders(Record, frozen=True):
    image: list[TowerFacts]
    text: list[TowerFacts]


class BundleFacts(Record, frozen=True):
    name: str
    created: str
    student: StudentFacts
    target: TargetFacts
    dim: Dim
    tools: dict[str, str]
    towers: TowerLadders


class DeviceFacts(Record, frozen=True):
    """The facts of all kinds of devices; each kind reports some of them."""

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


class Health(Record, frozen=True):
    """A device's heat and power, as far as it reports them. `thermal_status` is Android's (0: none,
    1: light throttling, up to 6); `capped` maps cores whose clock is held under their maximum to
    the allowed MHz."""

    thermal_status: Count | UnsetType = UNSET
    temperature_c: Annotated[float, Meta(ge=-273, le=1000)] | UnsetType = UNSET
    battery_percent: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    capped: dict[str, Count] | UnsetType = UNSET


class RepeatFacts(Record, frozen=True):
    p50_ms: Ms
    counted: bool
    why: str
    before: Health
    after: Health


class Conditions(Record, frozen=True):
    threads: Size | None
    pinned_cores: list[Count]
    searches: Size | UnsetType = UNSET
    warm_up_searches: Count | UnsetType = UNSET
    results_per_search: Size | UnsetType = UNSET
    page_cache: str | UnsetType = UNSET
    iterations: PerTower[Count] | UnsetType = UNSET
    waited_share: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    repeats: list[RepeatFacts] = field(default_factory=list)

    def __post_init__(self) -> None:
        facts = (self.searches, self.warm_up_searches, self.results_per_search, self.page_cache)
        if UNSET in facts and facts != (UNSET,) * 4:
            raise ValueError(
                "searches, warm_up_searches, results_per_search and page_cache belong together"
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


class TriedLadders(Record, frozen=True):
    image: list[TriedRung] = field(default_factory=list)
    text: list[TriedRung] = field(default_factory=list)


class UsedRung(Record, frozen=True):
    runtime: str
    precision: str
    bytes: Bytes | None
    provider: str | UnsetType | None = UNSET
    nodes: dict[str, Count] | UnsetType | None = UNSET


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


class MemoryFacts(IndexingMemory, frozen=True):
    samples: Count | UnsetType = UNSET
    indexing: IndexingMemory | UnsetType = UNSET
    reading: IndexingMemory | UnsetType = UNSET
    towers: PerTower[TowerMemory] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.peak_pss is None) != (self.peak_rss is None):
            raise ValueError("one of peak_pss and peak_rss is null")


class Percentiles(Record, frozen=True):
    p50: Ms
    p90: Ms
    p99: Ms


class IndexingFacts(Record, frozen=True):
    """The speed of indexing, or why it was not measured."""

    photos: Count | UnsetType = UNSET
    photos_per_s: PerSecond | UnsetType = UNSET
    frames_per_s: PerSecond | UnsetType = UNSET
    unsupported: str | UnsetType = UNSET
    source: str = ""

    def __post_init__(self) -> None:
        if self.unsupported is UNSET and UNSET in (self.photos, self.photos_per_s):
            raise ValueError("it has neither photos and photos_per_s nor unsupported")


class ReadingFacts(Record, frozen=True):
    photos: Count
    photos_an_hour: PerSecond


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
        memory, search = self.memory, self.search
        if (memory.measured_mib is None) != (memory.passed is None) or (
            search.measured_ms is None
        ) != (search.passed is None):
            raise ValueError("a target has a verdict but no measurement, or the reverse")


class CloudJobs(Record, frozen=True):
    compile: str | None
    inference: str
    url: str


class BenchDocument(Record, frozen=True):
    """One result, of one bundle on one device."""

    schema: str
    created: str
    bundle: BundleFacts
    device: DeviceFacts
    tools: dict[str, str]
    conditions: Conditions
    runtime: PerTower[UsedRung]
    index: IndexFacts
    memory_mib: MemoryFacts
    latency_ms: PerStage[Percentiles]
    indexing: IndexingFacts
    measured: list[str]
    not_measured: list[str]
    targets: Targets
    ladder: TriedLadders = TriedLadders()
    samples_ms: PerStage[Samples] = PerStage()
    jobs: PerTower[CloudJobs] | UnsetType = UNSET
    reading: ReadingFacts | UnsetType = UNSET

    def __post_init__(self) -> None:
        for name in TOWERS:
            count = len(getattr(self.bundle.towers, name))
            for tried in getattr(self.ladder, name):
                if tried.rung >= count:
                    raise ValueError(
                        f"the ladder has rung {tried.rung} of the {name} tower, of {count} rungs"
                    )
        if self.indexing.unsupported is UNSET and self.memory_mib.indexing is UNSET:
            raise ValueError("indexing was measured, and memory_mib lacks indexing")
        if (self.reading is UNSET) != (self.memory_mib.reading is UNSET):
            raise ValueError("one of reading and memory_mib.reading is missing")
        if self.conditions.pinned_cores and self.device.cores is UNSET:
            raise ValueError("threads were pinned, and device lacks cores")
        if self.device.memory_available_mib and not self.device.memory_mib:
            raise ValueError("device has memory_available_mib, and lacks memory_mib")


_HINT = "Give a file of `bench --json`; measure again if it was cut short."


def load_documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read documents of `bench --json` or `--report X.json`, one or a list of them per file.
    BenchError names a file that is missing or has no document, or the field that is wrong."""
    return [msgspec.to_builtins(document) for path in paths for document in _documents(path)]


def _documents(path: Path) -> list[BenchDocument]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise BenchError(
            f"{path} does not exist.", "Make it: mcad-mobile bench --json > FILE."
        ) from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error}.", _HINT) from error
    parts = {str(path): raw}
    if raw.lstrip().startswith(b"["):
        listed = decode(raw, list[msgspec.Raw], path, BenchError, _HINT)
        parts = {f"{path}[{number}]": bytes(part) for number, part in enumerate(listed)}
    if not parts:
        raise BenchError(f"{path} holds no result: its list is empty.", _HINT)
    return [
        decode(part, BenchDocument, where, BenchError, _HINT, schema=RESULT_SCHEMA)
        for where, part in parts.items()
    ]


_PERCENTILES = (50, 90, 99)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """{"p50", "p90", "p99"} of `values`, at least one, in their own unit."""
    names = (f"p{percent}" for percent in _PERCENTILES)
    return dict(zip(names, np.percentile(values, _PERCENTILES).tolist(), strict=True))
