"""What a difference of two recalls on the same photos can be told from none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONFIDENCE = 1.96  # standard errors on each side, for 95 %


@dataclass(frozen=True)
class Drop:
    """mR, in points, that exported towers lose against float ones on `photos` photos, and the half
    width of its 95 % interval: a difference smaller than that cannot be told from none."""

    points: float
    margin: float
    photos: int

    def photos_to_tell(self, points: float) -> int:
        """How many photos would tell a difference of so many points from none, were the towers to
        differ on each as they do on these. The margin falls with the root of their number."""
        return math.ceil(self.photos * (self.margin / points) ** 2)


def drop(exact: NDArray[np.float64], exported: NDArray[np.float64]) -> Drop:
    """Of `Retrieval.by_photo` [N] of float and exported towers, on the same photos.

    Paired: most photos are found alike by both, and what is the same in both adds no doubt. Photos
    are independent of each other here; that each is a distractor of all others is left out.
    """
    lost = exact - exported
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf
    return Drop(float(lost.mean()), _CONFIDENCE * error, len(lost))
