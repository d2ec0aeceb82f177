"""export_report.json, beside a bundle."""

from __future__ import annotations

import json

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BundleError
from mcad_mobile.export.export_report import REPORT, ExportReport, read_report
from tests.support.report_documents import precisions_chosen
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def bundle(tmp_path):
    """A bundle with a report."""
    return precisions_chosen(make_tiny_bundle(tmp_path / "bundle"))


def test_a_bundle_without_a_report_has_an_empty_one(bundle):
    (bundle.directory / REPORT).unlink()
    assert read_report(Bundle.load(bundle.directory)) == ExportReport()


def test_records_in_bundle_json_of_an_older_version_are_read(bundle):
    report = read_report(bundle)
    assert report.recall is not None and report.precision is not None
    (bundle.directory / REPORT).unlink()
    replace(bundle, **to_builtins(report)).save()
    assert read_report(Bundle.load(bundle.directory)) == report


@pytest.mark.parametrize(
    ("place", "value"), [("drop", 101), ("margin", -1), ("image", ""), ("pairs", None)]
)
def test_a_damaged_report_is_an_error(bundle, place, value):
    path = bundle.directory / REPORT
    document = json.loads(path.read_text())
    document["recall"][place] = value
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match=REPORT):
        read_report(bundle)
