"""Build one student's bundles for several chips; parts that they share are built once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray

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
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.backends import backend
from mcad_mobile.export.backends.backend import RungOptions, TowerPlan
from mcad_mobile.export.comparison import (
    GOLDEN_INPUTS,
    PARITY_INPUTS,
    ComparedRung,
    Comparison,
    save_array,
)
from mcad_mobile.export.parity import float_embeddings
from mcad_mobile.export.precision.candidates import Candidate
from mcad_mobile.export.precision.recall_drop import Budget, EmbeddingCache, RecallMeter
from mcad_mobile.export.precision.smallest_pair import Search
from mcad_mobile.export.quantization.calibration import Samples
from mcad_mobile.export.rungs import (
    keyed_plans,
    tower_plans,
    with_source_facts,
)
from mcad_mobile.export.tower_job import TowerJob, corrected
from mcad_mobile.students.student import TEXT_INPUTS, Student
from mcad_mobile.targets import Target

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


@dataclass(frozen=True)
class BundleRequest:
    """A bundle to write; `precisions` None gives each tower's first rung the target's own."""

    target: Target
    out: Path
    cloud: CloudCompiler | None = None
    precisions: Mapping[TowerName, Precision] | None = None


@dataclass(frozen=True)
class _BuiltRung:
    folder: Path
    title: str
    compared: Callable[[], ComparedRung]  # waits for the result


class BundleBuilder:
    """Builds bundles of one student from parts in `folder`. Rungs are compared with float on the
    first 16 `held_out` inputs; the rest decide between ways to quantize."""

    def __init__(
        self,
        student: Student,
        calibrate: Samples,
        held_out: Samples,
        folder: Path,
        *,
        allow_low_parity: bool,
        simulated_inputs: int,
        progress: Progress = silent,
        rungs: int = 0,
    ) -> None:
        self._student = student
        self._progress = progress
        self._steps = 2 * rungs  # each rung is built, then compared
        self._begun = 0
        self._step = ""
        self._waits = False
        self._folder = folder
        self._common = self._new_folder("common")
        self._built: dict[tuple[str, ...], _BuiltRung] = {}
        (tokens, width), bits = student.token_table.shape, student.text_spec.table_bits
        write_token_table(self._common / TABLE, student.token_table.numpy(), bits)
        self._table = TokenTable(self._common / TABLE, tokens, width, bits)
        compared = held_out[:PARITY_INPUTS]
        # A phone reads rounded rows of its table; the float student reads its own.
        inputs = {name: compared.read_from(self._table).inputs(name) for name in TOWERS}
        expected = {
            name: float_embeddings(student.tower(name), compared.inputs(name)) for name in TOWERS
        }
        self.comparison = Comparison(
            inputs,
            expected,
            allow_low_parity=allow_low_parity,
            simulated_inputs=simulated_inputs,
            progress=lambda *step: progress(*step) if self._waits else None,
        )
        self._golden = {
            name: self._save_golden(name, inputs[name], expected[name], compared) for name in TOWERS
        }
        rest = held_out[PARITY_INPUTS:]
        self.jobs = {
            name: self._tower_job(name, calibrate, rest if rest.count(name) else calibrate)
            for name in TOWERS
        }
        photo_embeddings = float_embeddings(student.tower("image"), held_out.inputs("image"))
        self._facts = self._shared_facts(photo_embeddings)
        self._chosen: dict[TowerName, Candidate] = {}

    def choose_precisions(
        self, budget: Budget, target: Target
    ) -> tuple[dict[TowerName, Precision], PrecisionRecord]:
        """Search for the smallest first rungs for `target`, and use them in all bundles."""
        cache = EmbeddingCache(budget.kept)
        meter = RecallMeter(
            self._student, budget.photos, budget.data, self._table, cache, self._progress
        )
        written = {
            name: backend(tower_plans(name, target)[0].runtime).candidates(
                job, target, meter.loses_least
            )
            for name, job in self.jobs.items()
        }
        ranked = {name: weights for name, (_, weights) in written.items()}
        # Even a tower that is far from its student tells a few photos apart.
        acceptable = {
            name: self.comparison.acceptable(name, candidates)
            for name, (candidates, _) in written.items()
        }
        tried = {name: found for name, (found, _) in acceptable.items()}
        search = Search(tried, meter, budget.points)
        chosen = search.run()
        self._chosen = {candidate.tower: candidate for candidate in chosen}
        record = search.record(
            chosen, ranked, backend(target.ladder[0].runtime).measured_by(target)
        )
        left_out = "".join(sentence for _, sentence in acceptable.values())
        record = structs.replace(record, why=record.why + left_out)
        self._facts["precision"] = record
        return {candidate.tower: candidate.precision for candidate in chosen}, record

    def build(self, request: BundleRequest, out: Path) -> tuple[Bundle, list[str]]:
        """Write a bundle's files, except bundle.json, to the empty folder `out`; return the bundle
        and warnings. All rungs are built before the first comparison is waited for."""
        shutil.copytree(self._common, out, dirs_exist_ok=True)
        keyed = keyed_plans(request.target, request.precisions)
        new = [(*item, name) for name in TOWERS for item in keyed[name].items()]
        new = [(key, plan, name) for key, plan, name in new if key not in self._built]
        for key, plan, name in new:
            folder = self._new_folder("-".join(key))
            on_chip = f" for {request.target.chip}" if request.target.id in key else ""
            title = f"{plan.runtime} {plan.precision}{on_chip}"
            self._begin(f"{name} tower: {title}")
            # Biases are corrected for 8-bit weights; float rungs keep the original ones.
            job = self.jobs[name]
            if plan.precision == "fp32":
                job = job.uncorrected or job
            options = self._options(name, plan, request)
            rung = backend(plan.runtime).build(job, plan, request.target, folder, options)
            alone = self._bundle(folder, request.target, {name: (rung,)})
            job.progress("comparing with float")
            compared = self.comparison.start(name, rung, alone, request.cloud)
            self._built[key] = _BuiltRung(folder, title, compared)
        self._waits = True
        for key, _, name in new:
            self._begin(f"{name} tower: comparing {self._built[key].title} with float")
            self._built[key].compared()
        self._waits = False
        rungs: dict[TowerName, tuple[Rung, ...]] = {}
        warnings: list[str] = []
        for name in TOWERS:
            parts = [self._built[key] for key in keyed[name]]
            for part in parts:
                shutil.copytree(part.folder, out, dirs_exist_ok=True)
                warnings += part.compared()[1]
            rungs[name] = with_source_facts([part.compared()[0] for part in parts])
        return self._bundle(out, request.target, rungs), warnings

    def _begin(self, step: str) -> None:
        self._step = step
        self._progress(step, self._begun, self._steps)
        self._begun += 1

    def _options(self, name: TowerName, plan: TowerPlan, request: BundleRequest) -> RungOptions:
        chosen = self._chosen.get(name)
        options = RungOptions(keep_precision=request.precisions is not None)
        if chosen is not None and chosen.precision == plan.precision:
            options = RungOptions(chosen.method, chosen.four_bit_weights, keep_precision=True)
        compile_context = None if request.cloud is None else request.cloud.compile
        return replace(options, compile_context=compile_context)

    def _save_golden(
        self,
        name: TowerName,
        inputs: Mapping[str, NDArray[np.float32]],
        expected: NDArray[np.float32],
        samples: Samples,
    ) -> Golden:
        """Write the first inputs as a phone reads them, and the float embeddings."""
        few = samples[:GOLDEN_INPUTS]

        def save(key: str, array: NDArray[Any]) -> FileRecord:
            return save_array(self._common, f"golden/{key}.npy", array[: len(few.ids)])

        return Golden(
            inputs={key: save(key, value) for key, value in inputs.items()},
            embeddings=save(f"{name}_embedding", expected),
            texts=few.texts if name == "text" else (),
            ids=save("token_ids", few.ids) if name == "text" else None,
        )

    def _tower_job(self, name: TowerName, calibrate: Samples, validation: Samples) -> TowerJob:
        """Return the tower to quantize. An image tower's biases are corrected for 8-bit weights."""
        samples = calibrate.read_from(self._table)
        module = self._student.tower(name)
        inputs, output = tower_specs(self._student, name)

        def progress(step: str, done: int = 0, total: int = 0, /) -> None:
            if total:
                self._progress(f"{name} tower: {step}", done, total)
            else:
                title = self._step or f"{name} tower"
                self._progress(f"{title}: {step}", max(self._begun - 1, 0), self._steps)

        own = TowerJob(
            module=module,
            name=name,
            inputs=inputs,
            output=output,
            samples=samples.inputs(name),
            validation=validation.read_from(self._table).inputs(name),
            expected=float_embeddings(module, validation.inputs(name)),
            golden=self._golden[name],
            work=self._new_folder(f"{name}-float"),
            any_length=name == "text" and not self._student.text_spec.attends_to_padding,
            progress=progress,
        )
        if name == "text":
            return own
        progress("correcting biases for 8 bits")
        module = corrected(module, torch.from_numpy(samples.pixels))
        work = self._new_folder(f"{name}-corrected")
        return replace(own, module=module, work=work, uncorrected=own)

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _bundle(
        self, directory: Path, target: Target, rungs: Mapping[TowerName, tuple[Rung, ...]]
    ) -> Bundle:
        facts = TargetFacts(target.id, target.soc_model, target.htp_arch, target.chip, target.npu)
        return Bundle(
            directory=directory,
            name=f"{self._student.name}-{target.id}",
            target=facts,
            image=Tower(rungs.get("image", ()), self._golden["image"]),
            text=Tower(rungs.get("text", ()), self._golden["text"]),
            **self._facts,
        )

    def _shared_facts(self, photo_embeddings: NDArray[np.float32]) -> dict[str, Any]:
        """Return the fields that all bundles share; `photo_embeddings` are [N, dim] for tuning."""
        student, common = self._student, self._common
        tokenizer, file = student.tokenizer_file()
        (common / TOKENIZER).write_bytes(file)
        table = FileRecord.of(common, common / TABLE)
        tokens, width = student.token_table.shape
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "student": StudentFacts(
                name=student.name,
                sha256=student.sha256(),
                image_sha256=student.image_sha256(),
                source=student.source.weights,
                preprocess=student.source.preprocess,
                licence=student.source.licence.name,
                licence_text=self._licence_text(),
            ),
            "dim": student.dim,
            "preprocess": student.preprocess,
            "tokenizer": tokenizer,
            "tokenizer_file": FileRecord.of(common, common / TOKENIZER),
            "token_table": TableRecord(table, tokens, width, student.text_spec.table_bits),
            "sample": save_array(common, "golden/photo_sample.npy", photo_embeddings),
            "tools": tool_versions(_TOOLS),
            "recall": None,
            "precision": None,
        }

    def _licence_text(self) -> FileRecord | None:
        source, path = self._student.source, self._common / LICENCE_TEXT
        text = source.licence.document(source.weights)
        if text is None:
            return None
        path.write_bytes(text)
        return FileRecord.of(self._common, path)


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
