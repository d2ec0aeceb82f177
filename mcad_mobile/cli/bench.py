"""mcad-mobile bench"""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mcad_mobile.bench.devices.open import open_device
from mcad_mobile.bench.report import html, markdown
from mcad_mobile.bench.run import bench as run
from mcad_mobile.bundle import Bundle
from mcad_mobile.cli.output import (
    BundleOption,
    JsonOption,
    RuntimeOption,
    ThreadsOption,
    print_json,
)
from mcad_mobile.errors import require


def bench(
    bundle: BundleOption,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="Where to measure: host (this computer), adb (a phone or board), adb:SERIAL.",
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
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
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
    force: Annotated[
        bool, typer.Option("--force", help="adb: measure a bundle made for another chip.")
    ] = False,
    runner: Annotated[
        Path | None,
        typer.Option("--runner", help="adb: a folder with a built Java runner (docs/bench.md)."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Also write a report; .html, .md or .json by its ending."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure running memory and search latency, and judge them against 100 MiB and 8 ms.

    A process of its own does what a phone would: load the text tower, open the index, search.
    Memory is PSS, the share of the machine's memory that the process answers for. A time from a
    simulator or an emulator is never reported.

    \b
      mcad-mobile bench --bundle build/sd --synthetic 100000 --report build/bench.html
      mcad-mobile bench --bundle build/sd --index build/sd.index --json
    """
    if report is not None and report.suffix not in (".html", ".md", ".json"):
        raise typer.BadParameter(f"--report must end in .html, .md or .json, not {report.name!r}")
    if report is not None and report.suffix == ".html":
        require("matplotlib", "report")
    loaded = Bundle.load(bundle)
    with Console(stderr=True).status("starting") as status:
        document = run(
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
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        if report.suffix == ".html":
            text = html(document, bundle=loaded)
        elif report.suffix == ".md":
            text = markdown(document)
        else:
            text = json_format.dumps(document, indent=2)
        report.write_text(text, "utf-8")
    if json:
        print_json(document)
    else:
        print(markdown(document))
