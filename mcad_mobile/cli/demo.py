"""mcad-mobile demo"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import typer

from mcad_mobile.cli.options import optional
from mcad_mobile.cli.output import print_table
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, Result
from mcad_mobile.errors import McadError, PhotoError, install_line, require

QUERIES = (
    "a man taking a photo with a camera",
    "a parked motorcycle",
    "a cat with green eyes",
    "a cup of coffee",
    "a rocket",
)
TIMEOUT_S = 3600  # of one command on a slow, busy machine


def demo(
    *,
    photos: Path | None = optional(
        help="A folder of photos. Default: sample photos from Python packages."
    ),
    out: Path = typer.Option(
        Path("build/demo"), "--out", "-o", help="Where to write bundle, index and report."
    ),
    target: str = typer.Option("snapdragon", "--target", "-t", help="A chip."),
) -> None:
    """Run export, index, search and bench on real photos, and write a report.

    \b
      mcad-mobile demo
      mcad-mobile demo --photos ~/Pictures
    """
    require("jinja2", "report")
    from mcad_mobile.bench.report import html
    from mcad_mobile.bench.report.rows import verdict_rows

    bundle = out / target
    folder = photos or collect_packaged_photos(out / "sample-photos")
    mcad("export", "--target", target, "--out", str(bundle))
    mcad("index", str(folder), "--bundle", str(bundle))
    searches = [search(query, bundle) for query in QUERIES]
    report = out / "report.html"
    document = json.loads(mcad("bench", "--bundle", str(bundle), "--synthetic", "100000", "--json"))
    report.write_text(html(document, bundle=Bundle.load(bundle), searches=searches), "utf-8")
    print(f"Report: {report.resolve()}")
    count, cpu = document["index"]["photos"], document["device"]["cpu"]
    print_table(
        f"\nAt {count:,} photos, one thread, on this computer ({cpu}), not a phone:",
        ["", "limit", "measured", ""],
        verdict_rows(document),
    )


def collect_packaged_photos(folder: Path) -> Path:
    """Copy the photos of installed packages into a folder. PhotoError: there are none."""
    photos = packaged_photos()
    if not photos:
        raise PhotoError(
            "No installed package ships photos.",
            f"Give a folder: --photos DIR, or: {install_line('export')}.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        shutil.copyfile(photo, folder / photo.name)
    return folder


def search(query: str, bundle: Path) -> Found:
    document = json.loads(mcad("search", query, "--bundle", str(bundle), "-k", "3", "--json"))
    results = [Result(**result) for result in document["results"]]
    hits = ", ".join(f"{Path(hit.path).name} {hit.score:.2f}" for hit in results)
    print(f"  {hits}")
    return Found(query, results, document["ms"], document["truncated"])


def mcad(*arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    """Run a command, and echo it. Return its output, and print it unless it is JSON."""
    print(f"$ mcad-mobile {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-P", "-m", "mcad_mobile", *arguments]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise McadError(
            f"`mcad-mobile {arguments[0]}` took more than {timeout_s} s.",
            "Run it by itself, on an idle machine.",
        ) from error
    if done.returncode:
        raise McadError(
            f"`mcad-mobile {arguments[0]}` ended with code {done.returncode}.",
            "See its messages above.",
        )
    if "--json" not in arguments:
        print(done.stdout, end="")
    return done.stdout
