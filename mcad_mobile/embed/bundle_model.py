"""A bundle's image tower as the model of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import Bundle
from mcad_mobile.runtimes import normalize
from mcad_mobile.runtimes.ladder import load_tested
from mcad_mobile.runtimes.load import rungs_of


class BundleModel:
    """Photos -> embeddings [B, dim] float32 of unit length, as SearchEngine makes them: by the rung
    of `runtime` and `precision`, on the GPU that this process is given if `gpu`. It is loaded, and
    tested on this machine, before any photo is; RuntimeUnavailable if it does not pass."""

    at_once = 1  # towers are exported for one photo, as phones use them

    def __init__(
        self, directory: Path, runtime: str, precision: str, threads: int, *, gpu: bool = False
    ) -> None:
        self.threads = threads
        bundle = Bundle.load(directory, verify=False)
        rung = rungs_of(bundle, "image", runtime, precision)[0]
        climbed = load_tested(bundle, "image", rung, threads, gpu=gpu)
        self.filled_by = str(climbed)
        self._tower = climbed.tower
        self._preprocess = bundle.preprocess

    def prepare(self, photo: bytes, number: int, key: str) -> NDArray[np.float32]:
        return self._preprocess.decoded(photo, key)

    def rows(self, prepared: list[Any]) -> NDArray[np.float32]:
        each = [normalize(self._tower({"pixels": pixels[None]})) for pixels in prepared]
        return np.concatenate(each)
