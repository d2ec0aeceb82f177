"""Make the app page's pictures of screens from those that tests draw: `make screens`.

python -m scripts.screens
"""

from __future__ import annotations

from PIL import Image

from scripts.pages.results import ROOT

DRAWN = ROOT / "build" / "screens" / "30"
SHOWN = {"found": "light/found", "photo": "light/photo", "dark": "dark/found"}
_WIDTH = 480


def main() -> None:
    """Write docs/screens/NAME.webp for each picture that the page shows."""
    folder = ROOT / "docs" / "screens"
    folder.mkdir(exist_ok=True)
    for name, drawn in SHOWN.items():
        picture = Image.open(DRAWN / f"{drawn}.png").convert("RGB")
        height = picture.height * _WIDTH // picture.width
        picture.resize((_WIDTH, height)).save(folder / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
