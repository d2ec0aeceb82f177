"""Each word of a report, and where each mark of its drawings stands, as they were when somebody
last looked at them: tests/golden/make_report.py."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from tests.support.tiny_bundle import make_tiny_bundle

GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from tests.golden.make_report import reports

    return reports(make_tiny_bundle(tmp_path_factory.mktemp("golden") / "bundle"))


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "report").iterdir()))
def test_a_report_reads_and_looks_as_it_did(reports: dict[str, str], name: str) -> None:
    assert reports[name] == (GOLDEN / "report" / name).read_text("utf-8")


def test_every_report_is_looked_at(reports: dict[str, str]) -> None:
    assert set(reports) == {path.name for path in (GOLDEN / "report").iterdir()}
