"""Prepare the reader's towers for an export, with pictures of text to calibrate and compare on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.engine.bundle import (
    DETECTOR_SHAPE,
    READER_SHAPES,
    RECOGNIZER_SHAPE,
    RECOGNIZER_STEP,
    FileRecord,
    Golden,
    TensorSpec,
    TowerName,
)
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.ladder import repeated
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.engine.towers.protocol import summary
from mcad_mobile.export.compare import GOLDEN_INPUTS, PARITY_INPUTS, save_array
from mcad_mobile.export.prepare import Prepared
from mcad_mobile.export.reader.models import (
    PACKAGE,
    characters,
    float_model,
    licence_document,
    published_model,
)
from mcad_mobile.export.reader.pictures import (
    line_pictures,
    pixels,
    plain_picture,
    scene_pictures,
)
from mcad_mobile.export.reader.places import CREDIT, write_places
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.students.onnx_graph import plain_onnx, torch_module

_SEED, _HELD_OUT_SEED = 1, 2
_CHARACTERS, _LICENCE, _PLACES = "characters.txt", "LICENSE.reader", "places.bin"
_FIXED, _ANY_SIZE = "float.onnx", "any_size.onnx"
_TILES = 5  # of a golden input of the detector, across and down


@dataclass(frozen=True, eq=False)
class ReaderJob(TowerJob):
    """A tower of the reader, which is ONNX already, in `work`."""

    @cached_property
    def float_onnx(self) -> Path:
        return self.work / _FIXED

    @cached_property
    def cpu_onnx(self) -> Path:
        return self.work / _ANY_SIZE


def with_reader(prepared: Prepared, samples: int) -> Prepared:
    """Add the reader's files and towers, which are calibrated on `samples` pictures of text.
    MissingExtra if its models are not installed."""
    common, progress = prepared.common, prepared.steps.part
    listed = characters(published_model("recognizer"))
    (common / _CHARACTERS).write_bytes("\n".join(listed).encode())
    (common / _LICENCE).write_text(f"{licence_document()}\n\n{CREDIT}\n", "utf-8")
    write_places(common / _PLACES)
    for name, shape in READER_SHAPES.items():
        progress(name, "rendering text to calibrate on")
        work = common.parent / f"{name}-float"
        work.mkdir()
        published, inputs, output = published_model(name), *_specs(name, len(listed))
        float_model(published, inputs, output, work / _FIXED, any_size=False)
        float_model(published, inputs, output, work / _ANY_SIZE, any_size=True)
        small = _golden(name)
        others = _pictures(name, 2 * PARITY_INPUTS - GOLDEN_INPUTS, _HELD_OUT_SEED)
        held_out = np.concatenate([repeated(small, shape), others])
        outputs = normalize(summary(OnnxTower(work / _FIXED)({"pixels": held_out})))
        prepared.compared[name] = {"pixels": held_out[:PARITY_INPUTS]}
        prepared.expected[name] = outputs[:PARITY_INPUTS]
        prepared.jobs[name] = ReaderJob(
            module=torch_module(plain_onnx(onnx.load(work / _FIXED), {"pixels": shape})),
            name=name,
            inputs=(inputs,),
            output=output,
            samples={"pixels": _pictures(name, samples, _SEED)},
            validation={"pixels": held_out[PARITY_INPUTS:]},
            expected=outputs[PARITY_INPUTS:],
            golden=Golden(
                {"pixels": save_array(common, f"golden/{name}_pixels.npy", small)},
                save_array(common, f"golden/{name}_summary.npy", outputs[:GOLDEN_INPUTS]),
            ),
            work=work,
            cpu_scheme="reader",
            progress=partial(progress, name),
        )
    return replace(
        prepared,
        facts={**prepared.facts, "tools": prepared.facts["tools"] | tool_versions((PACKAGE,))},
        reader=tuple(
            FileRecord.of(common, common / name) for name in (_CHARACTERS, _LICENCE, _PLACES)
        ),
    )


def _specs(name: TowerName, count: int) -> tuple[TensorSpec, TensorSpec]:
    """Return the input and the output of a tower; the recognizer knows `count` characters."""
    shape = READER_SHAPES[name]
    pixels = TensorSpec("pixels", "float32", shape, "NCHW")
    if name == "detector":
        return pixels, TensorSpec("text_map", "float32", (1, 1, *shape[2:]), "NCHW")
    characters = (1, shape[3] // RECOGNIZER_STEP, count + 1)
    return pixels, TensorSpec("characters", "float32", characters, "NTC")


def _pictures(name: TowerName, count: int, seed: int) -> NDArray[np.float32]:
    make = scene_pictures if name == "detector" else line_pictures
    return pixels([picture.image for picture in make(count, seed)], READER_SHAPES[name])


def _golden(name: TowerName) -> NDArray[np.float32]:
    """Return golden inputs as they are stored, [2, 3, h, w]: parts of a tower's input."""
    height, width = RECOGNIZER_SHAPE[2], RECOGNIZER_SHAPE[3] // 2
    if name == "detector":
        height = width = DETECTOR_SHAPE[3] // _TILES
    pictures = [plain_picture(text, width, height) for text in ("Lisbon", "words")]
    return pixels(pictures, (1, 3, height, width))
