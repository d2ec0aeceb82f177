"""A reader of pictures in which a colour stands for a letter, so that each test knows the text."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.reading.detector import Detector
from mcad_mobile.engine.reading.reader import Reader
from mcad_mobile.engine.reading.recognizer import Recognizer
from mcad_mobile.engine.towers.protocol import Inputs

# Neighbours do not blend into grey. Only lines whose letters mostly ascend are read surely, so that
# those on their heads are not.
COLOURS = [
    (0, 0, 0), (255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)
]  # fmt: skip
LETTERS = "abcdefg"
GREY = (128, 128, 128)


class ColourTower:
    """Finds what is not grey, or reads its colours. `inputs` are the shapes that it was given."""

    simulated, kernels = False, "none"

    def __init__(self, task: str, sure: float = 0.95) -> None:
        self.task, self.sure = task, sure
        self.inputs: list[tuple[int, ...]] = []

    def __call__(self, inputs: Inputs) -> F32:
        pixels = inputs["pixels"]
        self.inputs.append(pixels.shape)
        if self.task == "find":
            return np.asarray(abs(pixels).max(1, keepdims=True) > 0.5, np.float32)
        columns = pixels[0, :, 20:28].mean(1).reshape(3, -1, 8)[:, :, 4].T  # each eighth
        wanted = np.array([GREY, *COLOURS]) / 127.5 - 1
        best = abs(columns[:, None] - wanted).sum(2).argmin(1)
        sure = self.sure if np.sign(np.diff(best[best > 0])).sum() > 0 else 0.3
        out = np.zeros((1, len(best), len(wanted)), np.float32)
        out[0, np.arange(len(best)), best] = sure
        return out


def reader(*, fixed: bool = False, sure: float = 0.95) -> tuple[Reader, ColourTower, ColourTower]:
    """Return a reader and its towers."""
    detector, recognizer = ColourTower("find"), ColourTower("read", sure)
    return (
        Reader(Detector(detector, fixed), Recognizer(recognizer, LETTERS, fixed)),
        detector,
        recognizer,
    )


def line(text: str, height: int = 40, width: int = 0) -> Image.Image:
    """Draw a line; each letter is as wide as the line is high, or `width`."""
    wide = width or height
    image = Image.new("RGB", (wide * len(text), height))
    for at, letter in enumerate(text):
        place = (at * wide, 0, at * wide + wide, height)
        ImageDraw.Draw(image).rectangle(place, COLOURS[LETTERS.index(letter)])
    return image


def photo(width: int, height: int, *lines: tuple[int, int, Image.Image]) -> Image.Image:
    image = Image.new("RGB", (width, height), GREY)
    for x, y, drawn in lines:
        image.paste(drawn, (x, y))
    return image
