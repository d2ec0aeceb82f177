"""mcad-mobile bench"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mcad_mobile.bench.devices.aihub import AiHubDevice
from mcad_mobile.bench.devices.open import open_device, open_tower_device
from mcad_mobile.bench.report import markdown
from mcad_mobile.bench.run import bench as run
from mcad_mobile.bench.run import bench_towers
from mcad_mobile.bundle import Bundle
from mcad_mobile.cli.output import (
    BundleOption,
    JsonOption,
    RuntimeOption,
    ThreadsOption,
    aihub_jobs,
    print_json,
)
from mcad_mobile.cli.report import (
    BaselineOption,
    SlowdownOption,
    check_report,
    judge_baseline,
    write_report,
)
from mcad_mobile.errors import AiHubError


class CompileTo(StrEnum):
    qnn = "qnn"
    litert = "litert"
    onnx = "onnx"


def bench(
    bundle: BundleOption,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="host (this computer); adb or adb:SERIAL (a phone or board); aihub:PHONE[,PHONE] "
            "(Qualcomm's cloud; a name or a chipset); emulator (arm64, parity only).",
        ),
    ] = "host",
    synthetic: Annotated[
        int | None,
        typer.Option(
            "--synthetic",
            min=1,
            help="Measure at N photos, with an index of real embeddings, blended. Default: 100000.",
        ),
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", help="Measure this real index instead.")
    ] = None,
    searches: Annotated[int, typer.Option("--searches", min=1, help="How many to time.")] = 200,
    repeats: Annotated[
        int | None,
        typer.Option("--repeats", min=1, help="Runs of the searches. Default: host 1, adb 3."),
    ] = None,
    cool_down: Annotated[
        float | None,
        typer.Option(
            "--cool-down", min=0, help="Least seconds between runs. Default: host 0, adb 15."
        ),
    ] = None,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    force: Annotated[
        bool,
        typer.Option("--force", help="adb, aihub: try files that were made for another chip."),
    ] = False,
    runner: Annotated[
        Path | None,
        typer.Option("--runner", help="adb: a folder with a built Java runner (docs/bench.md)."),
    ] = None,
    compile_to: Annotated[
        CompileTo | None,
        typer.Option(
            "--compile",
            help="aihub: compile the bundle's float ONNX model there for each phone, instead of "
            "running the bundle's files.",
        ),
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            "--jobs",
            help="aihub: where submitted jobs are remembered. Default: BUNDLE.aihub.json; without "
            "that file, everything is submitted anew.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="aihub: print the jobs, and submit nothing.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Also write a report; .html, .md or .json by its ending."),
    ] = None,
    baseline: BaselineOption = None,
    max_slowdown: SlowdownOption = 1.2,
    json: JsonOption = False,
) -> None:
    """Measure running memory and search latency, and judge them against 100 MiB and 8 ms.

    A process of its own does what a phone would: load the text tower, open the index, search.
    Memory is PSS, the share of the machine's memory that the process answers for. Before any
    number counts, each rung of the bundle's ladder embeds its golden inputs on the device; one
    that gives wrong vectors is skipped. A time from a simulator or an emulator is never reported.

    \b
      mcad-mobile bench --bundle build/sd --synthetic 100000 --report build/bench.html
      mcad-mobile bench --bundle build/sd --device adb
      mcad-mobile bench --bundle build/sd --device aihub:"Samsung Galaxy S25" --dry-run
      mcad-mobile bench --bundle build/sd --baseline old.json --max-slowdown 1.2
    """
    check_report(report)
    loaded = Bundle.load(bundle)
    towers = open_tower_device(
        device,
        ledger=jobs or aihub_jobs(bundle),
        compile_to=None if compile_to is None else compile_to.value,
        force=force,
    )
    if dry_run:
        _dry_run(towers, loaded, runtime, device, json)
        return
    failures: list[str] = []
    with Console(stderr=True).status("starting") as status:
        if towers is not None:
            documents, failures = bench_towers(
                loaded, towers, runtime=runtime, progress=status.update
            )
        else:
            documents = [
                run(
                    loaded,
                    index=index,
                    synthetic=synthetic,
                    threads=threads,
                    searches=searches,
                    runtime=runtime,
                    repeats=repeats,
                    cool_down_s=cool_down,
                    device=open_device(device, force=force, runner=runner),
                    progress=status.update,
                )
            ]
    if report is not None and documents:
        write_report(report, documents, loaded)
    if json:
        print_json(documents if len(documents) != 1 else documents[0])
    elif documents:
        print(markdown(*documents))
    if failures:
        raise AiHubError(
            "\n  ".join(failures), "Run the same command again: what went well is kept."
        )
    judge_baseline(baseline, documents, max_slowdown)


def _dry_run(towers: Any, bundle: Bundle, runtime: str | None, device: str, json: bool) -> None:
    if not isinstance(towers, AiHubDevice):
        raise typer.BadParameter(f"--dry-run is for --device aihub:PHONE, not {device!r}")
    planned = towers.dry_run(bundle, runtime)
    if json:
        print_json(planned)
        return
    for job in planned:
        print("  ".join(str(value) for value in job.values()))
