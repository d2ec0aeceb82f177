"""mcad-mobile serve"""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.base.standard_output import flush_results, print_json
from mcad_mobile.cli.output import (
    JsonOption,
    RuntimeOption,
    ThreadsOption,
    load_bundle,
    warn,
)
from mcad_mobile.engine.engine import default_index
from mcad_mobile.errors import PhotoError, require

PORT = 8420


def serve(
    bundles: Annotated[
        list[Path],
        typer.Option("--bundle", "-b", help="A bundle. May be given more than once."),
    ],
    indexes: Annotated[
        list[Path] | None,
        typer.Option(
            "--index",
            help="An index's folder. May be given more than once. Default: BUNDLE.index of each "
            "bundle that has one.",
        ),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--photos",
            help="A folder to index while the page is open. May be given more than once.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")
    ] = PORT,
    browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the default browser.")
    ] = False,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    json: JsonOption = False,
) -> None:
    """Try bundles on your own photos in a browser, before they go to a phone.

    \b
      mcad-mobile serve --bundle build/cpu                        # its index, as `index` made it
      mcad-mobile serve --bundle build/cpu --photos ~/Pictures    # and index meanwhile
      mcad-mobile serve --bundle build/cpu --bundle build/sd      # side by side

    The page is at 127.0.0.1 and answers to this computer alone; so does its JSON API, which
    /openapi.json describes. With --json, standard output holds the address, once it answers.
    Ctrl-C ends it.
    """
    require("starlette", "serve")
    require("uvicorn", "serve")
    from mcad_mobile.serve import run

    folders = [folder.resolve() for folder in photos or []]
    for folder in folders:
        if not folder.is_dir():
            raise PhotoError(f"No folder at {folder}.", "Give a folder that holds photos.")
    with run.take_port(port) as listening:
        loaded = [load_bundle(bundle) for bundle in bundles]
        places = indexes or _default_indexes(bundles, bool(folders))
        state = run.open_state(loaded, places, folders, runtime=runtime, threads=threads, warn=warn)
        address = f"http://{run.ADDRESS}:{listening.getsockname()[1]}/"

        def ready() -> None:
            if json:
                print_json(
                    {"url": address, "bundles": [*state.bundles], "indexes": [*state.indexes]}
                )
            else:
                photo_count = sum(index.now.index.photos for index in state.indexes.values())
                print(f"{address}  ({photo_count:,} photos; Ctrl-C ends it)")
            flush_results()
            if folders:
                first = next(iter(state.bundles.values()))
                state.indexing.start(first, state.indexes_of(first)[0])
            if browser:
                webbrowser.open(address)

        run.serve(state, listening, ready)


def _default_indexes(bundles: list[Path], create: bool) -> list[Path]:
    """The bundles' own indexes that exist; if none does, the first one to `create`, or all."""
    indexes = list(dict.fromkeys(map(default_index, bundles)))
    existing = [index for index in indexes if index.is_dir()]
    return existing or indexes[: 1 if create else len(indexes)]
