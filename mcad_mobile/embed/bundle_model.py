"""A bundle's image tower as the model of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import Bundle
from mcad_mobile.engine import SearchEngine


class BundleModel:
    """Photos -> embeddings [B, dim] float32 of unit length, as `index` makes them: by the rung of
    `runtime` and `precision`."""

    at_once = 1  # towers are exported for one photo, as phones use them

    def __init__(self, bundle: Path, runtime: str, precision: str, threads: int) -> None:
        self.threads = threads
        self._engine = SearchEngine(
            Bundle.load(bundle, verify=False), runtime=runtime, precision=precision, threads=threads
        )
        # Loaded, and tested on this machine, before any photo is.
        self.filled_by = str(self._engine.image_rung)

    def prepare(self, photo: bytes, number: int, key: str) -> NDArray[np.float32]:
        return self._engine.preprocess.decoded(photo, key)

    def rows(self, prepared: list[Any]) -> NDArray[np.float32]:
        return np.stack([self._engine.embed_pixels(pixels) for pixels in prepared])
