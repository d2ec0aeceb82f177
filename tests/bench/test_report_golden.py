"""Each word of a report, and where each mark of its drawings stands, as they were when somebody
last looked at them: tests/golden/make_report.py."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT
from tests.support.tiny_bundle import make_tiny_bundle

GOLDEN = ROOT / "tests" / "golden"
NEAR = 1.0  # of 338 across: what another matplotlib may place otherwise


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from tests.golden.make_report import reports

    return reports(make_tiny_bundle(tmp_path_factory.mktemp("golden") / "bundle"))


def placed(line: str) -> tuple[str, list[float]]:
    """What a line says, and, of a mark, where."""
    mark = re.fullmatch(r"((?:text|path) @)([-\d. ]+)(@.*)", line)
    if not mark:
        return line, []
    return mark[1] + mark[3], [float(number) for number in mark[2].split()]


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "report").iterdir()))
def test_a_report_reads_and_looks_as_it_did(reports: dict[str, str], name: str) -> None:
    found = [placed(line) for line in reports[name].splitlines()]
    expected = [placed(line) for line in (GOLDEN / "report" / name).read_text("utf-8").splitlines()]
    assert [text for text, _ in found] == [text for text, _ in expected]
    for (text, numbers), (_, near) in zip(found, expected, strict=True):
        assert numbers == pytest.approx(near, abs=NEAR), text


def test_every_report_is_looked_at(reports: dict[str, str]) -> None:
    assert set(reports) == {path.name for path in (GOLDEN / "report").iterdir()}
