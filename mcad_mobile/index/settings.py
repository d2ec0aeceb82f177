"""What an index chooses for itself when it is committed, from a sample of its photos: which bits a
scan reads, whether cells are worth their while, and how far a search looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.index.cells import cells_of, fit_centroids, nearest_first
from mcad_mobile.index.codes import F32, split
from mcad_mobile.index.lens import estimates, fit_lens, moments
from mcad_mobile.index.reach import First, K, Reach, Sample, Trial

# Fewer photos are all scored by their bytes.
LEAST = 256
# Fewer are scanned before cells are in order.
_LEAST_IN_CELLS = 1 << 17

# Numbers in a sample of photos, and photos at least where that many are there.
_SAMPLE, _LEAST_SAMPLE = 1 << 22, 4096
# Photos of it that lenses are fitted to.
_FIT_SAMPLE = 4096
_MOST_SCANNED = 1024
# What a search costs, in ns on a server's core: a byte scanned, a photo scored and its bytes.
_NS_BYTE, _NS_PHOTO, _NS_PHOTO_BYTE = 0.1, 1500.0, 0.6
# And to say which cells to look into, and a number of a centroid.
_NS_CELLS, _NS_NUMBER = 150_000.0, 0.1
# And a photo looked at once more, and a word of it, each somewhere else.
_NS_LOOK, _NS_WORD = 40.0, 60.0
# A first look loses some of what the second would find: it looks at more.
_WIDER = 1.5
# Words may be harder to place than photos, and what pass 2 leaves out (rescore.py) costs little.
_SPARE = 2
# Nor do photos in a cell or two more.
_MORE_CELLS = 1.5
_WORTH, _WORTH_CELLS = 1.05, 1.1


@dataclass(frozen=True)
class Cells:
    """Centroids [C, D] int16, see cells.py, and how many photos the cells that are looked into
    hold."""

    centroids: npt.NDArray[np.int16]
    reach: Reach


@dataclass(frozen=True)
class Settings:
    """lens [S, D] float32, S the bits that are in columns, the reach for them, a scan of fewer
    where that pays, and cells where they do."""

    lens: F32
    reach: Reach
    first: First | None = None
    cells: Cells | None = None


def no_settings(dim: int) -> Settings:
    """Return those of an index whose photos are all scored."""
    return Settings(np.zeros((0, dim), np.float32), Reach(1.0, 1.0, 1.0))


def sample_size(dim: int) -> int:
    """Return how many photos of so many dimensions `choose` wants at most."""
    return max(_SAMPLE // dim, _LEAST_SAMPLE)


def worth_cells(photos: int) -> bool:
    """Say whether a segment of so many may have cells."""
    return photos >= _LEAST_IN_CELLS


def choose(sample: Sample, axis: F32, photos: int) -> Settings:
    """Choose settings for an index of `photos` from a sample of about sample_size(D) at most."""
    dim = len(axis)
    if len(sample) < LEAST or dim < 64:
        return no_settings(dim)
    bits = np.empty((len(sample), dim), np.uint8)
    for some in exact.blocks(len(sample)):
        bits[some] = split(sample[some], axis)[1] > 0
    trial = Trial(sample, axis)
    ways: list[tuple[Cells | None, float, float]] = [(None, photos, 0.0)]
    if worth_cells(photos) and (cells := _cells(split(sample[:], axis)[1], trial)):
        held = cells.reach.candidates(photos, K)
        ways.append((cells, held, _NS_CELLS + cells.centroids.size * _NS_NUMBER))
    found: list[tuple[float, Settings]] = []
    firsts: list[First] = []
    most = min(dim, _MOST_SCANNED) // 64 * 64
    to_fit = slice(0, len(sample), -(-len(sample) // _FIT_SAMPLE))
    fitted = moments(sample[to_fit], bits[to_fit, :most])
    for scanned in sorted({64 * max(most * quarters // 256, 1) for quarters in (1, 2, 3, 4)}):
        lens = fit_lens(fitted, scanned)
        reach = trial.by_estimates(partial(estimates, lens, bits[:, :scanned]))
        scores = reach.candidates(photos, K) * (_NS_PHOTO + dim * _NS_PHOTO_BYTE)
        for cells, looked_into, cost_of_cells in ways:
            worth = _WORTH_CELLS if cells else 1.0
            for first in (None, *firsts):
                bytes_read = (first.bits if first else scanned) / 8
                cost = looked_into * bytes_read * _NS_BYTE + scores + cost_of_cells
                if first:
                    words = (scanned - first.bits) // 64
                    looks = first.reach.candidates(photos, K)
                    cost += looks * (_NS_LOOK + words * _NS_WORD)
                found.append((worth * cost, Settings(lens, reach.times(_SPARE), first, cells)))
        firsts.append(First(scanned, reach.times(_WIDER)))
    least = min(cost for cost, _ in found)
    return next(
        settings
        for cost, settings in sorted(found, key=lambda one: (len(one[1].lens), one[0]))
        if cost <= _WORTH * least
    )


def _cells(rests: F32, trial: Trial) -> Cells | None:
    centroids = fit_centroids(rests)
    if not len(centroids):
        return None
    orders = nearest_first(trial.queries, centroids.astype(np.float32))
    return Cells(centroids, trial.by_cells(orders, cells_of(rests, centroids)).times(_MORE_CELLS))
