"""The report in a real browser: it renders, fits, prints, and says nothing on the console."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.report import html
from tests.support import system_chromium
from tests.support.report_documents import measured, parity_of_an_emulator
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.long


WIDE, NARROW = 1100, 420


@pytest.fixture(scope="module")
def chromium() -> str:
    return system_chromium.chromium()


def browse(chromium: str, page: Path, *arguments: str) -> tuple[str, list[str]]:
    """Open a page with the network cut off: what was printed, and the console's lines."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={page.parent / 'profile'}",
        *arguments,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two results side by side, and one that was not timed."""
    folder = tmp_path_factory.mktemp("report")
    bundle = make_tiny_bundle(folder / "bundle")
    documents = [
        complete_document(bundle, found)
        for found in (measured(), measured(total=9.0, peak=120.0), parity_of_an_emulator())
    ]
    path = folder / "report.html"
    path.write_text(html(*documents), "utf-8")
    return path


def test_page_renders_without_console_messages(chromium: str, page: Path) -> None:
    dom, console = browse(chromium, page, "--dump-dom")
    assert console == []
    assert "<h1>Results side by side</h1>" in dom
    assert dom.count("<svg") == 2 + 2 * 2


def test_errors_would_be_seen_on_the_console(chromium: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>console.error('seen'); undefinedFunction()</script>")
    _, console = browse(chromium, broken, "--dump-dom")
    assert any("seen" in line for line in console)
    assert any("undefinedFunction" in line for line in console)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_page_is_as_wide_as_its_window(chromium: str, page: Path, width: int) -> None:
    """Nothing sticks out on the right: its margin has the colour of the paper, all the way down."""
    shot = page.with_name(f"shot-{width}.png")
    browse(chromium, page, f"--window-size={width},6000", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width
    paper = pixels[2, 2]
    assert (pixels[:, -8:] == paper).all()
    assert (pixels[:, : width // 2] != paper).any(axis=2).mean() > 0.02


def test_page_prints_with_each_result_on_a_sheet_of_its_own(chromium: str, tmp_path: Path) -> None:
    """Results so short that they would share sheets if they might."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    page, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    results = [complete_document(bundle, parity_of_an_emulator()) for _ in range(3)]
    page.write_text(html(*results), "utf-8")
    browse(chromium, page, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    side_by_side = 1
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) == side_by_side + len(results)
