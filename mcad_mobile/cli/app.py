"""The `mcad-mobile` command."""

from __future__ import annotations

import io
import os
import sys

import typer

from mcad_mobile import __version__
from mcad_mobile.cli import (
    android_app,
    bench,
    distill,
    doctor,
    evaluate,
    export,
    index,
    report,
    search,
    targets,
)
from mcad_mobile.errors import McadError

app = typer.Typer(
    name="mcad-mobile",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Image-text search on phones.\n\n"
        "A small dual-encoder becomes a bundle for one phone chip (export), photos become a "
        "compact index (index), words find photos (search), memory and latency are measured "
        "(bench), and an Android app carries it all (app).\n\n"
        "\b\n"
        "  mcad-mobile export --target snapdragon --out build/sd\n"
        "  mcad-mobile index  ~/Pictures --bundle build/sd\n"
        '  mcad-mobile search "a dog on the beach" --bundle build/sd\n'
        "  mcad-mobile bench  --bundle build/sd --synthetic 100000\n"
        "  mcad-mobile app    --bundle build/sd --out demo.apk\n\n"
        "Exit codes: 0 done, 1 a clear error, 2 wrong usage. With --json, standard output holds "
        "one JSON document and nothing else."
    ),
)
app.command("export")(export.export)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("bench")(bench.bench)
app.command("app")(android_app.app)
app.command("report")(report.report)
app.command("eval")(evaluate.evaluate)
app.command("distill")(distill.distill)
app.command("targets")(targets.targets)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point: errors that we know become one message and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the locale cannot write
    try:
        app()
    except McadError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, say) has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
