"""What the bundles of one student share, whatever their chips: each part is made and judged once.

A folder of parts is laid out as a bundle: `common` holds the files of every bundle, and each rung
has a folder of its own. A bundle is a copy of `common`, of its rungs' folders, and bundle.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.engine.bundle import (
    TOWERS,
    Bundle,
    FileRecord,
    Golden,
    Precision,
    PrecisionRecord,
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
from mcad_mobile.export import parity
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.comparison import GOLDEN_INPUTS, PARITY_INPUTS, Comparison, save_array
from mcad_mobile.export.precision.recall import Budget, RecallJudge
from mcad_mobile.export.precision.recipes import JUDGED_BY, candidates_for, sensitivities
from mcad_mobile.export.precision.search import Search
from mcad_mobile.export.quantization.bias_correction import corrected
from mcad_mobile.export.quantization.calibration import Samples
from mcad_mobile.export.rungs import Candidate, TowerPlan, build_rung, plans_here, with_source
from mcad_mobile.export.targets import Target
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.students.protocol import TEXT_INPUTS, Student

TABLE = "token_table.bin"
TOKENIZER = "tokenizer.bin"
_TOOLS = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-qnn",
    "litert-torch",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "ai-edge-litert-sdk-mediatek",
)


@dataclass(frozen=True)
class _Part:
    """A rung that was built in `folder` and judged."""

    rung: Rung
    folder: Path
    warning: str | None


def rung_key(tower: TowerName, plan: TowerPlan, target: Target) -> tuple[str, ...]:
    """Two rungs with the same key are the same, note for note: some are compiled for one chip, and
    an uncompiled .tflite says which SDK would, unless it is for CPUs."""
    by_litert = target.neuropilot or target.family
    compiler = {"litert": by_litert, "onnx": "any"}.get(plan.runtime, target.id)
    return tower, plan.runtime, plan.precision, compiler


def rung_keys(
    target: Target, first: Mapping[TowerName, Precision] | None = None
) -> list[tuple[str, ...]]:
    """Of all rungs of a bundle for `target`, its first rung with the precisions `first`."""
    return [
        rung_key(name, plan, target) for name in TOWERS for plan in plans_here(name, target, first)
    ]


class Workshop:
    """Makes bundles of `student` in `folder`, which exists and is empty."""

    def __init__(
        self,
        student: Student,
        calibrate: Samples,
        held_out: Samples,
        folder: Path,
        *,
        allow_low_parity: bool,
        simulated: int,
        progress: Progress = silent,
    ) -> None:
        self._student = student
        self._progress = progress
        self._folder = folder
        self._common = folder / "common"
        self._common.mkdir()
        self._parts: dict[tuple[str, ...], _Part] = {}
        table = self._common / TABLE
        write_token_table(table, student.token_table.numpy())
        rows = TokenTable(table, *student.token_table.shape)
        compared = held_out.first(PARITY_INPUTS)
        # A phone reads rounded rows of its table; the float student reads its own.
        self._compared = {name: compared.read_from(rows).inputs(name) for name in TOWERS}
        self._exact = {
            name: parity.float_embeddings(student.tower(name), compared.inputs(name))
            for name in TOWERS
        }
        self._comparison = Comparison(
            self._compared, self._exact, allow_low_parity=allow_low_parity, simulated=simulated
        )
        few = compared.first(GOLDEN_INPUTS)
        self._golden = {name: self._written_golden(name, few) for name in TOWERS}
        samples, rest = calibrate.read_from(rows), held_out.after(PARITY_INPUTS)
        self._jobs = {}
        for name in TOWERS:
            # The choice of a way to quantize is made on what is neither calibrated on nor told.
            judged = rest if rest.count(name) else calibrate
            exact = parity.float_embeddings(student.tower(name), judged.inputs(name))
            read = judged.read_from(rows).inputs(name)
            self._jobs[name] = self._tower_jobs(name, samples, read, exact)
        photos = parity.float_embeddings(student.tower("image"), held_out.inputs("image"))
        self._facts = self._shared_facts(photos)
        self._chosen: dict[TowerName, Candidate] = {}

    def choose(
        self, budget: Budget, target: Target, progress: Progress
    ) -> tuple[dict[TowerName, Precision], PrecisionRecord]:
        """The precisions of the smallest towers for `target` that lose no more recall than `budget`
        allows, and how they were found; bundles that are made afterwards tell it. ExportError
        where all lose more, ParityError where all of a tower are too far from float."""
        judge = RecallJudge(
            self._student,
            budget.photos,
            budget.data,
            TokenTable(self._common / TABLE, *self._student.token_table.shape),
            budget.kept,
            progress,
        )
        jobs = {name: rounded for name, (_, rounded) in self._jobs.items()}
        ranked = {
            name: sensitivities(job, progress)
            for name, job in jobs.items()
            if plans_here(name, target)[0].runtime == "onnx"
        }
        candidates = {
            name: candidates_for(job, target, ranked.get(name, ()), judge.loses_least, progress)
            for name, job in jobs.items()
        }
        # A few photos find each other even by a tower that no longer says what its student does.
        accepted = {name: self._comparison.accepted(name, candidates[name]) for name in TOWERS}
        search = Search(
            {name: found for name, (found, _) in accepted.items()}, judge, budget.points
        )
        chosen = search.run()
        self._chosen = {one.tower: one for one in chosen}
        record = search.record(chosen, ranked, JUDGED_BY[target.family])
        left_out = "".join(told for _, told in accepted.values())
        record = replace(record, why=record.why + left_out)
        if budget.simulated and target.family == "snapdragon":
            record = replace(record, simulated=judge.simulated(chosen, budget.simulated))
        self._facts["precision"] = record
        return {one.tower: one.precision for one in chosen}, record

    def make(
        self,
        target: Target,
        out: Path,
        cloud: CloudCompiler | None,
        step: Progress,
        first: Mapping[TowerName, Precision] | None = None,
    ) -> tuple[Bundle, list[str]]:
        """All files of a bundle for `target` but bundle.json in the empty folder `out`; the bundle
        and warnings. `first`: the precisions of its first rung, where they are not the target's
        own. ExportError or ParityError."""
        shutil.copytree(self._common, out, dirs_exist_ok=True)
        rungs: dict[TowerName, tuple[Rung, ...]] = {}
        warnings = []
        for name in TOWERS:
            # A tower that is float at first has no other float rung behind it.
            plans = {rung_key(name, plan, target): plan for plan in plans_here(name, target, first)}
            asked = first is not None
            parts = [self._part(name, plan, target, cloud, step, asked) for plan in plans.values()]
            for part in parts:
                shutil.copytree(part.folder, out, dirs_exist_ok=True)
            warnings += [part.warning for part in parts if part.warning]
            rungs[name] = with_source([part.rung for part in parts])
        return self._bundle(out, target, rungs), warnings

    def _part(
        self,
        name: TowerName,
        plan: TowerPlan,
        target: Target,
        cloud: CloudCompiler | None,
        step: Progress,
        asked: bool,
    ) -> _Part:
        key = rung_key(name, plan, target)
        if key not in self._parts:
            folder = self._folder / "-".join(key)
            folder.mkdir()
            precision = plan.precision
            on = f" for {target.chip}" if target.id in key else ""
            exact, rounded = self._jobs[name]
            job = exact if precision == "fp32" else rounded
            step(f"{name} tower: {plan.runtime} {precision}{on}")
            compile_context = None if cloud is None else cloud.compile
            chosen = self._chosen.get(name)
            rung = build_rung(
                job, plan.runtime, precision, target, folder, compile_context, chosen, asked=asked
            )
            step(f"{name} tower: comparing {plan.runtime} {precision}{on} with float")
            bundle = self._bundle(folder, target, {name: (rung,)})
            judged, warning = self._comparison.judged(name, rung, bundle, cloud)
            if chosen and plan.runtime == "qnn":
                note = self._comparison.told_agreement(name, chosen)
                judged = replace(judged, notes=(*judged.notes, note))
            self._parts[key] = _Part(judged, folder, warning)
        return self._parts[key]

    def _written_golden(self, name: TowerName, few: Samples) -> Golden:
        """Inputs as a phone reads them, and what the float student makes of its own."""
        inputs = {key: value[: len(few.ids)] for key, value in self._compared[name].items()}
        return Golden(
            inputs={
                key: save_array(self._common, f"golden/{key}.npy", value)
                for key, value in inputs.items()
            },
            embeddings=save_array(
                self._common,
                f"golden/{name}_embedding.npy",
                self._exact[name][: len(few.ids)],
            ),
            texts=few.texts if name == "text" else (),
            ids=save_array(self._common, "golden/token_ids.npy", few.ids)
            if name == "text"
            else None,
        )

    def _tower_jobs(
        self, name: TowerName, samples: Samples, judged: Inputs, exact: NDArray[np.float32]
    ) -> tuple[TowerJob, TowerJob]:
        """The tower as it is, and as it is to be quantized: weights that will be rounded to 8 bits
        want other biases than float ones."""
        inputs, output = tower_specs(self._student, name)
        any_length = name == "text" and not self._student.text_spec.attends_to_padding

        def job(module: nn.Module, folder: str, own_biases: TowerJob | None = None) -> TowerJob:
            work = self._folder / folder
            work.mkdir()
            return TowerJob(
                module,
                name,
                inputs,
                output,
                samples.inputs(name),
                judged,
                exact,
                self._golden[name],
                work,
                any_length,
                own_biases,
                lambda step, done=0, total=0: self._progress(f"{name} tower: {step}", done, total),
            )

        as_it_is = job(self._student.tower(name), f"{name}-float")
        if name == "text":
            return as_it_is, as_it_is
        rounded = corrected(self._student.tower("image"), torch.from_numpy(samples.pixels))
        return as_it_is, job(rounded, "image-corrected", as_it_is)

    def _bundle(
        self, directory: Path, target: Target, rungs: dict[TowerName, tuple[Rung, ...]]
    ) -> Bundle:
        return Bundle(
            directory=directory,
            name=f"{self._student.name}-{target.id}",
            target=TargetFacts(
                target.id, target.soc_model, target.htp_arch, target.chip, target.npu
            ),
            image=Tower(rungs.get("image", ()), self._golden["image"]),
            text=Tower(rungs.get("text", ()), self._golden["text"]),
            **self._facts,
        )

    def _shared_facts(self, photos: NDArray[np.float32]) -> dict[str, Any]:
        student, common = self._student, self._common
        tokenizer, file = student.tokenizer_file()
        (common / TOKENIZER).write_bytes(file)
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "student": StudentFacts(
                name=student.name,
                sha256=student.sha256(),
                source=student.source.weights,
                preprocess=student.source.preprocess,
                licence=student.source.licence or "not told",
            ),
            "dim": student.dim,
            "preprocess": student.preprocess,
            "tokenizer": tokenizer,
            "tokenizer_file": FileRecord.of(common, common / TOKENIZER),
            "token_table": TableRecord(
                FileRecord.of(common, common / TABLE), *student.token_table.shape
            ),
            "no_match": student.no_match,
            "sample": save_array(common, "golden/photo_sample.npy", photos),
            "tools": tool_versions(_TOOLS),
            "recall": None,
            "precision": None,
        }


def tower_specs(student: Student, name: TowerName) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Inputs and output of a float tower, for a batch of one."""
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
