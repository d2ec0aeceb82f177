"""Real photographs that installed Python packages ship, for demos and for calibration."""

from __future__ import annotations

import importlib.util
from pathlib import Path

# (package, folder inside it, files): photographs only, no drawings or test charts. All are free
# to redistribute; skimage/data/README.txt and sklearn/datasets/images/README.txt name sources.
_SOURCES = (
    (
        "skimage",
        "data",
        "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png "
        "hubble_deep_field.jpg moon.png motorcycle_left.png retina.jpg rocket.jpg",
    ),
    ("sklearn", "datasets/images", "china.jpg flower.jpg"),
    ("matplotlib", "mpl-data/sample_data", "grace_hopper.jpg"),
)


def packaged_photos() -> list[Path]:
    found = []
    for package, folder, names in _SOURCES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(spec.submodule_search_locations[0]) / folder
        found += [root / name for name in names.split() if (root / name).is_file()]
    return found
