"""mcad-mobile bench"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.text import Text

from mcad_mobile.base.standard_output import print_json, terminal_errors
from mcad_mobile.bench.devices.aihub import AiHubDevice
from mcad_mobile.bench.measurement import (
    DEFAULT_PHOTOS,
    DeviceOptions,
    Workload,
    measure,
    open_device,
)
from mcad_mobile.bench.report import markdown
from mcad_mobile.bench.report.rows import busy
from mcad_mobile.cli.output import (
    BundleOptions,
    TowerOptions,
    aihub_jobs,
    among,
    command_line_options,
    flag,
    load_bundle,
    option,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.cli.report import JudgedOptions, check_report, write_report
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import AiHubError

# Options that only some devices use, and those devices.
_ONLY_FOR = {
    **dict.fromkeys(("synthetic", "index", "searches", "repeats"), ("host", "adb")),
    **dict.fromkeys(("cool_down", "threads", "fail_on_target"), ("host", "adb")),
    **dict.fromkeys(("runner", "aar", "npu"), ("adb",)),
    **dict.fromkeys(("compile_to", "jobs", "dry_run"), ("aihub",)),
    "force": ("adb", "aihub"),
}
_FOR_A_BASELINE = 3  # the fewest runs whose differences show the noise
_EXCLUDE_EACH_OTHER = (
    ("compile_to", "runtime"),
    ("index", "synthetic"),
    *(("runner", "aar"), ("runner", "npu"), ("aar", "npu")),
)


@dataclass(frozen=True, kw_only=True)
class BenchOptions(JudgedOptions, BundleOptions, TowerOptions):
    device: str = option(
        "--device",
        "host (this computer); adb or adb:SERIAL (a phone or board); aihub:PHONE[,PHONE] "
        "(Qualcomm's cloud; a name or a chipset); emulator (arm64, parity only).",
        default="host",
        autocompletion=among(lambda: ("host", "adb", "emulator", "aihub:")),
    )
    synthetic: int | None = option(
        "--synthetic",
        "Search among this many synthetic photos, spread like real embeddings. Default: 100000.",
        min=1,
    )
    index: Path | None = option("--index", "Search this real index instead.")
    searches: int = option("--searches", "How many searches to time.", default=200, min=1)
    repeats: int | None = option(
        "--repeats",
        "Runs of the searches. Default: 3 for adb and with --baseline, else 1.",
        min=1,
    )
    cool_down: float | None = option(
        "--cool-down", "Minimum seconds between runs. Default: 15 for adb, 0 for host.", min=0
    )
    force: bool = flag("--force", "adb, aihub: try files that were made for another chip.")
    runner: Path | None = option(
        "--runner", "adb: a folder with a built Java runner (docs/bench.md)."
    )
    aar: list[Path] = option(
        "--aar",
        "adb: an Android archive to merge into the runner: Qualcomm's qnn-runtime, an ONNX "
        "Runtime with QNN. May be given more than once.",
        default=[],
    )
    npu: bool = flag(
        "--npu",
        "adb: fetch what a bundle's Snapdragon rungs need: ONNX Runtime with QNN, and Qualcomm's "
        "runtime, which has Qualcomm's own licence.",
    )
    compile_to: Literal["qnn", "litert", "onnx"] | None = option(
        "--compile",
        "aihub: compile the bundle's float ONNX model there for each phone, instead of running "
        "the bundle's files.",
    )
    jobs: Path | None = option(
        "--jobs",
        "aihub: a file that records submitted jobs, so that they are not submitted twice. Default: "
        "BUNDLE.aihub.json. If you delete it, all jobs are submitted again.",
    )
    dry_run: bool = flag("--dry-run", "aihub: print the jobs without submitting any.")
    report: Path | None = option("--report", "Also write a report: .html, .md or .json.")


def bench(options: BenchOptions, context: typer.Context) -> None:
    """Measure memory and latency of a search, and compare them with 100 MiB and 8 ms.

    A separate process does what a phone would do: load the text tower, open the index, search.
    Memory is PSS, in which shared pages are divided among the processes that share them. On the
    device, each rung first embeds the test inputs stored in the bundle; a rung with wrong
    embeddings is skipped. A time from a simulator or an emulator is never reported.

    \b
      mcad-mobile bench --bundle build/sd --synthetic 100000 --report build/bench.html
      mcad-mobile bench --bundle build/sd --device adb --npu
      mcad-mobile bench --bundle build/sd --device aihub:"Samsung Galaxy S25" --dry-run
      mcad-mobile bench --bundle build/sd --baseline old.json --max-slowdown 1.2
    """
    _check_options(context, options.device.partition(":")[0])
    check_report(options.report)
    before = options.read_baseline()
    if before and "," in options.device:
        raise typer.BadParameter(f"--baseline is for one device, not {options.device}")
    bundle = load_bundle(options.bundle)
    aars = tuple(options.aar)
    if options.npu:
        from mcad_mobile.android.parts import npu_archives

        with progress_bar() as progress:
            aars = tuple(npu_archives(bundle, progress))
    device = DeviceOptions(
        ledger=options.jobs or aihub_jobs(options.bundle),
        compile_to=options.compile_to,
        force=options.force,
        runner=options.runner,
        aars=aars,
    )
    if options.dry_run:
        _print_jobs(open_device(options.device, device), bundle, options)
        return
    workload = Workload(
        index=options.index,
        synthetic=options.synthetic or DEFAULT_PHOTOS,
        searches=options.searches,
        threads=options.threads,
        runtime=options.runtime,
        repeats=options.repeats or (_FOR_A_BASELINE if before else None),
        cool_down_s=options.cool_down,
    )
    with Console(file=terminal_errors()).status("starting") as status:
        documents, failures = measure(
            bundle,
            options.device,
            device,
            workload,
            lambda step, *_: status.update(Text(printable(step))),
        )
    for warning in filter(None, map(busy, documents)):
        warn(warning)
    try:  # if the disk is full, the results still reach the other place
        if options.json:
            print_json(documents if len(documents) != 1 else documents[0])
        elif documents:
            print(markdown(*documents))
    finally:
        if options.report is not None and documents:
            write_report(options.report, documents, bundle)
    if failures:
        raise AiHubError(
            "\n  ".join(failures), "Run the same command again; it keeps the jobs that succeeded."
        )
    options.judge(before, documents)


def _check_options(context: typer.Context, kind: str) -> None:
    """Refuse options that would be ignored."""
    flags = command_line_options(context)
    for name, kinds in _ONLY_FOR.items():
        if name in flags and kind not in kinds:
            raise typer.BadParameter(
                f"{flags[name]} is for --device {' or '.join(kinds)}, not {kind}"
            )
    for first, second in _EXCLUDE_EACH_OTHER:
        if first in flags and second in flags:
            raise typer.BadParameter(f"{flags[first]} and {flags[second]} cannot be used together")


def _print_jobs(device: object, bundle: Bundle, options: BenchOptions) -> None:
    assert isinstance(device, AiHubDevice)  # --dry-run is for aihub alone
    planned = device.dry_run(bundle, options.runtime)
    if options.json:
        print_json(planned)
        return
    for job in planned:
        print("  ".join(str(value) for value in job.values()))
