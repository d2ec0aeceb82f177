"""docs/parts.md says of every file that is fetched whose build it is."""

from __future__ import annotations

from mcad_mobile.android.downloads import DOWNLOADS, MOBSF, Artifact
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "parts.md"


def test_every_pinned_file_is_listed_with_its_checksum_and_source():
    page = PAGE.read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    pinned = {file.name: file.sha256 for file in DOWNLOADS}
    for name, sha256 in pinned.items():
        (row,) = (row for row in rows if row.startswith(f"| `{name}`"))
        assert f"`{sha256}`" in row
    assert len(rows) == len(pinned)
    artifacts = {file.source for file in DOWNLOADS if isinstance(file.source, Artifact)}
    assert all(f"`{artifact}`" in page for artifact in artifacts)
    assert f"{MOBSF.name} {MOBSF.version}" in page
