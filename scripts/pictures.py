"""Write docs/report.png and docs/serve.png: the report of `mcad-mobile demo` on photos that
packages ship, and the page of `mcad-mobile serve` on the same photos, as shown by Chromium.

mcad-mobile demo
python scripts/pictures.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
QUERY = "a man taking a photo with a camera"
REPORT = {"width": 1000, "height": 760}
PAGE = {"width": 1120, "height": 740}
_SHOWN = """() => {
    const images = [...document.querySelectorAll("#left .frame img")];
    return document.querySelector("#left li") && images.every((image) => image.naturalWidth);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("build/demo"), help="its folder")
    demo = parser.parse_args().demo
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        report = browser.new_page(viewport=REPORT, color_scheme="light")
        report.goto((demo / "report.html").resolve().as_uri())
        report.screenshot(path=DOCS / "report.png")
        command = [sys.executable, "-m", "mcad_mobile", "serve", "--json", "--port", "0"]
        with subprocess.Popen(
            [*command, "--bundle", str(demo / "snapdragon")], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                lines = [*iter(server.stdout.readline, "}\n"), "}"]
                search(browser, json.loads("".join(lines))["url"])
            finally:
                server.terminate()
        browser.close()


def search(browser: Browser, url: str) -> None:
    page = browser.new_page(viewport=PAGE, color_scheme="light")
    page.goto(url)
    page.wait_for_selector("#left .photo")
    for _ in range(5):  # a process's first search also loads code
        page.fill("#query", "")
        page.wait_for_timeout(300)
        page.fill("#query", QUERY)
        page.wait_for_function(_SHOWN)
    page.screenshot(path=DOCS / "serve.png")


if __name__ == "__main__":
    main()
