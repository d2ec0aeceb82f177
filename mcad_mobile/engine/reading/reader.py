"""Reader: reads the text in photos with the detector and the recognizer of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mcad_mobile.base.documents import read_text
from mcad_mobile.engine.arrays import F32, U8
from mcad_mobile.engine.bundle import Bundle, TowerName
from mcad_mobile.engine.reading.detector import Detector
from mcad_mobile.engine.reading.recognizer import HEIGHT, MOST_WIDTH, Recognizer
from mcad_mobile.engine.towers import choose_rung
from mcad_mobile.engine.towers.runtimes import runtime_of
from mcad_mobile.engine.words.photo_words import Line
from mcad_mobile.errors import BundleError, Remedy

if TYPE_CHECKING:
    from PIL import Image

# Pixels of half a side to decode photos with, for `open_photo`: 12 megapixels are halved.
AT_LEAST = 750
# On textures, the recognizer sees characters of lower confidence; and sees short words more often.
_LEAST, _LEAST_OF_SHORT, _SHORT = 0.8, 0.9, 4
_TALL = 1.5  # height by width of lines that are read sideways


class Reader:
    """Reads the text in photos; several threads may use it at once.

    Args:
        detector: finds lines.
        recognizer: reads each.
    """

    def __init__(self, detector: Detector, recognizer: Recognizer) -> None:
        self._detector, self._recognizer = detector, recognizer

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        *,
        threads: int = 1,
        runtime: str | None = None,
        precision: str | None = None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> Reader:
        """Load the reader of a bundle, with arguments as SearchEngine's.

        Returns:
            The reader.

        Raises:
            BundleError: the bundle has no reader, or its file of characters is damaged.
            RuntimeUnavailable: no rung of a tower runs on this machine.
        """
        names: tuple[TowerName, TowerName] = ("detector", "recognizer")
        detector, recognizer = (
            choose_rung(
                bundle, name, runtime=runtime, precision=precision, threads=threads, warn=warn
            )
            for name in names
        )
        assert bundle.reader is not None  # else there is no rung
        path = bundle.path(bundle.reader.characters)
        listed = read_text(path, BundleError, Remedy.EXPORT_AGAIN)
        characters = listed.removesuffix("\n").split("\n")
        fixed = [not runtime_of(rung.rung).on_any_cpu for rung in (detector, recognizer)]
        return cls(
            Detector(detector.tower, fixed[0]), Recognizer(recognizer.tower, characters, fixed[1])
        )

    def read(self, photo: Image.Image | U8) -> list[Line]:
        """Read a photo.

        Args:
            photo: upright, RGB: an image of Pillow, or [H, W, 3] uint8.

        Returns:
            Its lines in the order in which they are read, without those that are probably none.

        Raises:
            RuntimeUnavailable: a tower fails.
            BundleError: the bundle's parts do not fit each other.
        """
        from PIL import Image

        image = Image.fromarray(photo) if isinstance(photo, np.ndarray) else photo.convert("RGB")
        usual = {False: (0, 2), True: (1, 3)}  # quarters of a turn of lines, as lines lie
        lines: list[Line] = []
        for corners in self._detector.find(image):
            width, height = np.linalg.norm(corners[[1, 3]] - corners[0], axis=1)
            if min(width, height) < 1:
                continue
            tall = bool(height > _TALL * width)
            best = Line("", 0, ())
            for turn in usual[tall]:
                turned = np.roll(corners, -turn, axis=0)
                text, confidence = self._recognizer.read(_cut(image, turned))
                if confidence > best.confidence:
                    box = np.rint(turned / image.size * 10_000).astype(int)
                    best = Line(text.strip(), round(confidence, 3), tuple(box.ravel().tolist()))
                if _is_sure(best):
                    usual[tall] = (turn, (turn + 2) % 4)  # the photo's other lines probably, too
                    lines.append(best)
                    break
        return _in_order(lines)


def _is_sure(line: Line) -> bool:
    characters = sum(map(str.isalnum, line.text))
    return line.confidence >= (_LEAST if characters >= _SHORT else _LEAST_OF_SHORT) and (
        characters > 0
    )


def _cut(photo: Image.Image, corners: F32) -> U8:
    """Cut out a line [48, W, 3] whose corners [4, 2] go clockwise from the start of the text."""
    from PIL import Image

    (width, height) = np.linalg.norm(corners[[1, 3]] - corners[0], axis=1)
    size = (int(np.clip(round(HEIGHT * width / height), 16, MOST_WIDTH)), HEIGHT)
    left, top = np.floor(corners.min(0)).astype(int).tolist()
    right, bottom = np.ceil(corners.max(0)).astype(int).tolist()
    part = photo.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    factor = max(int(height / HEIGHT), 1)
    part = part.reduce(factor) if factor > 1 else part
    start = (corners[0] - (left, top)) / factor
    along, down = (corners[[1, 3]] - corners[0]) / factor / np.array(size)[:, None]
    affine = (along[0], down[0], start[0], along[1], down[1], start[1])
    line = part.transform(
        size, Image.Transform.AFFINE, [float(x) for x in affine], Image.Resampling.BICUBIC
    )
    return np.asarray(line)


def _in_order(lines: list[Line]) -> list[Line]:
    """Sort lines as they are read: from top to bottom, and from left to right beside each other,
    where most of them stand upright."""
    if not lines:
        return []
    corners = np.array([line.box for line in lines], float).reshape(-1, 4, 2)
    x, y = (corners[:, 1] - corners[:, 0]).sum(0)
    along, down = ([x, 0], [0, x]) if abs(x) >= abs(y) else ([0, y], [-y, 0])
    left, top = np.sign(along), np.sign(down)
    middles, heights = corners.mean(1), np.ptp(corners @ top, axis=1)
    rows: list[list[int]] = []
    for number in np.argsort(middles @ top, kind="stable").tolist():
        first = rows[-1][0] if rows else number
        if rows and (middles[number] - middles[first]) @ top < heights[number] / 2:
            rows[-1].append(number)
        else:
            rows.append([number])
    return [lines[n] for row in rows for n in sorted(row, key=lambda n: float(middles[n] @ left))]
