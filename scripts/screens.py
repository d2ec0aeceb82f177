"""Make the app page's pictures of screens from those that tests draw: `make screens`."""

from PIL import Image

from scripts.pages.results import ROOT

SHOWN = {"found": "light/found", "photo": "light/photo", "dark": "dark/found"}

for name, drawn in SHOWN.items():
    picture = Image.open(ROOT / "build/screens/30" / f"{drawn}.png").convert("RGB")
    picture = picture.resize((480, picture.height * 480 // picture.width))
    picture.save(ROOT / "docs/screens" / f"{name}.webp", quality=80, method=6)
