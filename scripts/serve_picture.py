"""Write docs/serve.png: the page of `mcad-mobile serve` in Chromium, on photos that packages ship.

python scripts/serve_picture.py --bundle build/demo/snapdragon    # after `mcad-mobile demo`
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).parents[1] / "docs" / "serve.png"
QUERY = "a man taking a photo with a camera"
WINDOW = {"width": 1120, "height": 740}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="with its index beside it")
    bundle = parser.parse_args().bundle
    command = [sys.executable, "-m", "mcad_mobile", "serve", "--json", "--port", "0"]
    with subprocess.Popen(
        [*command, "--bundle", str(bundle)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "}\n")
            take_picture(json.loads("".join(lines) + "}")["url"])
        finally:
            server.terminate()


def take_picture(url: str) -> None:
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW, color_scheme="light")
        page.goto(url)
        page.wait_for_selector("#left .frame img.here")
        for _ in range(5):  # the first search of a process pays for what is loaded then
            page.fill("#query", "")
            page.wait_for_timeout(300)
            page.fill("#query", QUERY)
            page.wait_for_selector("#left .doubtful .frame img.here")
        page.wait_for_timeout(1000)
        page.screenshot(path=OUT)
        browser.close()


if __name__ == "__main__":
    main()
