"""Reads a line of text that was cut out of a photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.arrays import F32, U8
from mcad_mobile.engine.bundle import RECOGNIZER_SHAPE, RECOGNIZER_STEP
from mcad_mobile.engine.towers import LoadedTower
from mcad_mobile.errors import BundleError, Remedy

HEIGHT = RECOGNIZER_SHAPE[2]
MOST_WIDTH = 100 * HEIGHT  # of a line; longer ones are narrowed
_FIXED_WIDTH, _WIDEST = RECOGNIZER_SHAPE[3], 960
_WIDTHS = 4 * RECOGNIZER_STEP  # few shapes, for which a runtime prepares itself
_MARGIN = 6 * RECOGNIZER_STEP  # pixels by which the pieces of a line overlap, twice


@dataclass(frozen=True)
class Recognizer:
    """Calls a tower on pieces of a line; `characters` are what its outputs 1, 2, ... mean."""

    tower: LoadedTower
    characters: Sequence[str]
    fixed: bool = False

    def read(self, line: U8) -> tuple[str, float]:
        """Return the text of an RGB line [48, W, 3], and the mean confidence, 0 to 1, in its
        characters. BundleError if the tower has other characters."""
        width = line.shape[1]
        most = _FIXED_WIDTH if self.fixed else _WIDEST
        best, confidences = [np.zeros(1, np.intp)], [np.zeros(1, np.float32)]
        for start in range(0, max(width - 2 * _MARGIN, 1), most - 2 * _MARGIN):
            piece = line[:, start : start + most] / np.float32(127.5) - 1
            wide = most if self.fixed else math.ceil(piece.shape[1] / _WIDTHS) * _WIDTHS
            pixels = np.zeros((1, 3, HEIGHT, wide), np.float32)
            pixels[0, :, :, : piece.shape[1]] = piece.transpose(2, 0, 1)
            output = self.tower({"pixels": pixels})[0]
            first = _MARGIN // RECOGNIZER_STEP if start else 0
            more = start + most < width
            if output.shape[1] != len(self.characters) + 1:
                raise BundleError(
                    f"The recognizer has {output.shape[1] - 1} characters, and the bundle names "
                    f"{len(self.characters)}.",
                    Remedy.EXPORT_AGAIN,
                )
            output = output[first : -_MARGIN // RECOGNIZER_STEP if more else None]
            best.append(output.argmax(1))
            confidences.append(np.take_along_axis(output, best[-1][:, None], 1)[:, 0])
        return self._decode(np.concatenate(best), np.concatenate(confidences))

    def _decode(self, best: NDArray[np.intp], confidences: F32) -> tuple[str, float]:
        """Join the likeliest character of each column [T], behind a first that is none; equal
        neighbours are one, and 0 is none."""
        is_new = (best > 0) & (best != np.roll(best, 1))
        if not is_new.any():
            return "", 0.0
        text = "".join(self.characters[number - 1] for number in best[is_new])
        return text, float(confidences[is_new].mean())
