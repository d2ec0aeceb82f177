"""The `mcad-mobile` command."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from mcad_mobile import __version__, disk
from mcad_mobile.cli import (
    android_app,
    android_library,
    bench,
    demo,
    distill,
    doctor,
    embed,
    evaluate,
    export,
    index,
    report,
    search,
    serve,
    targets,
)
from mcad_mobile.cli.interrupt import INTERRUPTED, interruptible
from mcad_mobile.cli.results import flush_results, give_up_results, reserve_standard_output
from mcad_mobile.errors import McadError
from mcad_mobile.locks import check_platform

app = typer.Typer(
    name="mcad-mobile",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Image-text search on phones.\n\n"
        "A small dual-encoder becomes a bundle for one phone chip (export), photos become a "
        "compact index (index), words find photos (search), memory and latency are measured "
        "(bench), and an Android app carries it all (app). A page in the browser tries it on your "
        "own photos first (serve); more photos than one machine holds are embedded on a cluster "
        "(embed).\n\n"
        "\b\n"
        "  mcad-mobile export --target snapdragon --out build/sd\n"
        "  mcad-mobile index  ~/Pictures --bundle build/sd\n"
        '  mcad-mobile search "a dog on the beach" --bundle build/sd\n'
        "  mcad-mobile serve  --bundle build/sd\n"
        "  mcad-mobile bench  --bundle build/sd --synthetic 100000\n"
        "  mcad-mobile app    --bundle build/sd --out demo.apk\n\n"
        "`mcad-mobile demo` does all of it but the app, on photos that packages ship. "
        "Exit codes: 0 done, 1 a clear error, 2 wrong usage, 130 interrupted. With --json, "
        "standard output holds one JSON document and nothing else."
    ),
)
_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "export": export.export,
    "index": index.index,
    "embed": embed.embed,
    "search": search.search,
    "serve": serve.serve,
    "bench": bench.bench,
    "app": android_app.app,
    "library": android_library.library,
    "report": report.report,
    "eval": evaluate.evaluate,
    "distill": distill.distill,
    "targets": targets.targets,
    "doctor": doctor.doctor,
}
for _verb, _run in _VERBS.items():
    app.command(_verb)(interruptible(_verb, _run))


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand and "--help" not in sys.argv:
        check_platform()


def main() -> None:
    """Entry point: errors that we know become one message and exit code 1."""
    reserve_standard_output(json_only="--json" in sys.argv)
    try:
        try:
            app()
        finally:
            flush_results()  # while what goes wrong with it can still be told
    except McadError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output (head, say) has gone: not an error of ours
        give_up_results()
        sys.exit(0)
    except OSError as error:  # what no verb foresaw: a disk that fills up, say
        told = disk.trouble(None, error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        give_up_results()
        sys.exit(1)
