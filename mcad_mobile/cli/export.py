"""mcad-mobile export"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.cli.output import (
    Advance,
    JsonOption,
    aihub_jobs,
    print_json,
    print_table,
    progress_bar,
)
from mcad_mobile.errors import require
from mcad_mobile.targets import Target, find_target

if TYPE_CHECKING:
    from mcad_mobile.export.aihub import CloudCompiler


def export(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="A chip by id, model or name (snapdragon-8-gen-3, SM8650), or a family's default: "
            "snapdragon, dimensity, cpu. `mcad-mobile targets` lists them.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder, new or a bundle.")],
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            help="A folder that `distill` wrote, open_clip:NAME[:TAG|FILE], or hf:NAME_OR_FOLDER "
            "(CLIP, SigLIP, MobileCLIP ...). Default: mcad-s.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="A folder of photos like your users'. Default: photos of installed packages.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=2, help="Photos and captions to calibrate on.")
    ] = 32,
    allow_low_parity: Annotated[
        bool,
        typer.Option("--allow-low-parity", help="Keep towers under 0.95 mean cosine to float."),
    ] = False,
    via: Annotated[
        str | None,
        typer.Option(
            "--via",
            help="Compile QNN rungs in Qualcomm AI Hub, compare them on a phone there: aihub, or "
            'aihub:"Samsung Galaxy S25". Default: here, compared on the HTP simulator.',
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Turn a student into a bundle for one phone chip.

    Each tower is exported apart, quantized with real photos and captions, compiled where the chip
    has a compiler, then read back from its file, run, and compared with the float student. Every
    bundle ends in an ONNX CPU model that runs anywhere.

    \b
      mcad-mobile export --target snapdragon --out build/sd
      mcad-mobile export --target SM8650 --out build/gen3 --calibration ~/Pictures
      mcad-mobile export --student open_clip:MobileCLIP2-S0:dfndr2b -t snapdragon -o build/s0
    """
    chip = find_target(target)
    if via is not None and (via.partition(":")[0] != "aihub" or chip.family != "snapdragon"):
        raise typer.BadParameter(
            f"--via takes aihub or aihub:PHONE, and compiles for Snapdragon chips; not {via!r} "
            f"for {chip.id}"
        )
    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        require(module, "export")
    from mcad_mobile.export.pipeline import export as run
    from mcad_mobile.students.load import load_student

    with progress_bar() as advance:
        exported = run(
            load_student(student),
            chip,
            out,
            calibration=calibration,
            samples=samples,
            allow_low_parity=allow_low_parity,
            cloud=_cloud(via, chip, out, advance),
            progress=advance,
        )
    for warning in exported.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if json:
        print_json(_document(exported.bundle))
    else:
        _print(exported.bundle)


def _cloud(via: str | None, chip: Target, out: Path, advance: Advance) -> CloudCompiler | None:
    if via is None:
        return None
    from mcad_mobile.export.aihub import CloudCompiler

    jobs = aihub_jobs(out)
    found = CloudCompiler.open(chip, jobs, via.partition(":")[2] or None)
    return replace(found, progress=lambda step: advance(step, 0, 1))


def _document(bundle: Bundle) -> dict[str, Any]:
    towers = {}
    for name in TOWERS:
        rung = bundle.tower(name).rungs[0]
        assert rung.parity is not None
        towers[name] = {
            "runtime": rung.runtime,
            "precision": rung.precision,
            "bytes": rung.bytes,
            "npu_nodes": rung.npu_nodes,
            "total_nodes": rung.total_nodes,
            "cosine_mean": rung.parity.cosine_mean,
            "cosine_min": rung.parity.cosine_min,
        }
    return {"bundle": str(bundle.directory), "target": bundle.target.id, "towers": towers}


def _print(bundle: Bundle) -> None:
    rows = []
    notes: dict[str, None] = {}
    for name in TOWERS:
        for number, rung in enumerate(bundle.tower(name).rungs):
            assert rung.parity is not None
            rows.append(
                [
                    name if number == 0 else "  fallback",
                    f"{rung.runtime} {rung.precision}",
                    f"{rung.bytes / 1e6:.1f} MB",
                    f"{rung.npu_nodes}/{rung.total_nodes}" if rung.npu_nodes else "-",
                    f"{rung.parity.cosine_mean:.4f}",
                    f"{rung.parity.cosine_min:.4f}",
                ]
            )
            notes.update(dict.fromkeys(rung.notes))
    print_table(
        f"{bundle.directory} for {bundle.target.id} ({bundle.target.chip})",
        ["tower", "runs as", "size", "nodes on NPU", "cosine to float", "worst"],
        rows,
    )
    for note in notes:
        print(note)
