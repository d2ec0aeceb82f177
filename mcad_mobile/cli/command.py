"""The `mcad-mobile` command."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from typer.exceptions import TyperException

from mcad_mobile.base import VERSION, files
from mcad_mobile.base.locks import check_platform
from mcad_mobile.base.standard_output import (
    flush_results,
    give_up_results,
    printable_output,
    reserve_standard_output,
)
from mcad_mobile.cli import app as android_app
from mcad_mobile.cli import (
    bench,
    demo,
    distill,
    doctor,
    embed,
    evaluate,
    export,
    index,
    library,
    report,
    search,
    serve,
    targets,
)
from mcad_mobile.cli.output import coloured
from mcad_mobile.cli.wording import hint_of
from mcad_mobile.errors import McadError

INTERRUPTED = 130  # 128 and SIGINT's number, as shells have it


def guarded(run: Callable[..., None], kept: str) -> Callable[..., None]:
    """Return a command that prints printable text only, whose errors name its bundle, and that says
    what is kept when it is interrupted; typer would exit silently."""

    @functools.wraps(run)
    def command(**values: Any) -> None:
        try:
            with printable_output():
                run(**values)
        except McadError as error:
            bundle = values.get("bundle")
            bundles = bundle if isinstance(bundle, list) else [bundle]
            if len(bundles) == 1 and bundles[0] is not None:  # an index does not know its bundle
                error.values.setdefault("bundle", bundles[0])
            raise
        except KeyboardInterrupt:
            print(f"interrupted: {kept}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    return command


app = typer.Typer(
    name="mcad-mobile",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_NO_PACKAGE = (
    "Nothing was written at --out. Downloads that finished are kept. Run the same command to start "
    "over."
)
# Each command, and what it keeps when it is interrupted.
_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("demo", demo.demo, "Finished files are in --out. Run the same command to start over."),
    (
        "export",
        export.export,
        "Finished bundles are in --out; an unfinished one changed nothing. Run the same command to "
        "start over; it remembers its AI Hub jobs.",
    ),
    (
        "index",
        index.index,
        "Photos embedded so far are in the index. The same command continues from there.",
    ),
    (
        "embed",
        embed.embed,
        "Finished shards are kept. The same command continues from there.",
    ),
    ("search", search.search, "Nothing was changed."),
    (
        "serve",
        serve.serve,
        "Photos embedded so far are in the index. Uploaded photos are deleted.",
    ),
    (
        "bench",
        bench.bench,
        "No measurement is kept. Run the same command to start over. Jobs that it submitted to AI "
        "Hub continue there, and the same command waits for them.",
    ),
    ("app", android_app.app, _NO_PACKAGE),
    ("library", library.library, _NO_PACKAGE),
    ("report", report.report, "Unfinished output is lost."),
    ("eval", evaluate.evaluate, "Nothing is kept. Run the same command to start over."),
    (
        "distill",
        distill.distill,
        "Features, teachers and the last checkpoint are kept in --cache and --out. The same "
        "command continues from there.",
    ),
    ("targets", targets.targets, "Nothing was changed."),
    ("doctor", doctor.doctor, "Nothing was changed."),
)
for _name, _run, _kept in _COMMANDS:
    app.command(_name)(guarded(_run, _kept))


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print name and version, and exit."),
) -> None:
    """Image-text search on phones.

    Turn a small image-text model into a bundle for a phone chip (export), index photos (index),
    find them by words (search), measure memory and latency (bench), and build an Android app (app)
    or library (library). Try a bundle on your own photos in a browser (serve); embed a collection
    too large for one machine (embed); train your own model (distill).

    \b
      mcad-mobile export --target snapdragon --out build/sd
      mcad-mobile index  ~/Pictures --bundle build/sd
      mcad-mobile search "a dog on the beach" --bundle build/sd
      mcad-mobile serve  --bundle build/sd
      mcad-mobile bench  --bundle build/sd --synthetic 100000
      mcad-mobile app    --bundle build/sd --out demo.apk --accept-licence NAME

    `mcad-mobile demo` runs export, index, search and bench on sample photos from Python packages.
    Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted. With --json, standard output holds
    one JSON document and nothing else; after an error it is empty, and standard error ends with a
    line of JSON.
    """
    if version:
        print(f"mcad-mobile {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand and not {"-h", "--help"} & set(sys.argv):
        check_platform()


def run(command: Callable[..., Any] = app) -> NoReturn:
    """Run the command line, and exit: a McadError becomes a message on standard error (with --json,
    a line of JSON) and exit code 1."""
    as_json = "--json" in sys.argv
    reserve_standard_output(json_only=as_json)
    try:
        try:
            code = command(standalone_mode=not as_json)
        finally:
            flush_results()  # while its errors can still be printed
        sys.exit(code)
    except McadError as error:
        _fail(error.message, hint_of(error), as_json)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:  # the reader of our output, such as head, has ended
        give_up_results()
        sys.exit(0)
    except OSError as error:  # that no command handled, such as a full disk
        disk_error = files.disk_error(None, error)
        if disk_error is None:
            raise
        give_up_results()
        _fail(disk_error.message, disk_error.hint, as_json)
    except TyperException as error:  # typer prints it itself without --json
        _fail(error.format_message(), "See --help.", as_json, error.exit_code)


def _fail(message: str, hint: str, as_json: bool, code: int = 1) -> NoReturn:
    if as_json:
        print(json.dumps({"error": message, "hint": hint}), file=sys.stderr)
    else:
        sentences = f"{message}\n  {hint}" if hint else message
        with printable_output():
            print(f"{coloured('error:', 'red', sys.stderr)} {sentences}", file=sys.stderr)
    sys.exit(code)
