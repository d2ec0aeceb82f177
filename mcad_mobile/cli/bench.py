"""mcad-mobile bench"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.text import Text

from mcad_mobile.base.standard_output import print_json, terminal_errors
from mcad_mobile.bench.measurement import (
    DEFAULT_PHOTOS,
    Workload,
    measure,
    open_device,
)
from mcad_mobile.bench.report import markdown
from mcad_mobile.bench.report.rows import busy
from mcad_mobile.cli.options import (
    BundlePath,
    Json,
    RuntimeName,
    Threads,
    among,
    at_most_one,
    exclude,
    flag,
    optional,
    several,
)
from mcad_mobile.cli.output import load_bundle, printable, progress_bar, warn
from mcad_mobile.cli.report import (
    Baseline,
    FailOnTarget,
    MaxSlowdown,
    check_report,
    judge,
    read_baseline,
    write_report,
)
from mcad_mobile.errors import AiHubError

# Options that only some devices use, and those devices.
_ONLY_FOR = {
    **dict.fromkeys(("synthetic", "index", "searches", "repeats"), ("host", "adb")),
    **dict.fromkeys(("cool_down", "threads", "fail_on_target"), ("host", "adb")),
    **dict.fromkeys(("runner", "aar", "npu"), ("adb",)),
    "compile_to": ("aihub",),
    "force": ("adb", "aihub"),
    "read_text": ("host",),
}
_FOR_A_BASELINE = 3  # the fewest runs whose differences show the noise


def bench(
    *,
    context: typer.Context,
    bundle: BundlePath,
    baseline: Baseline = None,
    max_slowdown: MaxSlowdown = 1.2,
    fail_on_target: FailOnTarget = False,
    device: str = typer.Option(
        "host",
        autocompletion=among(lambda: ("host", "adb", "emulator", "aihub:")),
        help="host (this computer); adb or adb:SERIAL (a phone or board); aihub:PHONE[,PHONE] "
        "(Qualcomm's cloud; a name or a chipset); emulator (arm64, parity only).",
    ),
    synthetic: int | None = optional(
        min=1,
        help="Search among this many synthetic photos, spread like real embeddings. Default: "
        "100000.",
    ),
    index: Path | None = optional(help="Search this real index instead."),
    searches: int = typer.Option(200, min=1, help="How many searches to time."),
    repeats: int | None = optional(
        min=1, help="Runs of the searches. Default: 3 for adb and with --baseline, else 1."
    ),
    cool_down: float | None = optional(
        min=0, help="Minimum seconds between runs. Default: 15 for adb, 0 for host."
    ),
    force: bool = flag("--force", help="adb, aihub: try files that were made for another chip."),
    runner: Path | None = optional(help="adb: a folder with a built Java runner (docs/bench.md)."),
    aar: list[Path] = several(
        help="adb: an Android archive to merge into the runner: Qualcomm's qnn-runtime, an ONNX "
        "Runtime with QNN. May be given more than once."
    ),
    npu: bool = flag(
        "--npu",
        help="adb: fetch what a bundle's Snapdragon rungs need: ONNX Runtime with QNN, and "
        "Qualcomm's runtime, which has Qualcomm's own licence.",
    ),
    compile_to: Literal["qnn", "litert", "onnx"] | None = optional(
        "--compile",
        help="aihub: compile the bundle's float ONNX model there for each phone, instead of "
        "running the bundle's files.",
    ),
    read_text: bool = flag(
        "--read-text", help="host: also read the text in photos, with the bundle's reader."
    ),
    report: Path | None = optional(help="Also write a report: .html, .md or .json."),
    runtime: RuntimeName = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Measure memory and latency of a search, and compare them with 100 MiB and 8 ms.

    A separate process does what a phone would do: load the text tower, open the index, search.
    Memory is PSS, in which shared pages are divided among the processes that share them. On the
    device, each rung first embeds the test inputs stored in the bundle; a rung with wrong
    embeddings is skipped. A time from a simulator or an emulator is never reported.

    \b
      mcad-mobile bench --bundle build/sd --synthetic 100000 --report build/bench.html
      mcad-mobile bench --bundle build/sd --device adb --npu
      mcad-mobile bench --bundle build/sd --device aihub:"Samsung Galaxy S25"
      mcad-mobile bench --bundle build/sd --baseline old.json --max-slowdown 1.2
    """
    kind = device.partition(":")[0]
    ignored = [name for name, kinds in _ONLY_FOR.items() if kind not in kinds]
    exclude(context, f"with --device {kind}", *ignored)
    at_most_one(context, "compile_to", "runtime")
    at_most_one(context, "index", "synthetic")
    at_most_one(context, "runner", "aar", "npu")
    check_report(report)
    before = read_baseline(baseline)
    if before and "," in device:
        raise typer.BadParameter(f"--baseline is for one device, not {device}")
    loaded = load_bundle(bundle)
    aars = tuple(aar)
    if npu:
        from mcad_mobile.android.parts import npu_archives

        with progress_bar() as progress:
            aars = tuple(npu_archives(loaded, progress))
    opened = open_device(device, compile_to, force=force, runner=runner, aars=aars)
    workload = Workload(
        index=index,
        synthetic=synthetic or DEFAULT_PHOTOS,
        searches=searches,
        threads=threads,
        runtime=runtime,
        repeats=repeats or (_FOR_A_BASELINE if before else None),
        cool_down_s=cool_down,
        read_text=read_text,
    )
    with Console(file=terminal_errors()).status("starting") as status:
        documents, failures = measure(
            loaded,
            opened,
            workload,
            lambda step, *_: status.update(Text(printable(step))),
        )
    for warning in filter(None, map(busy, documents)):
        warn(warning)
    try:  # if the disk is full, the results still reach the other place
        if json:
            print_json(documents if len(documents) != 1 else documents[0])
        elif documents:
            print(markdown(*documents))
    finally:
        if report is not None and documents:
            write_report(report, documents, loaded)
    if failures:
        raise AiHubError(
            "\n  ".join(failures), "Run the same command again; it keeps the jobs that succeeded."
        )
    judge(documents, before, max_slowdown, fail_on_target)
