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
    """

    student: Student
    common: Path
    table: TokenTable
    compared: Mapping[TowerName, Inputs]
    expected: Mapping[TowerName, NDArray[np.float32]]
    jobs: Mapping[TowerName, TowerJob]
    facts: Mapping[str, Any]
    steps: Steps
    reader: tuple[FileRecord, ...] | None = None

    def bundle(
        self,
        directory: Path,
        targets: Sequence[Target],
        rungs: Mapping[TowerName, tuple[Rung, ...]],
    ) -> Bundle:
        """Return the bundle of these rungs for chips, with its files in `directory`."""
        target = targets[0]
        towers = {name: Tower(rungs.get(name, ()), job.golden) for name, job in self.jobs.items()}
        reader = None
        if self.reader is not None:
            reader = ReaderFacts(towers["detector"], towers["recognizer"], *self.reader)
        return Bundle(
            directory=directory,
            name=f"{self.student.name}-{target.id}",
            target=chip_facts(target, targets),
            image=towers["image"],
            text=towers["text"],
            reader=reader,
            **self.facts,
        )


def chip_facts(target: Target, targets: Sequence[Target]) -> TargetFacts:
    """Return what a bundle for these `targets` says of one of them."""
    numbers = target.soc_model, target.htp_arch
    fits = fitting_chips(target, targets)
    return TargetFacts(target.id, *numbers, target.chip, target.npu, fits or UNSET)


def prepare(
    student: Student, calibrate: Samples, held_out: Samples, folder: Path, steps: Steps
) -> Prepared:
    """Write the files that bundles share, and run the float towers. Rungs are compared with float
    on the first 16 `held_out` inputs; the rest decide between ways to quantize."""
    common = folder / "common"
    common.mkdir()
    (tokens, width), bits = student.token_table.shape, student.text_spec.table_bits
    write_token_table(common / TABLE, student.token_table.numpy(), bits)
    table = TokenTable(common / TABLE, tokens, width, bits)
    some, rest = held_out[:PARITY_INPUTS], held_out[PARITY_INPUTS:]
    # A phone reads rounded rows of its table; the float student reads its own.
    compared = {name: some.read_from(table).inputs(name) for name in TOWERS}
    expected = {name: float_embeddings(student.tower(name), some.inputs(name)) for name in TOWERS}
    jobs = {}
    for name in TOWERS:
        validation = rest if rest.count(name) else calibrate
        module = student.tower(name)
        inputs, output = tower_specs(student, name)
        jobs[name] = TowerJob(
            module=module,
            name=name,
            inputs=inputs,
            output=output,
            samples=calibrate.read_from(table).inputs(name),
            validation=validation.read_from(table).inputs(name),
            expected=float_embeddings(module, validation.inputs(name)),
            golden=_save_golden(common, name, compared[name], expected[name], some),
            work=_new_folder(folder, f"{name}-float"),
            any_length=name == "text" and not student.text_spec.attends_to_padding,
            progress=partial(steps.part, name),
        )
    own = jobs["image"]
    own.progress("correcting biases for 8 bits")
    jobs["image"] = replace(
        own,
        module=corrected(own.module, torch.from_numpy(calibrate.pixels)),
        work=_new_folder(folder, "image-corrected"),
        uncorrected=own,
    )
    photos = float_embeddings(student.tower("image"), held_out.inputs("image"))
    facts = _shared_facts(student, common, photos)
    return Prepared(student, common, table, compared, expected, jobs, facts, steps)


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

    def save(key: str, array: NDArray[Any]) -> FileRecord:
        return save_array(common, f"golden/{key}.npy", array[: len(few.ids)])

    return Golden(
        inputs={key: save(key, value) for key, value in inputs.items()},
        embeddings=save(f"{name}_embedding", expected),
        texts=few.texts if name == "text" else (),
        ids=save("token_ids", few.ids) if name == "text" else None,
    )


def _shared_facts(
    student: Student, common: Path, photo_embeddings: NDArray[np.float32]
) -> dict[str, Any]:
    """Return the fields that all bundles share; `photo_embeddings` are [N, dim] for tuning."""
    tokenizer, file = student.tokenizer_file
    (common / TOKENIZER).write_bytes(file)
    tokens, width = student.token_table.shape
    table = FileRecord.of(common, common / TABLE)
    source = student.source
    licence = source.licence.document(source.weights)
    if licence is not None:
        (common / LICENCE_TEXT).write_bytes(licence)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "student": StudentFacts(
            name=student.name,
            sha256=student.sha256,
            image_sha256=student.image_sha256,
            source=source.weights,
            preprocess=source.preprocess,
            licence=source.licence.name,
            licence_text=None if licence is None else FileRecord.of(common, common / LICENCE_TEXT),
        ),
        "dim": student.dim,
        "preprocess": student.preprocess,
        "tokenizer": tokenizer,
        "tokenizer_file": FileRecord.of(common, common / TOKENIZER),
        "token_table": TableRecord(table, tokens, width, student.text_spec.table_bits),
        "sample": save_array(common, "golden/photo_sample.npy", photo_embeddings),
        "tools": tool_versions(_TOOLS),
    }


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
