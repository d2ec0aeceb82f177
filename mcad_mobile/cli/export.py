"""mcad-mobile export"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import typer
from msgspec.structs import replace as replace_fields

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.licences import find_licence
from mcad_mobile.base.progress import Progress
from mcad_mobile.base.standard_output import counted, print_json
from mcad_mobile.cli.options import (
    Dim,
    Json,
    PreprocessName,
    StudentName,
    TokenizerFile,
    among,
    exclude,
    flag,
    optional,
    required,
    several,
)
from mcad_mobile.cli.output import print_table, progress_bar, warn
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.bundle import (
    MANIFEST,
    READER_SHAPES,
    TOWERS,
    Bundle,
    Precision,
    TowerName,
)
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.errors import ExportError, require
from mcad_mobile.export import check_arguments
from mcad_mobile.export.export_report import (
    ALONE_HEAD,
    PAIRS_HEAD,
    PrecisionRecord,
    RecallRecord,
    Recalls,
    alone_rows,
    matrix_head,
    matrix_rows,
    pair_rows,
)
from mcad_mobile.recall import EmbeddedPairs, embed_by_student
from mcad_mobile.targets import Target, all_targets, find_targets

if TYPE_CHECKING:
    from mcad_mobile.export.aihub_compiler import CloudCompiler
    from mcad_mobile.export.pipeline import Exported
    from mcad_mobile.students.student import Student

_BOTH = "default,"  # before a text tower that a bundle gets beside the student's own


def _chip_names() -> list[str]:
    return [
        "snapdragon",
        "snapdragon-phones",
        "dimensity",
        "tensor",
        *(chip.id for chip in all_targets()),
    ]


def export(
    *,
    context: typer.Context,
    student: StudentName = None,
    tokenizer: TokenizerFile = None,
    preprocess: PreprocessName = None,
    dim: Dim = None,
    out: Path = required(
        "--out",
        "-o",
        help="The bundle's folder. An existing bundle there is replaced. For several targets: a "
        "folder that gets one bundle per chip.",
    ),
    text: str | None = optional(
        help="Another text tower for the same image tower: multilingual, which reads 68 languages, "
        "or a folder that `distill --text-only` wrote. Indexes stay valid. default,multilingual: "
        "both; an app takes the second on phones that are not set to English."
    ),
    target: list[str] = several(
        "--target",
        "-t",
        metavar="CHIP",
        autocompletion=among(_chip_names),
        help="A chip by id, model or name (snapdragon-8-gen-3, SM8650), or a family's default: "
        "snapdragon, dimensity, tensor, cpu, cpu-litert. With commas between chips, one bundle "
        "holds them all; snapdragon-phones are those of the last four years. May be repeated. "
        "`mcad-mobile targets` lists them.",
    ),
    every: bool = flag("--all", help="Make a bundle for every chip that `targets` lists."),
    calibration: Path | None = optional(
        help="A folder of photos like your users'. Default: photos of installed packages."
    ),
    samples: int = typer.Option(32, min=2, help="Photos and captions to calibrate on."),
    data: Path | None = optional(
        help="A folder of photos with captions (docs/data.md). Its test split shows how much "
        "recall the export loses."
    ),
    precision: Literal["auto", "w8a8", "w8a16", "w4a16"] | None = optional(
        help="auto: the smallest towers whose recall on --data stays within --max-recall-drop. "
        "w8a8, w8a16 or w4a16: for an NPU. Default: the target's own (docs/targets.md)."
    ),
    max_recall_drop: float = typer.Option(
        0.5,
        metavar="POINTS",
        min=0.01,
        max=100,
        help="Points of mean recall (mR) that --precision auto may lose on --data, standard error "
        "included. Warns if photos and texts embedded by different rungs lose more.",
    ),
    allow_low_parity: bool = flag(
        "--allow-low-parity",
        help="Keep towers whose mean cosine to the float student is under 0.95.",
    ),
    via: str | None = optional(
        help="Compile QNN files in Qualcomm AI Hub and compare them on a phone there: aihub, or "
        'aihub:"Samsung Galaxy S25". Default: compile here and compare in Qualcomm\'s NPU '
        "simulator."
    ),
    read_text: bool = flag(
        "--read-text",
        help="Add what reads the text in photos, so that an index finds their words. 9 to 20 MB.",
    ),
    json: Json = False,
) -> None:
    """Turn a student into a bundle for one phone chip or several, or into a bundle for each chip.

    Each tower is exported by itself, quantized with real photos and captions, compiled if the chip
    has a compiler, then read back from its file, run, and compared with the float student. Every
    bundle also holds an ONNX model that runs on any CPU. Files that bundles share are made once.

    A bundle holds each tower in several versions (rungs), best first; a device uses the first that
    runs and passes its self-test.

    \b
      mcad-mobile export --target snapdragon --out build/sd
      mcad-mobile export --target SM8650 --out build/gen3 --calibration ~/Pictures
      mcad-mobile export -t SM8650 -t dimensity -o build   # one folder per chip in build/
      mcad-mobile export -t SM8550,SM8650,SM8750 -o build/sd   # one bundle for three chips
      mcad-mobile export --student open_clip:ViT-B-32-SigLIP2-256:webli -t snapdragon \\
          --out build/siglip2
      mcad-mobile export --text default,multilingual --target snapdragon --out build/sd
      mcad-mobile export -t cpu -o build/small --precision auto --max-recall-drop 0.5 --data DIR
    """
    if every == bool(target):
        raise typer.BadParameter("give --target CHIP, one or more times, or --all")
    named = map(find_targets, target) if target else ((chip,) for chip in all_targets())
    groups = list(dict.fromkeys(named))
    chips = [chip for group in groups for chip in group]
    _check_via(via, precision, groups)
    precisions = _precisions(precision, data, chips)
    _refuse_ignored(context, data, text)
    several = every or len(target) > 1
    places = _places(out, groups) if several else [out]
    photos = [] if data is None else load_captions(data, "test")
    measure_on, calibrate_on = _splits(data) if precision == "auto" else ([], [])
    check_arguments(student, places, calibration, read_text=read_text)
    from mcad_mobile.export.build import BundleRequest
    from mcad_mobile.export.pipeline import ExportOptions
    from mcad_mobile.export.pipeline import export as run
    from mcad_mobile.export.recall_drop import data_facts
    from mcad_mobile.export.smallest_pair import Budget

    with progress_bar() as advance:
        loaded, multilingual = _students(
            text, student, dim, tokenizer=tokenizer, preprocess=preprocess
        )
        by_student = embed_by_student(loaded, photos, advance) if photos else None
        requests = [
            BundleRequest(chip, place, _cloud(via, chip, advance), precisions, more=tuple(others))
            for (chip, *others), place in zip(groups, places, strict=True)
        ]
        budget = None
        if data is not None and measure_on:
            budget = Budget(max_recall_drop, measure_on, data_facts(data, measure_on))
        export_options = ExportOptions(
            calibration=calibration,
            samples=samples,
            calibrate_on=calibrate_on if calibration is None else (),
            allow_low_parity=allow_low_parity,
            budget=budget,
            read_text=read_text,
            multilingual=multilingual,
        )
        exported = run(loaded, requests, export_options, advance)
        warnings = [warning for made in exported for warning in made.warnings]
        if data is not None and by_student is not None:
            exported, more = _measure_recall(
                exported, data, photos, by_student, max_recall_drop, advance
            )
            warnings += more
    for warning in dict.fromkeys(warnings):
        warn(warning)
    recall = exported[0].report.recall
    if json:
        documents = [_document(made, recall) for made in exported]
        print_json(documents if several else documents[0])
        return
    for made in exported:
        _print(made.bundle)
        if made.report.precision is not None:
            _print_search(made.report.precision)
    if recall is not None:
        _print_recall(data, recall)


def _students(
    text: str | None, spec: str | None, dim: int | None, **files: Any
) -> tuple[Student, Student | None]:
    """Return the student, and one whose text tower comes beside its own."""
    from mcad_mobile.students.load import load_student, load_with_text

    if text and not text.startswith(_BOTH):
        return load_with_text(text, spec, dim), None
    other = load_with_text(text.removeprefix(_BOTH), spec, dim) if text else None
    return load_student(spec, dim, **files), other


def _measure_recall(
    exported: list[Exported],
    data: Path,
    photos: list[CaptionedPhoto],
    by_student: EmbeddedPairs,
    drop: float,
    advance: Progress,
) -> tuple[list[Exported], list[str]]:
    """Measure the recall of the first bundle's rungs, and save it in all reports. Return the
    exports with these reports, and warnings of rungs that lose more than `drop` points."""
    from mcad_mobile.export import recall_drop

    first = exported[0].bundle
    facts = recall_drop.data_facts(data, photos)
    record = recall_drop.rung_recalls(first, facts, photos, by_student, advance)
    saved = []
    for made in exported:
        shared = recall_drop.shared_recall(record, made.bundle, first)
        report = replace_fields(made.report, recall=shared)
        report.save(made.bundle.directory)
        saved.append(replace(made, report=report))
    return saved, recall_drop.recall_warnings(record, drop)


def _refuse_ignored(context: typer.Context, data: Path | None, text: str | None) -> None:
    if data is None:
        exclude(context, "without --data", "max_recall_drop")
    if text is not None:  # which belongs to a student that `distill` wrote
        exclude(context, "with --text", "tokenizer", "preprocess")


def _check_via(via: str | None, precision: str | None, groups: Sequence[Sequence[Target]]) -> None:
    if via is None:
        return
    chips = [chip for group in groups for chip in group]
    if via.partition(":")[0] != "aihub" or any(chip.soc_model is None for chip in chips):
        raise typer.BadParameter(
            f"--via takes aihub or aihub:PHONE, and compiles for Snapdragon chips; not {via!r} "
            f"for {', '.join(chip.id for chip in chips)}"
        )
    if precision == "auto":
        raise typer.BadParameter(
            "--precision auto runs on this machine: give it or --via, not both"
        )
    if any(len(group) > 1 for group in groups):
        raise typer.BadParameter("--via compiles for one chip: repeat --target instead of commas")


def _precisions(
    precision: Literal["auto", "w8a8", "w8a16", "w4a16"] | None,
    data: Path | None,
    chips: Sequence[Target],
) -> dict[TowerName, Precision] | None:
    """Return the precisions that `--precision` names; None if the target or a search decides."""
    if precision is None:
        return None
    listed = ", ".join(chip.id for chip in chips)
    if precision == "auto":
        if data is None:
            raise typer.BadParameter("--precision auto measures recall: give --data DIR")
        if len({_graph_form(chip) for chip in chips}) > 1:
            raise typer.BadParameter(
                "--precision auto needs chips that run the same files. Export these separately: "
                f"{listed} (one family at a time; Snapdragons older than Hexagon v73 on their own)"
            )
        return None
    if cpus := [chip.id for chip in chips if not chip.has_npu]:
        raise typer.BadParameter(
            f"--precision {precision} is for chips with an NPU, and not for {', '.join(cpus)}"
        )
    return dict.fromkeys((*TOWERS, "multilingual"), precision)


def _graph_form(chip: Target) -> tuple[str, int]:
    """Return what decides which quantized graphs a chip takes."""
    require("onnxruntime", "export")
    from mcad_mobile.export.backends import backend_of

    return chip.family, backend_of(chip.ladder[0].runtime).graph_form(chip)


def _splits(data: Path | None) -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """Return the photos on which a search measures recall, and those on which it calibrates.
    Without a `val` split it measures on `test`, which also serves for the reported recall."""
    assert data is not None
    photos = load_captions(data, None)
    val, train = ([x for x in photos if x.split == name] for name in ("val", "train"))
    return val or load_captions(data, "test"), train


def _places(out: Path, groups: Sequence[Sequence[Target]]) -> list[Path]:
    if (out / MANIFEST).exists():
        raise ExportError(
            f"{out} is a bundle, but several bundles are to be written.",
            "Give --out a folder for them. Each bundle gets a folder there, named after its chip.",
        )
    return [out / "+".join(chip.id for chip in group) for group in groups]


def _cloud(via: str | None, chip: Target, progress: Progress) -> CloudCompiler | None:
    if via is None:
        return None
    from mcad_mobile.export.aihub_compiler import CloudCompiler

    found = CloudCompiler.open(chip, via.partition(":")[2] or None)
    return replace(found, progress=progress)


def _document(made: Exported, recall: RecallRecord | None) -> dict[str, Any]:
    bundle, report = made.bundle, made.report
    document = {
        "bundle": bundle.directory,
        "target": bundle.target.id,
        **({"chips": [chip.id for chip in bundle.chips]} if len(bundle.chips) > 1 else {}),
        "student": bundle.student.name,
        "licence": bundle.student.licence,
        "towers": {
            name: bundle.tower(name).rungs[0].facts()
            for name in bundle.towers
            if name not in READER_SHAPES
        },
    }
    if bundle.reader is not None:
        document["reader"] = {
            name: [rung.facts() for rung in bundle.tower(name).rungs] for name in READER_SHAPES
        }
    if recall is not None:
        document["recall"] = {
            "float": _recalls(recall, recall.exact),
            "exported": _recalls(recall, recall.exported),
            "pairs": [] if report.recall is None else msgspec.to_builtins(report.recall.pairs),
        }
    if report.precision is not None:
        document["precision"] = msgspec.to_builtins(report.precision)
    return document


def _recalls(record: RecallRecord, found: Recalls) -> dict[str, Any]:
    return {
        "photos": record.data.photos,
        "captions": record.data.captions,
        **msgspec.to_builtins(found),
        "mean_recall": round(found.mean_recall, 2),
    }


def _print(bundle: Bundle) -> None:
    rows = []
    notes: dict[str, None] = {}
    for tower in bundle.towers:
        for number, rung in enumerate(bundle.tower(tower).rungs):
            assert rung.parity is not None
            name = "  fallback" if number and not rung.chip else tower
            cosines = (f"{x:.4f}" for x in (rung.parity.cosine_mean, rung.parity.cosine_min))
            rows.append(
                [
                    name,
                    rung.name,
                    f"{megabytes(rung.bytes)} MB",
                    runtime_of(rung).for_npu(rung),
                    *cosines,
                ]
            )
            notes.update(dict.fromkeys(rung.notes))
    print_table(
        f"{bundle.directory} for " + ", ".join(f"{chip.id} ({chip.chip})" for chip in bundle.chips),
        ["tower", "runs as", "size", "operators", "cosine to float", "worst"],
        rows,
    )
    for note in notes:
        print(note)
    for licence in map(find_licence, dict.fromkeys(x.licence for x in bundle.students)):
        print(f"Licence of the weights: {licence.name}", end="")
        if licence.limit:
            print(f", which {licence.limit}; an app needs --accept-licence {licence.name}", end="")
        print(".")


def _print_search(record: PrecisionRecord) -> None:
    data = record.data
    print_table(
        f"Tried on {data.name} {data.split}: {counted(data.photos, 'photo')}, "
        f"{counted(data.captions, 'caption')}; float "
        f"mR {record.float_mean_recall:.2f}, budget {record.max_recall_drop:g} points",
        ALONE_HEAD,
        alone_rows(record),
    )
    print_table(
        f"{counted(len(record.steps), 'pair')} measured, the smallest first:",
        PAIRS_HEAD,
        pair_rows(record),
    )
    print(f"{record.why} Judged by {record.judged_by}.")


def _print_recall(data: Path | None, record: RecallRecord) -> None:
    rows = []
    for name, found in (("float student", record.exact), ("CPU rungs", record.exported)):
        ways = (found.text_to_image, found.image_to_text)
        values = [value for way in ways for value in (way.r1, way.r5, way.r10)]
        rows.append([name, *(f"{value:.1f}" for value in values), f"{found.mean_recall:.2f}"])
    heads = [f"{way}\nR@{k}" for way in ("photos", "texts") for k in (1, 5, 10)]
    print_table(
        f"{data} test: {counted(record.data.photos, 'photo')}, "
        f"{counted(record.data.captions, 'caption')}",
        ["", *heads, "mR"],
        rows,
    )
    print_table(
        "mR with photos embedded by one rung and texts by another",
        matrix_head(record),
        matrix_rows(record),
    )
