"""From photos that anyone may use to a library and an app that anyone may ship (docs/method.md)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.library_aar import build_library
from mcad_mobile.android.notices import FOLDER as LICENCES
from mcad_mobile.engine.bundle import Bundle
from tests.e2e.test_distill_processes import CLI, run
from tests.support.exported import mcad_json

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange")
CARD = "---\nlicense: cdla-permissive-2.0\n---\n# Plain colours\n"


def make_photos(folder: Path) -> Path:
    """Photos of one colour each, in CC0 as they are made here, with captions."""
    rows = ["photo,caption,split"]
    for number, colour in enumerate(COLOURS * 2):
        name = f"{number}.png"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (64 + number, 48), colour).save(folder / name)
        rows.append(f"{name},a {colour} wall,{'val' if number >= len(COLOURS) else 'train'}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.slow
def test_a_student_of_free_photos_is_shipped_without_accepting_a_licence(tmp_path):
    student, bundle = tmp_path / "mine", tmp_path / "bundle"
    data = make_photos(tmp_path / "photos")
    where = ["--out", str(student), "--cache", str(tmp_path / "cache")]
    run([*CLI, "distill", "--smoke", "--data", str(data), *where])
    (student / "README.md").write_text(CARD)
    (student / "LICENSE").write_text("Photos by nobody.\n")
    document = mcad_json("export", "--student", student, "-t", "cpu", "--out", bundle)
    assert document["licence"] == "CDLA-Permissive-2.0"
    build_library(Bundle.load(bundle), tmp_path / "search.aar")
    build_app(Bundle.load(bundle), tmp_path / "demo.apk")
    for name in ("search.aar", "demo.apk"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert "CDLA-Permissive-2.0" in archive.read(f"{LICENCES}/NOTICE.txt").decode()
            assert archive.read(f"{LICENCES}/weights/LICENSE") == b"Photos by nobody.\n"
