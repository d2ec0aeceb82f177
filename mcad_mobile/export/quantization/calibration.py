"""Real photos and captions to calibrate and compare on, as onnxruntime takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType

from mcad_mobile.base.standard_output import advice_muted
from mcad_mobile.data.augmentation import augment
from mcad_mobile.data.captions import CaptionedPhoto, has_captions, load_captions
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.engine.text.token_rows import TokenTable
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import DataError, PhotoError, install_line
from mcad_mobile.export.quantization.ranges import Ranges
from mcad_mobile.students.student import Student

# Inputs of each tower to compare on and to choose between ways to quantize
HELD_OUT = 32

# Mutes onnxruntime's advice on opset bumps and on preprocessing that our graphs do not need.
quantizer_advice_muted = partial(advice_muted, logging.ERROR)

# By tensor, as onnxruntime's quantizer takes them
Overrides = dict[str, list[dict[str, Any]]]

T = TypeVar("T")


def range_overrides(ranges: Ranges | None) -> Overrides:
    """Return these ranges as overrides of the quantizer's own."""
    return {
        name: [{"rmin": np.float32(least), "rmax": np.float32(largest)}]
        for name, (least, largest) in (ranges or {}).items()
    }


def weights_per_channel(model: onnx.ModelProto) -> Overrides:
    """Return one scale per output channel for each constant factor [in, out] of a MatMul. MiniLM's
    outlier channels lose everything with one scale per tensor (docs/targets.md)."""
    constants = {tensor.name for tensor in model.graph.initializer}
    per_channel = {"quant_type": QuantType.QInt8, "axis": 1, "symmetric": True}
    return {
        node.input[1]: [dict(per_channel)]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    }


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives onnxruntime's calibration one input at a time."""

    def __init__(self, inputs: Inputs) -> None:
        self._left: Iterator[Inputs] = iter(split_batch(inputs))

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._left, None)


@dataclass(frozen=True)
class Samples:
    """Real inputs of both towers: `pixels` [N, 3, S, S] float32; M `texts`, their token `ids` [M,
    L] int32, and a text tower's inputs, [M, L, ...] float32."""

    pixels: NDArray[np.float32]
    ids: NDArray[np.int32]
    text_inputs: Inputs
    texts: tuple[str, ...]

    def inputs(self, tower: str) -> Inputs:
        return {"pixels": self.pixels} if tower == "image" else self.text_inputs

    def count(self, tower: str) -> int:
        return len(self.pixels if tower == "image" else self.ids)

    def __getitem__(self, rows: slice) -> Samples:
        inputs = {name: value[rows] for name, value in self.text_inputs.items()}
        return Samples(self.pixels[rows], self.ids[rows], inputs, self.texts[rows])

    def read_by(self, student: Student) -> Samples:
        """Return the same inputs with the texts as another student's tokenizer reads them."""
        read = student.read(list(self.texts))
        return replace(self, ids=read.ids, text_inputs=dict(read.inputs()))

    def read_from(self, table: TokenTable) -> Samples:
        """Return the same inputs with the token rows that a phone reads from its table."""
        return replace(self, text_inputs={**self.text_inputs, "token_rows": table(self.ids)})


def load_samples(student: Student, folder: Path | None, count: int) -> tuple[Samples, Samples]:
    """Return `count` inputs of each tower to calibrate on, and always the same 32 others."""
    photos, captions = _read_folder(folder) if folder is not None else (_packaged_photos(), [])
    most = 2 * max(count, HELD_OUT)
    pixels: list[NDArray[np.float32]] = []
    for view, number in map(divmod, range(2 * most), repeat(len(photos))):
        if len(pixels) < most:
            with suppress(PhotoError):
                image = augment(open_photo(photos[number]), view, number)
                pixels.append(student.preprocess.pixels(image))
    if len(pixels) < 2:
        raise DataError(f"None of the photos in {folder} can be decoded.", "Give other photos.")
    # Ours make up for what a folder lacks: two captions would calibrate a text tower badly.
    ours = resources.files("mcad_mobile.export.quantization").joinpath("captions.txt")
    captions += _spread(ours.read_text("utf-8").splitlines())
    both = _samples(student, pixels, captions[:most])
    return both[::2][:count], both[1::2][:HELD_OUT]


def captioned_samples(
    student: Student, captioned: Sequence[CaptionedPhoto], *, photos: int, texts: int
) -> Samples:
    """Return `photos` photos and `texts` captions, one per photo, in a fixed shuffled order."""
    spread = _spread(list(captioned))
    pixels = [student.preprocess(photo.path) for photo in spread[:photos]]
    return _samples(student, pixels, [photo.captions[0] for photo in spread[:texts]])


def _samples(student: Student, pixels: Sequence[NDArray[np.float32]], texts: list[str]) -> Samples:
    read = student.read(texts)
    return Samples(np.stack(pixels), read.ids, dict(read.inputs()), tuple(texts))


def missing_samples(samples: Samples, count: int) -> list[str]:
    """Return a warning if there are fewer than `count` samples to calibrate on."""
    found = {"photos": len(samples.pixels), "captions": len(set(samples.texts))}
    few = [
        f"{number} {kind if number > 1 else kind[:-1]}"
        for kind, number in found.items()
        if number < count
    ]
    if not few:
        return []
    return [
        f"{count} samples were asked for; there were {' and '.join(few)} to calibrate on "
        "(a folder of your own gives more; with captions, as docs/data.md says)."
    ]


def _packaged_photos() -> list[Path]:
    photos = packaged_photos()
    if not photos:
        raise DataError(
            "There are no photos to calibrate on.",
            f"Give a folder to calibrate on, or: {install_line('export')}.",
        )
    return photos


def _read_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the photos and captions of a folder: those of its train split, if it has one."""
    captioned = load_captions(folder, None) if has_captions(folder) else []
    train = [photo for photo in captioned if photo.split == "train"]
    photos = [photo.path for photo in train] or find_photos(folder)
    return _spread(photos), _spread([photo.captions[0] for photo in train or captioned])


def _spread(items: list[T]) -> list[T]:
    """Return the items in a fixed shuffled order: folders and lists tend to be sorted by theme."""
    order = np.random.default_rng(0).permutation(len(items))
    return [items[i] for i in order]
