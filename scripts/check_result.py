"""Check results that others measured, with weights and phones that we do not have.

python -m scripts.check_result benchmarks/results/others/NAME.json    # exits with 1 and says why

Such a file is a Result: who measured, where to read about it, and the outputs of `eval --bundle
BUNDLE --data DIR --json` and `bench --bundle BUNDLE --json` for one bundle.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mcad_mobile.base.documents import Count, Record, Sha256, Word, decode, read_file
from mcad_mobile.bench.document import BenchDocument
from mcad_mobile.engine.bundle import RecallAt
from mcad_mobile.errors import BenchError, McadError

FOLDER = Path(__file__).parents[1] / "benchmarks" / "results" / "others"
_HINT = "Copy the outputs of `eval --json` and `bench --json` as they are."


class EvaluatedStudent(Record, frozen=True):
    """The student whose recall was measured."""

    name: Word
    sha256: Sha256


class Evaluation(Record, frozen=True):
    """The output of `eval --json`."""

    photos: Count
    captions: Count
    text_to_image: RecallAt
    image_to_text: RecallAt
    mean_recall: float
    student: EvaluatedStudent


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
        measured = None if self.bench is None else self.bench.bundle.student.sha256
        if measured not in (None, found.student.sha256):
            raise ValueError("eval and bench measured different students: their sha256 differ")


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
