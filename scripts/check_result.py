"""Check results that others measured, with weights and phones that we do not have.

python -m scripts.check_result benchmarks/results/others/NAME.json    # exits with 1 and says why

Such a file is a Result: who measured, where to read about it, and the outputs of `eval --bundle
BUNDLE --data DIR --json` and `bench --bundle BUNDLE --json` for one bundle.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import UNSET

from mcad_mobile.base.documents import Count, Record, Sha256, Word, decode, read_file
from mcad_mobile.bench.document import BenchDocument
from mcad_mobile.engine.bundle import RecallAt
from mcad_mobile.errors import BenchError, McadError

FOLDER = Path(__file__).parents[1] / "benchmarks" / "results" / "others"
_HINT = (
    "Copy the outputs of `eval --bundle BUNDLE --json` and `bench --bundle BUNDLE --json` as they "
    "are."
)


class EvaluatedStudent(Record, frozen=True):
    """The student whose recall was measured; `source` is what `export --student` was given."""

    name: Word
    sha256: Sha256
    source: Word


class EvaluatedBundle(Record, frozen=True):
    """The bundle whose towers embedded."""

    name: Word
    created: Word


class UsedRung(Record, frozen=True):
    """What a tower ran on."""

    runtime: Word
    precision: Word


class UsedRungs(Record, frozen=True):
    """What both towers ran on."""

    image: UsedRung
    text: UsedRung

    def __str__(self) -> str:
        rungs = (f"{rung.runtime} {rung.precision}" for rung in (self.image, self.text))
        return " and ".join(dict.fromkeys(rungs))


class Evaluation(Record, frozen=True):
    """The output of `eval --bundle BUNDLE --json`. Without `--bundle`, it lacks two fields."""

    photos: Count
    captions: Count
    text_to_image: RecallAt
    image_to_text: RecallAt
    mean_recall: float
    student: EvaluatedStudent
    bundle: EvaluatedBundle
    runtime: UsedRungs


class Result(Record, frozen=True):
    """A measurement: `weights` as for `--student`, `data` the captioned photos and split, `page`
    the address of a page about it (a pull request)."""

    by: Word
    page: Word
    weights: Word
    data: Word
    eval: Evaluation
    bench: BenchDocument | None = None

    def __post_init__(self) -> None:
        if not self.page.startswith("https://"):
            raise ValueError(f"page {self.page!r} does not begin with https://")
        found = self.eval
        six = [
            r for at in (found.text_to_image, found.image_to_text) for r in (at.r1, at.r5, at.r10)
        ]
        if abs(sum(six) / 6 - found.mean_recall) > 0.1:
            raise ValueError(f"mean_recall {found.mean_recall} is not the mean of six recalls")
        _check_source("eval", found.student.source, self.weights)
        if self.bench is not None:
            self._check_bench(self.bench)

    def _check_bench(self, bench: BenchDocument) -> None:
        evaluated, bundle = self.eval, bench.bundle
        if bundle.student.sha256 != evaluated.student.sha256:
            raise ValueError("eval and bench measured different students: their sha256 differ")
        _check_source("bench", bundle.student.source, self.weights)
        if (bundle.name, bundle.created) != (evaluated.bundle.name, evaluated.bundle.created):
            raise ValueError("eval and bench measured different bundles: name or created differ")
        if bench.device.kind != "adb":
            raise ValueError(
                f"bench measured a device of kind {bench.device.kind!r}, not a phone: measure with "
                "`bench --device adb`, or leave bench out"
            )
        if bench.latency_ms.total is UNSET:
            raise ValueError("bench timed no search: latency_ms has no total")


def _check_source(verb: str, source: str, weights: str) -> None:
    if source != weights:
        raise ValueError(
            f"weights is {weights!r}, and {verb} measured {source!r}: both must be what `export "
            "--student` was given"
        )


def load_result(path: Path) -> Result:
    """Read and check a file. BenchError names the wrong field."""
    return decode(read_file(path, BenchError, _HINT), Result, path, BenchError, _HINT)


def stored_results(folder: Path = FOLDER) -> list[Result]:
    """Return all results of others, sorted by file name."""
    return [load_result(path) for path in sorted(folder.glob("*.json"))]


def main() -> None:
    for name in sys.argv[1:]:
        try:
            found = load_result(Path(name))
        except McadError as error:
            sys.exit(f"{error}")
        print(f"{name}: {found.weights}, mR {found.eval.mean_recall:.1f}")


if __name__ == "__main__":
    main()
