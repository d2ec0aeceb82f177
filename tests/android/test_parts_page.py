"""docs/parts.md says of every pinned file whose build it is."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.android.downloads import DOWNLOADS, ONNXRUNTIME_AAR
from mcad_mobile.android.npu import ONNXRUNTIME_QNN
from mcad_mobile.distill.pretrained import SHA256

PAGE = Path(__file__).parents[2] / "docs" / "parts.md"


def test_every_pinned_file_is_told_with_its_checksum():
    page = PAGE.read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    pinned = {file.name: file.sha256 for file in DOWNLOADS} | SHA256
    for name, sha256 in pinned.items():
        (row,) = (row for row in rows if row.startswith(f"| `{name}`"))
        assert f"`{sha256}`" in row
    assert ONNXRUNTIME_QNN.sha256 is not None and f"`{ONNXRUNTIME_QNN.sha256}`" in page
    assert len(rows) == len(pinned)
    packages = {file.package for file in DOWNLOADS}
    assert all(f"{package.name} {package.version}" in page for package in packages)
    assert ONNXRUNTIME_AAR.artifact is not None
