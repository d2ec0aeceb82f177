"""Prepare an export: what all bundles of a student share, written and computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.engine.bundle import (
    TOWERS,
    Bundle,
    FileRecord,
    Golden,
    ReaderFacts,
    Rung,
    StudentFacts,
    TableRecord,
    TargetFacts,
    TensorSpec,
    TextFacts,
    Tower,
    TowerName,
)
from mcad_mobile.engine.text.token_rows import TokenTable, write_token_table
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.export.compare import GOLDEN_INPUTS, PARITY_INPUTS, save_array
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.quantization.calibration import Samples
from mcad_mobile.export.tower_job import TowerJob, corrected
from mcad_mobile.students.student import TEXT_INPUTS, Student
from mcad_mobile.targets import Target, fitting_chips

TABLE = "token_table.bin"
TOKENIZER = "tokenizer.bin"
LICENCE_TEXT = "LICENSE"
_TOOLS = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-qnn",
    "litert-torch",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "ai-edge-litert-sdk-mediatek",
    "ai-edge-litert-sdk-google-tensor",
)


class Steps:
    """Numbers the rungs of an export for whoever shows its progress."""

    def __init__(self, show: Progress = silent, count: int = 0) -> None:
        self.show = show
        self._count, self._begun, self._title = count, 0, ""

    def begin(self, title: str) -> None:
        """Begin the next rung."""
        self._title = title
        self.show(title, self._begun, self._count)
        self._begun += 1

    def part(self, tower: TowerName, step: str, done: int = 0, total: int = 0) -> None:
        """Tell what is done for a tower in the current step, which may count its own parts."""
        if total:
            self.show(f"{tower} tower: {step}", done, total)
        else:
            title = self._title or f"{tower} tower"
            self.show(f"{title}: {step}", max(self._begun - 1, 0), self._count)


@dataclass(frozen=True)
class Prepared:
    """What all bundles of a student start from.

    Attributes:
        student: the student.
        common: a folder with the files that its bundles share.
        table: its token table, as a phone reads it.
        compared: by tower, the inputs that rungs are compared on, golden inputs first.
        expected: by tower, the float student's embeddings of them.
        jobs: the towers to quantize.
        facts: the fields of bundle.json that its bundles share.
        steps: numbers the rungs that are built.
        reader: with a reader of text, its characters, its licence and the table of places.
        multilingual: with a second text tower, what bundle.json says of it besides the tower.
    """

    student: Student
    common: Path
    table: TokenTable
    compared: dict[TowerName, Inputs]
    expected: dict[TowerName, NDArray[np.float32]]
    jobs: dict[TowerName, TowerJob]
    facts: Mapping[str, Any]
    steps: Steps
    reader: tuple[FileRecord, ...] | None = None
    multilingual: Mapping[str, Any] | None = None

    def bundle(
        self,
        directory: Path,
        targets: Sequence[Target],
        rungs: Mapping[TowerName, tuple[Rung, ...]],
    ) -> Bundle:
        """Return the bundle of these rungs for chips, with its files in `directory`."""
        target = targets[0]
        towers = {name: Tower(rungs.get(name, ()), job.golden) for name, job in self.jobs.items()}
        reader = multilingual = None
        if self.reader is not None:
            reader = ReaderFacts(towers["detector"], towers["recognizer"], *self.reader)
        if self.multilingual is not None:
            multilingual = TextFacts(text=towers["multilingual"], **self.multilingual)
        return Bundle(
            directory=directory,
            name=f"{self.student.name}-{target.id}",
            target=chip_facts(target, targets),
            image=towers["image"],
            text=towers["text"],
            reader=reader,
            multilingual=multilingual,
            **self.facts,
        )


def chip_facts(target: Target, targets: Sequence[Target]) -> TargetFacts:
    """Return what a bundle for these `targets` says of one of them."""
    numbers = target.soc_model, target.htp_arch
    fits = fitting_chips(target, targets)
    return TargetFacts(target.id, *numbers, target.chip, target.npu, fits or UNSET)


def prepare(
    student: Student,
    calibrate: Samples,
    held_out: Samples,
    folder: Path,
    steps: Steps,
    multilingual: Student | None = None,
) -> Prepared:
    """Write the files that bundles share, and run the float towers. Rungs are compared with float
    on the first 16 `held_out` inputs; the rest decide between ways to quantize. `multilingual`: a
    student with the same image tower, whose text tower is added."""
    common = folder / "common"
    common.mkdir()
    facts, table = _text_facts(student, common)
    prepared = Prepared(student, common, table, {}, {}, {}, facts, steps)
    for name in TOWERS:
        _add_tower(prepared, name, student, calibrate, held_out, table)
    own = prepared.jobs["image"]
    own.progress("correcting biases for 8 bits")
    prepared.jobs["image"] = replace(
        own,
        module=corrected(own.module, torch.from_numpy(calibrate.pixels)),
        work=_new_folder(folder, "image-corrected"),
        uncorrected=own,
    )
    photos = float_embeddings(student.tower("image"), held_out.inputs("image"))
    facts |= {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dim": student.dim,
        "preprocess": student.preprocess,
        "sample": save_array(common, "golden/photo_sample.npy", photos),
        "tools": tool_versions(_TOOLS),
    }
    if multilingual is None:
        return prepared
    others, table = _text_facts(multilingual, common, "multilingual/")
    read = calibrate.read_by(multilingual), held_out.read_by(multilingual)
    _add_tower(prepared, "multilingual", multilingual, *read, table)
    return replace(prepared, multilingual=others)


def _add_tower(
    prepared: Prepared,
    name: TowerName,
    student: Student,
    calibrate: Samples,
    held_out: Samples,
    table: TokenTable,
) -> None:
    some, rest = held_out[:PARITY_INPUTS], held_out[PARITY_INPUTS:]
    validation = rest if rest.count(name) else calibrate
    module = student.tower("image" if name == "image" else "text")
    inputs, output = tower_specs(student, name)
    # A phone reads rounded rows of its table; the float student reads its own.
    prepared.compared[name] = compared = some.read_from(table).inputs(name)
    prepared.expected[name] = expected = float_embeddings(module, some.inputs(name))
    prepared.jobs[name] = TowerJob(
        module=module,
        name=name,
        inputs=inputs,
        output=output,
        samples=calibrate.read_from(table).inputs(name),
        validation=validation.read_from(table).inputs(name),
        expected=float_embeddings(module, validation.inputs(name)),
        golden=_save_golden(prepared.common, name, compared, expected, some),
        work=_new_folder(prepared.common.parent, f"{name}-float"),
        any_length=name != "image" and not student.text_spec.attends_to_padding,
        progress=partial(prepared.steps.part, name),
    )


def _new_folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _save_golden(
    common: Path,
    name: TowerName,
    inputs: Inputs,
    expected: NDArray[np.float32],
    samples: Samples,
) -> Golden:
    """Write the first inputs as a phone reads them, and the float embeddings."""
    few = samples[:GOLDEN_INPUTS]
    place = "multilingual/golden" if name == "multilingual" else "golden"

    def save(key: str, array: NDArray[Any]) -> FileRecord:
        return save_array(common, f"{place}/{key}.npy", array[: len(few.ids)])

    return Golden(
        inputs={key: save(key, value) for key, value in inputs.items()},
        embeddings=save(f"{name}_embedding", expected),
        texts=() if name == "image" else few.texts,
        ids=None if name == "image" else save("token_ids", few.ids),
    )


def _text_facts(
    student: Student, common: Path, place: str = ""
) -> tuple[dict[str, Any], TokenTable]:
    """Write what a text tower needs into the folder `place`. Return the fields of bundle.json that
    say so, but the tower itself, and the token table as a phone reads it."""
    tokenizer, file = student.tokenizer_file
    source = student.source
    licence = source.licence.document(source.weights)
    (common / place).mkdir(exist_ok=True)
    path = common / place / TABLE
    (tokens, width), bits = student.token_table.shape, student.text_spec.table_bits
    write_token_table(path, student.token_table.numpy(), bits)

    def save(name: str, data: bytes) -> FileRecord:
        (common / place / name).write_bytes(data)
        return FileRecord.of(common, common / place / name)

    return {
        "student": StudentFacts(
            name=student.name,
            sha256=student.sha256,
            image_sha256=student.image_sha256,
            source=source.weights,
            preprocess=source.preprocess,
            licence=source.licence.name,
            licence_text=None if licence is None else save(LICENCE_TEXT, licence),
        ),
        "tokenizer": tokenizer,
        "tokenizer_file": save(TOKENIZER, file),
        "token_table": TableRecord(FileRecord.of(common, path), tokens, width, bits),
    }, TokenTable(path, tokens, width, bits)


def tower_specs(student: Student, name: TowerName) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Return the inputs and the output of a float tower, for a batch of one."""
    output = TensorSpec(f"{name}_embedding", "float32", (1, student.dim), "ND")
    if name == "image":
        size = student.preprocess.size
        return (TensorSpec("pixels", "float32", (1, 3, size, size), "NCHW"),), output
    spec = student.text_spec
    shapes = ((1, spec.length, spec.width), (1, spec.length), (1, spec.length))
    return tuple(
        TensorSpec(tensor, "float32", shape, "NLW" if len(shape) == 3 else "NL")
        for tensor, shape in zip(TEXT_INPUTS, shapes, strict=True)
    ), output
